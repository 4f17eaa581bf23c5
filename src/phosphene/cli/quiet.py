"""`-q`: standard error without notes and progress; errors, and what an interrupt left, stay."""

from __future__ import annotations

import io
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr
from typing import TextIO

STAYING = ("phosphene:", "interrupted:", "Traceback", " ")


class Errors(io.TextIOBase):
    """Hands on whole lines that begin as errors do. It is no terminal, so that no bar of progress is drawn."""

    def __init__(self, target: TextIO) -> None:
        self._target, self._begun = target, ""

    def write(self, text: str) -> int:
        *lines, self._begun = (self._begun + text).split("\n")
        for line in lines:
            if line.startswith(STAYING):
                self._target.write(f"{line}\n")
        return len(text)

    def flush(self) -> None:
        self._target.flush()


@contextmanager
def quiet(wanted: bool) -> Iterator[None]:
    if not wanted:
        yield
        return
    with redirect_stderr(Errors(sys.stderr)):
        yield
