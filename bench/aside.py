"""Peers at work in processes of their own: with the allocator, the memory and the settings that their users have."""

from __future__ import annotations

import multiprocessing
import pickle
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from typing import Any

from bench.peers import without_compiled_operators
from bench.settings import Settings
from bench.turns import Ascent

Run = Callable[[int], object]
Prepare = Callable[..., Run]

_here: list[Any] = []  # in the peer's process: what it runs, and the settings that hold as long as it lives


@contextmanager
def aside(prepare: Prepare, steps: int, settings: Settings, *given: Any) -> Iterator[Ascent]:
    """One picture at a time, by what `prepare`, a module's function, makes of `given` in that process."""
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, spawn, initializer=_begin, initargs=(prepare, settings, given)) as pool:
        yield Ascent(1, lambda steps: pool.submit(_run, steps).result(), steps)


def of_a_peer(draw: Callable[..., Any], pickled: bytes, side: int, target: int) -> Run:
    """Its class models of a pickled module, whose weights are then its own and not shared between processes."""
    without_compiled_operators()
    module = pickle.loads(pickled)
    return lambda steps: draw(module, [target], side, steps)


def _begin(prepare: Prepare, settings: Settings, given: tuple[Any, ...]) -> None:
    begun: AbstractContextManager[None] = settings.begun()
    begun.__enter__()
    _here[:] = [prepare(*given), begun]


def _run(steps: int) -> None:
    _here[0](steps)
