"""Receptive fields: which pixels a unit can see.

Unit i of a map sees the pixels  offset + stride·i … offset + stride·i + size − 1  of each axis, before clipping at the
border. `tracing` gets them by exact arithmetic over the operations that ran, `measured` by gradient.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

Pair = tuple[int, int]


@dataclass(frozen=True)
class ReceptiveField:
    """(y, x) pairs in pixels of the input. stride 0: every unit sees the same window (after global pooling).

    exact: by arithmetic; False: measured by gradient, a lower bound where rectifiers or maxima let nothing through.
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


def measured(given: Tensor, inputs: Tensor, channels_last: bool = False) -> ReceptiveField | None:
    """The field by gradient: the pixels on which the middle unit and its lower right neighbour depend.

    given (b, k, h, w), inputs (b, …) random pictures; the union over the batch. None if there is no gradient.
    """
    if given.ndim != 4 or not given.requires_grad:
        return None
    h, w = given.shape[2:]
    i, j = (h - 1) // 2, (w - 1) // 2
    first = _support(given[:, :, i, j], inputs, channels_last)
    second = _support(given[:, :, min(i + 1, h - 1), min(j + 1, w - 1)], inputs, channels_last)
    if first is None or second is None:
        return None
    (top, bottom), (left, right) = first
    stride = (second[0][0] - top, second[1][0] - left)
    return ReceptiveField((bottom - top, right - left), stride, (top - stride[0] * i, left - stride[1] * j), exact=False)


def _support(units: Tensor, inputs: Tensor, channels_last: bool) -> tuple[Pair, Pair] | None:
    # Unequal weights, so that channels do not cancel.
    weights = torch.linspace(1, 2, units.numel(), device=units.device, dtype=units.dtype).view_as(units)
    (gradient,) = torch.autograd.grad((units * weights).sum(), inputs, retain_graph=True, allow_unused=True)
    if gradient is None:
        return None
    seen = (gradient != 0).any(0).any(2 if channels_last else 0)
    rows, columns = seen.any(1).nonzero().flatten(), seen.any(0).nonzero().flatten()
    if not len(rows):
        return None
    return (int(rows[0]), int(rows[-1]) + 1), (int(columns[0]), int(columns[-1]) + 1)
