"""One pass through a network at a time, and what must be as before when it ends: random numbers, attributes, buffers."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Literal, TypeVar

from torch import nn

from ..seeding import GlobalNumbers, Injected, private_rng
from .hooks import remove_silent_hooks
from .leftovers import Leftovers

TRIES = 3  # of the first pass, where another thread may have drawn meanwhile
T = TypeVar("T")


@dataclass(frozen=True)
class Nature:
    """What the first pass showed of a network.

    draws    random numbers in a pass: none; torch's; or others too (Python's, NumPy's, or torch's after seeding it)
    leaves   whether a pass changes attributes or buffers
    """

    draws: Literal["none", "torch", "any"] = "none"
    leaves: bool = False


class Numbers:
    """The random numbers of one reading: each pass goes on where the last one ended."""

    def __init__(self, seed: int, draws: str) -> None:
        self._seed, self._passes = seed, 0
        self._injected = Injected(seed) if draws == "torch" else None
        self._swapped = draws == "any"

    @contextmanager
    def drawn(self) -> Iterator[None]:
        """Inside, the network draws these numbers, and none of the caller's or of other threads'."""
        with ExitStack() as stack:
            if self._injected is not None:
                stack.enter_context(self._injected)
            elif self._swapped:
                stack.enter_context(private_rng(self._seed + self._passes))
                self._passes += 1
            yield


class Passes:
    """The passes through one network. `turn` is held by the thread whose pass it is."""

    def __init__(self, nature: Nature | None = None) -> None:
        self.nature = nature or Nature()
        self.turn = threading.RLock()

    def numbers(self, seed: int) -> Numbers:
        return Numbers(seed, self.nature.draws)

    def first(self, module: nn.Module, run: Callable[[], T]) -> T:
        """The result of the first pass, from which the network's nature is found."""
        with self.turn:
            for _ in range(TRIES):
                leftovers, injected, before = Leftovers(module), Injected(0), GlobalNumbers()
                try:
                    with injected:
                        result = run()
                except BaseException:
                    before.put_back()
                    raise
                finally:
                    leaves = leftovers.changed()
                    leftovers.put_back()
                others = before.changed()
                if not others or before.reseeded() or threading.active_count() == 1:
                    break
            if others:
                before.put_back()
            self.nature = Nature("any" if others else "torch" if injected.drew else "none", leaves)
            remove_silent_hooks(module)
            return result

    @contextmanager
    def one(self, module: nn.Module, numbers: Numbers) -> Iterator[None]:
        """Any later pass. What it leaves behind in the module is undone."""
        with self.turn, numbers.drawn():
            leftovers = Leftovers(module) if self.nature.leaves else None
            try:
                yield
            finally:
                if leftovers is not None:
                    leftovers.put_back()
