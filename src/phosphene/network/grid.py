"""Grid: where the places of a picture are in what a module gave. Found from shapes alone."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Literal

from torch import Tensor

from .receptive import Pair

Axes = Literal["bkhw", "bhwk", "bnk", "bkn"]
MOST_EXTRA = 16  # tokens that are of no place; vision transformers have 1 (class) to 5 (and registers)
_SLACK = (
    2  # rows by which a map may differ from the picture's aspect: convolutions without padding take the same off both sides
)


@dataclass(frozen=True)
class Grid:
    """layout: maps (b, k, h, w) "bkhw", with channels last "bhwk", or tokens (b, n, k) "bnk", with channels first "bkn".

    size: (h, w); tokens are in rows, after `extra` others. Maps of a signal (b, k, t) are tokens of a picture one pixel high.
    """

    layout: Axes
    size: Pair
    extra: int = 0

    def maps(self, given: Tensor) -> Tensor:
        """(b, k, h, w): a view, so that changing it changes what was given."""
        if self.layout == "bkhw":
            return given
        if self.layout == "bkn":
            maps: Tensor = given[:, :, self.extra :].unflatten(2, self.size)
            return maps
        if self.layout == "bnk":
            given = given[:, self.extra :].unflatten(1, self.size)
        return given.movedim(-1, 1)

    def place(self, y: int, x: int) -> tuple[int, ...]:
        """How `neuron` names a position, after the channel: (y, x) of a map, (token,) of tokens."""
        return (y, x) if self.layout in ("bkhw", "bhwk") else (self.extra + y * self.size[1] + x,)

    def position(self, *place: int) -> Pair | None:
        """The (y, x) of a place as `neuron` names it, or of one counted in rows; None if it has none, as a class token."""
        y, x = place if len(place) == 2 else divmod(place[0] - self.extra, self.size[1])
        return (y, x) if y >= 0 else None

    def others(self, given: Tensor) -> Tensor:
        """(b, k, extra): the tokens that are of no place."""
        if self.layout == "bkn":
            return given[:, :, : self.extra]
        return given[:, : self.extra].movedim(-1, 1) if self.layout == "bnk" else self.maps(given)[..., :0].flatten(2)


def map_of(shape: tuple[int, ...], picture: Pair) -> Grid | None:
    """The grid of a layer that gives maps of this shape, of three axes, for pictures of (h, w), from the shape alone.

    The positions have the picture's aspect: of (7, 7, 768) they are the first two axes, of (768, 7, 7) the last two.
    """
    k, h, w = shape
    if fits((h, w), picture):
        return Grid("bkhw", (h, w))
    return Grid("bhwk", (k, h)) if fits((k, h), picture) else None


def fits(size: Pair, picture: Pair) -> bool:
    """Whether a map of this size has the picture's aspect."""
    (h, w), (rows, columns) = size, picture
    return h * w > 1 and h <= rows and w <= columns and abs(h * columns - w * rows) <= _SLACK * max(rows, columns)


def tokens_of(count: int, picture: Pair, known: Collection[Pair] = (), layout: Axes = "bnk") -> Grid | None:
    """The grid of that many tokens: as few as possible of them are of no place."""
    square = (_exact(n, picture) for n in range(count, max(count - MOST_EXTRA, 1) - 1, -1))
    return grid_among({*known, *(size for size in square if size)}, count, layout)


def grid_among(known: Collection[Pair], count: int, layout: Axes = "bnk") -> Grid | None:
    """The grid of that many tokens that has one of these sizes, or is left of one when patches are merged."""
    sizes = {size for one in known for size in halves(one)}
    fitting = [
        (count - h * w, (h, w)) for h, w in sizes if 0 <= count - h * w <= MOST_EXTRA and h * w > 1 and 2 * h * w > count
    ]
    if not fitting:
        return None
    extra, size = min(fitting)
    return Grid(layout, size, extra)


def halves(size: Pair) -> Iterator[Pair]:
    """What is left of a map when patches are merged two by two, again and again."""
    while size[0] * size[1] > 1:
        yield size
        size = (-(-size[0] // 2), -(-size[1] // 2))


def _exact(count: int, picture: Pair) -> Pair | None:
    """(h, w) with h·w = count, of exactly the picture's aspect."""
    rows, columns = picture
    h = round((count * rows / columns) ** 0.5)
    return (h, count // h) if h and count % h == 0 and h * columns == (count // h) * rows else None
