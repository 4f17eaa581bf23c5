"""Torch's ambient state: what a caller may have set for all that runs, and what public calls must not depend on."""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, ParamSpec, TypeVar

import torch

P = ParamSpec("P")
R = TypeVar("R")
C = TypeVar("C", bound=type)

_lock = threading.Lock()
_inside = 0
_callers_dtype = torch.float32
_DEVICE_TYPES = ("cpu", "cuda", "mps")


@contextmanager
def shield() -> Iterator[None]:
    """Inside, torch is as after its import: no autocast, no inference mode, float32 and the CPU by default.

    Afterwards it is as the caller had it, also when the body raises. Autocast, inference mode and the default device belong to
    the calling thread; the default dtype belongs to the process, so it is changed only where it is not float32.
    """
    with ExitStack() as stack:
        for kind in _DEVICE_TYPES:
            if torch.is_autocast_enabled(kind):
                stack.enter_context(torch.autocast(kind, enabled=False))
        if torch.is_inference_mode_enabled():
            stack.enter_context(torch.inference_mode(False))
        if torch.get_default_device().type != "cpu":
            stack.enter_context(torch.device("cpu"))
        stack.enter_context(_default_dtype())
        yield


@contextmanager
def _default_dtype() -> Iterator[None]:
    """Float32 until the last thread inside has left."""
    global _inside, _callers_dtype
    with _lock:
        _inside += 1
        if _inside == 1:
            _callers_dtype = torch.get_default_dtype()
        if torch.get_default_dtype() != torch.float32:
            torch.set_default_dtype(torch.float32)
    try:
        yield
    finally:
        with _lock:
            _inside -= 1
            if not _inside and _callers_dtype != torch.float32:
                torch.set_default_dtype(_callers_dtype)


def shielded(function: Callable[P, R]) -> Callable[P, R]:
    """A public function that runs inside `shield`."""

    @functools.wraps(function)
    def run(*args: P.args, **kwargs: P.kwargs) -> R:
        with shield():
            return function(*args, **kwargs)

    run.__dict__["shielded"] = True
    return run


def shielded_methods(cls: C) -> C:
    """A class whose public methods, and `__init__` where it has its own, run inside `shield`."""
    for name, member in list(vars(cls).items()):
        if name.startswith("_") and name != "__init__":
            continue
        if isinstance(member, classmethod | staticmethod):
            wrapped: Any = type(member)(_unless_generator(member.__func__))
        elif callable(member) and hasattr(member, "__code__"):
            wrapped = _unless_generator(member)
        else:
            continue
        setattr(cls, name, wrapped)
    return cls


def _unless_generator(function: Any) -> Any:
    """A generator runs when it is asked for items, long after the call: there is nothing to shield in the call itself."""
    generates = function.__code__.co_flags & 0x20 or hasattr(function, "__wrapped__")
    return function if generates else shielded(function)
