"""Receptive fields: which pixels a unit can see.

Unit i of a map sees the pixels  offset + stride·i … offset + stride·i + size − 1  of each axis, before clipping at the
border. `tracing` gets them by arithmetic over the operations that ran. Where units do not follow that line (after an
upsampling, in shifted windows), `boxes` gives the window of each, and the layer has `Windows`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

Pair = tuple[int, int]


@dataclass(frozen=True)
class ReceptiveField:
    """(y, x) pairs in pixels of the input. stride 0: every unit sees the same window (after global pooling).

    exact: False where a unit sees no more than this, but perhaps less.
    """

    size: Pair
    stride: Pair
    offset: Pair
    exact: bool = True

    def box(self, y: int, x: int, size: Pair) -> tuple[int, int, int, int]:
        """(left, top, right, bottom) of unit (y, x), clipped to a picture of `size`; right and bottom outside.

        A unit that sees nothing but padding has an empty box.
        >>> ReceptiveField(size=(3, 3), stride=(1, 1), offset=(-1, -1)).box(0, 4, (8, 8))
        (3, 0, 6, 2)
        """
        (top, bottom), (left, right) = (
            (min(max(o + s * i, 0), whole), max(min(o + s * i + n, whole), 0))
            for o, s, i, n, whole in zip(self.offset, self.stride, (y, x), self.size, size, strict=True)
        )
        return left, top, right, bottom


@dataclass(frozen=True)
class Windows(ReceptiveField):
    """The field of units whose windows follow no line: rows and columns hold the (start, end) of each, clipped at the border.

    Only these, and `box`, tell what a unit sees. size is the largest window; stride and offset are 0 and say nothing.
    """

    rows: tuple[Pair, ...] = ()
    columns: tuple[Pair, ...] = ()

    def box(self, y: int, x: int, size: Pair) -> tuple[int, int, int, int]:
        """(left, top, right, bottom) of unit (y, x), for pictures of the size that they were found for."""
        (top, bottom), (left, right) = self.rows[y], self.columns[x]
        return left, top, right, bottom


@dataclass(frozen=True)
class Axis:
    """One axis: unit i sees start + stride·i … start + stride·i + size − 1."""

    start: int
    size: int
    stride: int

    def window(self, kernel: int, stride: int, padding: int, dilation: int = 1) -> Axis:
        """After a convolution or a pooling. Source: Araujo, Norris & Sim 2019, eqs. 1–3 (recurrences for r, S, P)."""
        size = self.size + (kernel - 1) * dilation * self.stride
        return Axis(self.start - padding * self.stride, size, self.stride * stride)

    def pooled(self, units: int) -> Axis:
        """What one unit sees that reads all `units` of the axis."""
        return Axis(self.start, self.size + (units - 1) * self.stride, 0)

    def joined(self, other: Axis, pixels: int) -> Axis | None:
        """What a unit sees that reads this and the other at its place; None if that differs from place to place."""
        start, end = min(self.start, other.start), max(self.start + self.size, other.start + other.size)
        if self.stride == other.stride:
            return Axis(start, end - start, self.stride)
        fixed = self if self.stride == 0 else other
        return Axis(0, pixels, 0) if fixed.stride == 0 and fixed.covers(pixels) else None

    def covers(self, pixels: int) -> bool:
        return self.start <= 0 and self.start + self.size >= pixels


@dataclass(frozen=True)
class Field:
    """The field of a tensor's units. mixed: places were flattened into features, which together see these windows."""

    y: Axis
    x: Axis
    mixed: bool = False

    def pooled(self, units: Pair) -> Field:
        return Field(self.y.pooled(units[0]), self.x.pooled(units[1]))

    def broadcast(self, have: Pair, wanted: Pair) -> Field:
        """An axis of one unit that serves many: all of them see what it sees."""
        y, x = (axis.pooled(1) if n == 1 != m else axis for axis, n, m in zip((self.y, self.x), have, wanted, strict=True))
        return Field(y, x, self.mixed)

    def windowed(self, kernel: Pair, stride: Pair, padding: Pair, dilation: Pair = (1, 1)) -> Field:
        y, x = zip(kernel, stride, padding, dilation, strict=True)
        return Field(self.y.window(*y), self.x.window(*x))

    def joined(self, other: Field, pixels: Pair) -> Field | None:
        y, x = self.y.joined(other.y, pixels[0]), self.x.joined(other.x, pixels[1])
        return Field(y, x) if y and x and not (self.mixed or other.mixed) else None

    def public(self) -> ReceptiveField | None:
        if self.mixed:
            return None
        return ReceptiveField((self.y.size, self.x.size), (self.y.stride, self.x.stride), (self.y.start, self.x.start))


def of_windows(rows: Sequence[Pair], columns: Sequence[Pair], pixels: Pair, exact: bool) -> ReceptiveField:
    """The field of units with these windows, clipped at the border: a line where all lie on one."""
    y, x = _line(rows, pixels[0]), _line(columns, pixels[1])
    if y and x:
        return ReceptiveField((y.size, x.size), (y.stride, x.stride), (y.start, x.start), exact)
    size = (max(end - start for start, end in rows), max(end - start for start, end in columns))
    return Windows(size, (0, 0), (0, 0), exact, tuple(rows), tuple(columns))


def _line(windows: Sequence[Pair], pixels: int) -> Axis | None:
    """start, size and stride that give all these windows once clipped; None if there are none, or not only one."""
    if len({*windows}) == 1:
        return Axis(windows[0][0], windows[0][1] - windows[0][0], 0)
    starts = [(i, start) for i, (start, end) in enumerate(windows) if 0 < start < end]
    ends = [(i, end) for i, (start, end) in enumerate(windows) if start < end < pixels]
    several = next((points for points in (starts, ends) if len(points) > 1), None)
    if several is None or not starts or not ends:
        return None
    (i, first), (j, second) = several[:2]
    stride = (second - first) // (j - i)
    start, end = (points[0][1] - stride * points[0][0] for points in (starts, ends))
    line = Axis(start, end - start, stride)
    drawn = [(start + stride * i, end + stride * i) for i in range(len(windows))]
    return (
        line if stride > 0 and all((max(a, 0), min(b, pixels)) == w for (a, b), w in zip(drawn, windows, strict=True)) else None
    )
