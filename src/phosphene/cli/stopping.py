"""Ctrl-C, and the signals by which a program is asked to end: what is finished is saved first."""

from __future__ import annotations

import _thread
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Timer
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sys import UnraisableHookArgs

ENDING = tuple(getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name))


@contextmanager
def as_ctrl_c() -> Iterator[list[int]]:
    """Inside, SIGTERM and SIGHUP raise KeyboardInterrupt, once; gives a list of the one that came.

    One that is ignored, as SIGHUP under nohup, stays so. A KeyboardInterrupt that Python drops, because it was raised in a
    destructor, is raised again.
    """
    came: list[int] = []

    def stop(number: int, _frame: object) -> None:
        if not came:  # it is often sent twice; saving goes on
            came.append(number)
            raise KeyboardInterrupt

    def unraisable(dropped: UnraisableHookArgs) -> None:
        if issubclass(dropped.exc_type, KeyboardInterrupt):
            Timer(0.01, _thread.interrupt_main, (came.pop() if came else int(signal.SIGINT),)).start()
        else:
            hook(dropped)

    before = {number: handler for number in ENDING if (handler := signal.getsignal(number)) not in (signal.SIG_IGN, None)}
    hook, sys.unraisablehook = sys.unraisablehook, unraisable
    for number in before:
        signal.signal(number, stop)
    try:
        yield came
    finally:
        sys.unraisablehook = hook
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def whole() -> Iterator[None]:
    """Make these signals wait until what is inside is done, so that run.json lists what the folder holds."""
    came: list[int] = []
    before = {number: handler for number in (signal.SIGINT, *ENDING) if callable(handler := signal.getsignal(number))}
    try:
        for number in before:
            signal.signal(number, lambda number, _frame: came.append(number))
    except ValueError:  # not the main thread: no signal comes here
        yield
        return
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    if came:
        signal.raise_signal(came[0])
