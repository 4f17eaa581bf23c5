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

    exact: False where a unit sees no more than this, but perhaps less. reach: (start, end) of the pixels of each axis that some
    unit of the layer or before it sees, at which windows end; None: all. A stride without padding may leave out the last ones.
    """

    size: Pair
    stride: Pair
    offset: Pair
    exact: bool = True
    reach: tuple[Pair, Pair] | None = None

    def box(self, y: int, x: int, size: Pair) -> tuple[int, int, int, int]:
        """(left, top, right, bottom) of unit (y, x), clipped to a picture of `size` and the reach; right and bottom outside.

        A unit that sees nothing but padding has an empty box.
        >>> ReceptiveField(size=(3, 3), stride=(1, 1), offset=(-1, -1)).box(0, 4, (8, 8))
        (3, 0, 6, 2)
        """
        reach = self.reach or ((0, size[0]), (0, size[1]))
        (top, bottom), (left, right) = (
            (min(max(o + s * i, low), high), max(min(o + s * i + n, high), low))
            for o, s, i, n, (low, high) in zip(self.offset, self.stride, (y, x), self.size, reach, strict=True)
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
    """One axis: unit i sees start + stride·i … start + stride·i + size − 1, as far as that lies inside `reach`."""

    start: int
    size: int
    stride: int
    reach: Pair

    @property
    def end(self) -> int:
        """Behind the last pixel of unit 0."""
        return self.start + self.size

    def window(self, kernel: int, stride: int, padding: int, dilation: int, units: int) -> Axis:
        """After a convolution or a pooling that gives `units`. Source: Araujo, Norris & Sim 2019, eqs. 1–3 (recurrences for r,
        S, P). Differs: of padding nothing is seen, so windows end where the units that are there see their last pixel."""
        size = self.size + (kernel - 1) * dilation * self.stride
        start, step = self.start - padding * self.stride, self.stride * stride
        low, high = self.reach
        return Axis(start, size, step, (max(low, start), min(high, start + step * (units - 1) + size)))

    def pooled(self, units: int) -> Axis:
        """What one unit sees that reads all `units` of the axis."""
        return Axis(self.start, self.size + (units - 1) * self.stride, 0, self.reach)

    def joined(self, other: Axis) -> Axis | None:
        """What a unit sees that reads this and the other at its place; None if that differs from place to place."""
        for one, two in ((self, other), (other, self)):
            if one.stride == 0 and one.covers(*two.reach):
                return one.clipped()
            wider = one.start <= two.start and two.end <= one.end and one.stride == two.stride
            if wider and one.reach[0] <= two.reach[0] and two.reach[1] <= one.reach[1]:
                return one
        if self.stride != other.stride or self.reach != other.reach:
            return None
        start, end = min(self.start, other.start), max(self.end, other.end)
        return Axis(start, end - start, self.stride, self.reach)

    def clipped(self) -> Axis:
        """The same, where all units see one window, without what lies outside the reach."""
        start, end = max(self.start, self.reach[0]), min(self.end, self.reach[1])
        return Axis(start, end - start, 0, self.reach)

    def covers(self, low: int, high: int) -> bool:
        """Whether the window of unit 0 has all of these pixels."""
        return max(self.start, self.reach[0]) <= low and high <= min(self.end, self.reach[1])


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

    def windowed(self, kernel: Pair, stride: Pair, padding: Pair, dilation: Pair, units: Pair) -> Field:
        y, x = zip(kernel, stride, padding, dilation, units, strict=True)
        return Field(self.y.window(*y), self.x.window(*x))

    def joined(self, other: Field) -> Field | None:
        y, x = self.y.joined(other.y), self.x.joined(other.x)
        return Field(y, x) if y and x and not (self.mixed or other.mixed) else None

    def public(self, pixels: Pair) -> ReceptiveField | None:
        """For a picture of this size."""
        if self.mixed:
            return None
        y, x = self.y, self.x
        whole = all(axis.reach == (0, side) or axis == axis.clipped() for axis, side in zip((y, x), pixels, strict=True))
        reach = None if whole else (y.reach, x.reach)
        return ReceptiveField((y.size, x.size), (y.stride, x.stride), (y.start, x.start), reach=reach)


def of_windows(rows: Sequence[Pair], columns: Sequence[Pair], pixels: Pair, exact: bool) -> ReceptiveField:
    """The field of units with these windows, clipped at the border: a line where all lie on one."""
    y, x = _line(rows, pixels[0]), _line(columns, pixels[1])
    if y and x:
        return ReceptiveField((y.size, x.size), (y.stride, x.stride), (y.start, x.start), exact)
    size = (max(end - start for start, end in rows), max(end - start for start, end in columns))
    return Windows(size, (0, 0), (0, 0), exact, rows=tuple(rows), columns=tuple(columns))


def _line(windows: Sequence[Pair], pixels: int) -> Axis | None:
    """start, size and stride that give all these windows once clipped; None if there are none, or not only one."""
    whole = (0, pixels)
    if len({*windows}) == 1:
        return Axis(windows[0][0], windows[0][1] - windows[0][0], 0, whole)
    starts = [(i, start) for i, (start, end) in enumerate(windows) if 0 < start < end]
    ends = [(i, end) for i, (start, end) in enumerate(windows) if start < end < pixels]
    several = next((points for points in (starts, ends) if len(points) > 1), None)
    if several is None or not starts or not ends:
        return None
    (i, first), (j, second) = several[:2]
    stride = (second - first) // (j - i)
    start, end = (points[0][1] - stride * points[0][0] for points in (starts, ends))
    line = Axis(start, end - start, stride, whole)
    drawn = [(start + stride * i, end + stride * i) for i in range(len(windows))]
    return (
        line if stride > 0 and all((max(a, 0), min(b, pixels)) == w for (a, b), w in zip(drawn, windows, strict=True)) else None
    )
