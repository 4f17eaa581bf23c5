"""What a verb gives: a table, a few sentences, and figures that must keep to a bar."""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass

Row = tuple[str, ...]


@dataclass(frozen=True)
class Bar:
    """A figure and what it must reach, or, with most, must not pass. figure None: not measured, for the reason `why`."""

    what: str
    figure: float | None
    bound: float
    unit: str = ""
    most: bool = False
    why: str = ""

    @property
    def held(self) -> bool | None:
        """None where there is nothing to judge. What is no number, as of a run too short for the clock, holds nothing."""
        if self.figure is None:
            return None
        return self.figure <= self.bound if self.most else self.figure >= self.bound

    def __str__(self) -> str:
        wanted = f"at {'most' if self.most else 'least'} {self.bound:g}{self.unit} is wanted"
        if self.figure is None:
            return f"{self.what}: not judged, {self.why}; {wanted}"
        return f"{self.what}: {self.figure:.3g}{self.unit}; {wanted}"


@dataclass(frozen=True)
class Measured:
    """text: what was measured and how; notes: what belongs to the figures; picture: a PNG, called as its verb."""

    text: str
    head: Row
    rows: tuple[Row, ...]
    notes: tuple[str, ...] = ()
    bars: tuple[Bar, ...] = ()
    threads: int = 1
    picture: bytes | None = None


def table(head: Row, rows: Sequence[Row]) -> str:
    """In Markdown."""
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (head, ("---",) * len(head), *rows))


def judged(bars: Sequence[Bar]) -> int:
    """The exit status; a sentence for each bar that is missed, and for what was not judged, which is no failure."""
    for bar in bars:
        if not bar.held:
            print(bar, file=sys.stderr)
    held = [bar.held for bar in bars]
    print(f"{len(bars)} bars: {held.count(False)} missed, {held.count(None)} not judged", file=sys.stderr)
    return int(False in held)


def number(value: float, digits: int = 3) -> str:
    """With so many digits that count, and whole from there on; a dash for what could not be measured."""
    if not math.isfinite(value):
        return "–"
    decimals = digits - 1 - math.floor(math.log10(abs(value))) if value else 0
    return f"{value:,.{max(decimals, 0)}f}"


def ratio(ours: float | None, theirs: float | None) -> float | None:
    """None where one of both was not measured."""
    return None if ours is None or theirs is None else ours / theirs
