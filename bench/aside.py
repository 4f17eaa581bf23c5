"""Peers at work in processes of their own: with the allocator, the memory and the settings that their users have."""

from __future__ import annotations

import multiprocessing
import pickle
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn

from bench.settings import Settings
from bench.turns import Ascent

Draw = Callable[[nn.Module, list[int], int, int], Tensor]  # of bench.peers: module, targets, side, steps

_here: list[Any] = []  # in the peer's process: what it runs, and the settings that hold as long as it lives


@contextmanager
def aside(draw: Draw, module: nn.Module, target: int, steps: int, settings: Settings) -> Iterator[Ascent]:
    """One class model of the module at a time."""
    # Pickled by ourselves: torch would have the processes share the weights.
    given = draw, pickle.dumps(module), target, settings
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn"), initializer=_begin, initargs=given) as pool:
        yield Ascent(1, lambda steps: pool.submit(_run, steps).result(), steps)


def _begin(draw: Draw, pickled: bytes, target: int, settings: Settings) -> None:
    begun = settings.begun()
    begun.__enter__()
    module = pickle.loads(pickled)
    _here[:] = [lambda steps: draw(module, [target], settings.side, steps), begun]


def _run(steps: int) -> None:
    _here[0](steps)
