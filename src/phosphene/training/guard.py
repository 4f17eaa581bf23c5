"""A guard for what belongs to the training: its random numbers, autocast and time are kept, also when we raise."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from ..ambient import shield
from ..seeding import GlobalNumbers


@contextmanager
def untouched() -> Iterator[None]:
    """Inside, autocast is off, and global random numbers may be drawn: the training will not notice.

    Unlike `seeding.private_rng` it seeds nothing: a logger that begins a run draws its name from these generators.
    The network is looked into through a private copy, so that modes, hooks and gradients need no guard.
    """
    numbers = GlobalNumbers()
    with shield():
        try:
            yield
        finally:
            numbers.put_back()


class Hung(BaseException):
    """What is `limited` took too long. No Exception, which what hangs may catch, and try again."""


@contextmanager
def limited(seconds: float | None) -> Iterator[None]:
    """Raises Hung inside after so many seconds; None: never.

    By a timer of the process, which ends a wait for a network too, but not one in foreign code that ignores signals. Only the
    main thread of a system with such timers can be limited; elsewhere this does nothing. A timer of the program's own goes on.
    """
    main = threading.current_thread() is threading.main_thread() and hasattr(signal, "setitimer")
    theirs = signal.getitimer(signal.ITIMER_REAL)[0] if main else 0.0
    if seconds is None or not main or 0 < theirs <= seconds or signal.getsignal(signal.SIGALRM) is None:
        yield
        return
    inside = True

    def ring(*_: object) -> None:
        if inside:
            raise Hung

    handler, started = signal.signal(signal.SIGALRM, ring), time.monotonic()
    left, interval = signal.setitimer(signal.ITIMER_REAL, seconds, 1.0)  # again each second, should the first be caught
    try:
        try:
            yield
        finally:
            inside = False
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, handler)
        if left:
            signal.setitimer(signal.ITIMER_REAL, max(left - (time.monotonic() - started), 1e-3), interval)


def rank() -> tuple[int, int]:
    """(rank, world size) of this process: (0, 1) where there is only one."""
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        return torch.distributed.get_rank(), torch.distributed.get_world_size()
    return 0, 1
