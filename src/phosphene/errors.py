"""Every error of Phosphene, in one tree.

PhospheneError
├── RequestError      ValueError    an argument is out of range, of the wrong shape or does not fit another one
├── UnknownNameError  LookupError   a class, layer, recipe or other name that is not there; the nearest ones are named
├── ModelError        ValueError    a reference that does not lead to a network, or a network that does not run
│   ├── WeightsError                a checkpoint that cannot be read, does not fit, holds code or is not finite
│   └── OutputError                 the network's output is not one (b, classes) tensor
├── PictureError      ValueError    a file that is not a picture, or too large a one
├── RecordError       ValueError    a PNG without a Record, or a Record that cannot be obeyed
├── ExtraError        ImportError   an optional package is missing or does not import
├── FolderError       OSError       a place that cannot be written
└── RenderError       RuntimeError  the ascent itself failed
Interrupted           KeyboardInterrupt   Ctrl-C; carries what was finished

`status` is the exit status of the command line: 2 the request is wrong, 1 something failed.
Each class has a page in docs/errors/.
"""

from __future__ import annotations

import difflib
import errno
import os
import traceback
from collections.abc import Iterable
from typing import Any

# How the system and the libraries that write say that the disk is full or fails.
_DISK = (*map(os.strerror, (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)), "disk is full", "disk I/O error")
DEBUG = "PHOSPHENE_DEBUG"  # a variable of the environment
_PACKAGE = os.path.dirname(__file__) + os.sep
SHOWN = 60  # characters of a given value that an error repeats


class PhospheneError(Exception):
    """The root: `except PhospheneError` catches whatever this package raises on purpose."""

    status = 2

    def _render_traceback_(self) -> list[str]:
        """As IPython shows the error: the user's own line and the sentence; all of it where PHOSPHENE_DEBUG is set."""
        if os.environ.get(DEBUG):
            return "".join(traceback.format_exception(self)).splitlines()
        frames = traceback.extract_tb(self.__traceback__)
        ours = [i for i, frame in enumerate(frames) if frame.filename.startswith(_PACKAGE)]
        line = [f"line {frames[ours[0] - 1].lineno}: {frames[ours[0] - 1].line}"] if ours and ours[0] else []
        return [*line, f"{type(self).__name__}: {self}"]


class RequestError(PhospheneError, ValueError):
    """An argument is out of range, of the wrong shape or does not fit another one."""


class UnknownNameError(PhospheneError, LookupError):
    """A name that is not there; `near` holds the three nearest that are."""

    def __init__(self, kind: str, given: object, known: Iterable[str], hint: str = "") -> None:
        self.near = nearest(str(given), known)
        near = ", ".join(name if name.isprintable() and len(name) <= SHOWN else shown(name) for name in self.near)
        right = f"nearest: {near}" if near else f"there is no {kind} at all"
        super().__init__(f"no {kind} {shown(given)}; {right}{'. ' + hint if hint else ''}")

    def __reduce__(self) -> tuple[Any, ...]:
        """By its text, as a process sends it that raised it for another."""
        return _unknown, (str(self), self.near)


def _unknown(text: str, near: list[str]) -> UnknownNameError:
    error = UnknownNameError.__new__(UnknownNameError, text)
    error.near = near
    return error


class ModelError(PhospheneError, ValueError):
    """A reference that does not lead to a network, or a network that does not run."""


class WeightsError(ModelError):
    """A checkpoint that cannot be read, does not fit, holds code or is not finite."""


class OutputError(ModelError):
    """The network's output is not one (b, classes) tensor."""


class PictureError(PhospheneError, ValueError):
    """A file that is not a picture, or too large a one."""


class RecordError(PhospheneError, ValueError):
    """A PNG without a Record, or a Record that cannot be obeyed."""


class ExtraError(PhospheneError, ImportError):
    """An optional package is missing or does not import."""


class FolderError(PhospheneError, OSError):
    """A place that cannot be written. Where the disk is full or fails, `status` is 1: the request was right."""

    @classmethod
    def of(cls, place: str, error: BaseException, reason: str = "") -> FolderError:
        """One sentence from what a library raised while it wrote."""
        full = next((words for words in _DISK if words in str(error)), None)
        found = cls(f"{place} cannot be written: {full or reason or getattr(error, 'strerror', None) or first_line(error)}")
        if full:
            found.status = 1
        return found


class RenderError(PhospheneError, RuntimeError):
    """The ascent itself failed."""

    status = 1


class Interrupted(KeyboardInterrupt):
    """Ctrl-C during a long call.

    partial     what is finished, or None
    unfinished  of `render`: the pictures that were being rendered, as far as they had come, or None
    """

    def __init__(self, partial: Any = None, unfinished: Any = None) -> None:
        super().__init__("interrupted")
        self.partial = partial
        self.unfinished = unfinished


def shown(value: object) -> str:
    """The value as an error repeats it: quoted, on one line, its middle cut out, since a path's end tells most."""
    text = " ".join(repr(value).splitlines())
    return text if len(text) <= SHOWN else f"{text[:12]}…{text[13 - SHOWN :]}"


def nearest(given: str, known: Iterable[str], count: int = 3) -> list[str]:
    """The `count` known names that look most like the given one, best first."""
    short = given[:SHOWN].lower()
    ranked = sorted(set(known), key=lambda name: (-_likeness(short, name.lower()), name))
    return ranked[:count]


def _likeness(a: str, b: str) -> float:
    inside = bool(a) and (a in b or b in a)
    return difflib.SequenceMatcher(None, a, b[:SHOWN]).ratio() + 0.5 * inside


def first_line(error: BaseException, longest: int = 200) -> str:
    """What a foreign exception says, cut to one line."""
    text = str(error).strip() or type(error).__name__
    return text.splitlines()[0][:longest]
