"""What libtiff finds in damaged files it writes on standard error, past Python, and goes on; here it is heard instead."""

from __future__ import annotations

import ctypes
import ctypes.util
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import PIL

_Handler = ctypes.CFUNCTYPE(None, ctypes.c_char_p, ctypes.c_char_p, ctypes.c_void_p)  # which part, a format, its values
_lock = threading.Lock()
_inside = 0
_before: list[Any] = []
_heard = threading.local()


@contextmanager
def heard() -> Iterator[set[str]]:
    """The parts of libtiff that found errors in this thread. Nothing is written meanwhile; afterwards all is as it was."""
    parts: set[str] = set()
    outer, _heard.parts = getattr(_heard, "parts", None), parts
    _enter(1)
    try:
        yield parts
    finally:
        _enter(-1)
        _heard.parts = outer


def _enter(more: int) -> None:
    global _inside, _before
    with _lock:
        before, _inside = _inside, _inside + more
        if not before:  # the first one in
            _before = [setter(handler) for setter, handler in zip(_setters(), (_error, _warning), strict=False)]
        elif not _inside:  # the last one out
            for setter, handler in zip(_setters(), _before, strict=False):
                setter(handler)


def _hear(part: bytes | None, *_: object) -> None:
    if (parts := getattr(_heard, "parts", None)) is not None:
        parts.add((part or b"libtiff").decode("ascii", "replace"))


_error, _warning = _Handler(_hear), _Handler(lambda *_: None)


@cache
def _setters() -> tuple[Callable[[Any], Any], ...]:
    """Of the libtiff that Pillow decodes with; none where it cannot be reached, as where it is linked into Pillow itself."""
    home = Path(PIL.__file__).parent
    bundled = [*home.parent.glob("[pP]illow.libs/libtiff*"), *home.glob(".dylibs/libtiff*")]
    name = str(bundled[0]) if bundled else ctypes.util.find_library("tiff")
    try:
        library = ctypes.CDLL(name) if name else None
        found = (library.TIFFSetErrorHandler, library.TIFFSetWarningHandler) if library else ()
    except (OSError, AttributeError):
        return ()
    for setter in found:
        setter.restype, setter.argtypes = ctypes.c_void_p, [ctypes.c_void_p]
    return found
