"""Tables as text and as HTML, for results that are rows of words and numbers."""

from __future__ import annotations

import html
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Table:
    """heads: the columns' names; rows: cells as texts; title and notes: what stands above and below."""

    heads: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    title: str = ""
    notes: tuple[str, ...] = ()

    def text(self, longest: int | None = None) -> str:
        """The rows in columns, the first `longest` of them."""
        shown = self.rows if longest is None else self.rows[:longest]
        lines = [self.heads, *shown]
        widths = [max(len(line[column]) for line in lines) for column in range(len(self.heads))]
        table = ["  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines]
        left = len(self.rows) - len(shown)
        more = [f"… {left} more"] if left else []
        return "\n".join([*([self.title] if self.title else []), *table, *more, *self.notes])

    def html(self) -> str:
        """In the colours of the page that it stands in."""
        head = "".join(_cell("th", one) for one in self.heads)
        body = "".join(f"<tr>{''.join(_cell('td', cell) for cell in row)}</tr>" for row in self.rows)
        caption = f'<caption style="text-align:left">{html.escape(self.title)}</caption>' if self.title else ""
        notes = "".join(f"<li>{html.escape(note)}</li>" for note in self.notes)
        return (
            f"<table>{caption}<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>{f'<ul>{notes}</ul>' if notes else ''}"
        )


def _cell(kind: str, text: str) -> str:
    return f'<{kind} style="text-align:left">{html.escape(text)}</{kind}>'


def pair(numbers: Sequence[int], between: str) -> str:
    """
    >>> pair((3, 5), "×")
    '3×5'
    """
    return between.join(map(str, numbers))
