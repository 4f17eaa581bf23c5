"""Tiles: the gradient of a large picture in bounded memory, without seams.

A picture is cut into cores. Each core's gradient is taken in a window around it, so that its border is not the border of
what the network sees. All windows have one shape, so that an objective that averages over places weighs all tiles alike.
They begin at multiples of the layer's stride, so that units stand at the same places in all of them: where the margin is as
wide as what a unit sees, the gradient is exactly that of the whole picture. Elsewhere the cuts, which are drawn anew at
each step, do not stay anywhere long enough to be seen.

Source: Mordvintsev, Olah & Tyka 2015, the TensorFlow notebook, for tiles at random places. Differs: windows overlap.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

from .octaves import Sides

MARGIN = 8  # a window's margin is at most its side over this
Climb = Callable[[Tensor], tuple[Tensor, Tensor]]  # window (1, c, h, w) -> value (1,), gradient (1, c, h, w)


@dataclass(frozen=True)
class Cut:
    """Pixels [start, stop) of an axis, which are seen in the window that begins at `first`."""

    start: int
    stop: int
    first: int


@dataclass(frozen=True)
class Ruler:
    """How one axis of `length` pixels is cut into `count` cores, seen in windows of `window` pixels.

    low … high is where the first cut may be; the others follow at `pitch` pixels. All are multiples of `stride`.
    """

    length: int
    window: int
    margin: int
    stride: int
    count: int
    pitch: int
    low: int
    high: int

    @classmethod
    def of(cls, length: int, tile: int, field: int, stride: int) -> Ruler:
        """field: pixels that a unit of the layer sees; stride: from one unit to the next."""
        if length <= tile:
            return cls(length, length, 0, 1, 1, length, length, length)
        stride = stride if 0 < stride * MARGIN <= tile else 1
        window = min(length, tile + (length - tile) % stride)  # so that the last one, too, begins at a multiple
        margin = -(-min(field, tile // MARGIN) // stride) * stride
        outer = (window - margin) // stride * stride  # of the first core and of the last: one side is the picture's own
        pitch = max((window - 2 * margin) // stride * stride, stride)
        count, low = 1, length
        while count < 2 or outer - low < pitch // 2:  # room for the cuts to wander
            count += 1
            low = max(-(-(length - outer - (count - 2) * pitch) // stride) * stride, stride)
        return cls(length, window, margin, stride, count, pitch, low, outer)

    def cuts(self, draw: torch.Generator) -> list[Cut]:
        """The cores, whose borders lie at random, with their windows."""
        if self.count == 1:
            return [Cut(0, self.length, 0)]
        places = (self.high - self.low) // self.stride + 1
        first = self.low + self.stride * int(torch.randint(places, (1,), generator=draw))
        borders = [0, *(min(first + i * self.pitch, self.length) for i in range(self.count - 1)), self.length]
        return [Cut(a, b, self._first(a)) for a, b in pairwise(borders) if a < b]

    def _first(self, start: int) -> int:
        return min(max(start - self.margin, 0), self.length - self.window)


@dataclass(frozen=True)
class Tiling:
    """The rulers of a picture's two axes."""

    y: Ruler
    x: Ruler

    @classmethod
    def of(cls, size: Sides, tile: int, field: Sides, stride: Sides) -> Tiling:
        y, x = (Ruler.of(*axis) for axis in zip(size, (tile, tile), field, stride, strict=True))
        return cls(y, x)

    @property
    def window(self) -> Sides:
        """(height, width) of what the network is given at once."""
        return self.y.window, self.x.window

    def gradient(self, picture: Tensor, climb: Climb, draw: torch.Generator) -> tuple[Tensor, Tensor]:
        """The mean of the tiles' values (1,), and the gradient (1, c, h, w), tile by tile."""
        gradient = torch.empty_like(picture)
        reached = []
        for y, x in self._tiles(draw):
            h, w = self.window
            value, seen = climb(picture[..., y.first : y.first + h, x.first : x.first + w])
            core = seen[..., y.start - y.first : y.stop - y.first, x.start - x.first : x.stop - x.first]
            gradient[..., y.start : y.stop, x.start : x.stop] = core
            reached.append(value)
        return torch.stack(reached).mean(0), gradient

    def _tiles(self, draw: torch.Generator) -> Iterator[tuple[Cut, Cut]]:
        columns = self.x.cuts(draw)
        return ((y, x) for y in self.y.cuts(draw) for x in columns)
