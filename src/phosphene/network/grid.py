"""Grid: where the places of a picture are in what a module gave. Found from shapes alone."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Literal

from torch import Tensor

from .receptive import Pair

MOST_EXTRA = 16  # tokens that are of no place; vision transformers have 1 (class) to 5 (and registers)
_SLACK = (
    2  # rows by which a map may differ from the picture's aspect: convolutions without padding take the same off both sides
)


@dataclass(frozen=True)
class Grid:
    """layout: maps (b, k, h, w) "bkhw", with channels last "bhwk", or tokens (b, n, k) "bnk" in rows after `extra` others.

    size: (h, w)
    """

    layout: Literal["bkhw", "bhwk", "bnk"]
    size: Pair
    extra: int = 0

    def maps(self, given: Tensor) -> Tensor:
        """(b, k, h, w): a view, so that changing it changes what was given."""
        if self.layout == "bkhw":
            return given
        if self.layout == "bnk":
            given = given[:, self.extra :].unflatten(1, self.size)
        return given.movedim(-1, 1)

    def others(self, given: Tensor) -> Tensor:
        """(b, k, extra): the tokens that are of no place."""
        return given[:, : self.extra].movedim(-1, 1) if self.layout == "bnk" else self.maps(given)[..., :0].flatten(2)


def grid_of(shape: tuple[int, ...], picture: Pair, known: Collection[Pair] = ()) -> Grid | None:
    """The grid of a module that gives `shape` (without the batch axis) for pictures of (h, w); None if it has no places.

    known: sizes of maps that ran before, from which a number of tokens is understood. Places are there if the shape has the
    picture's aspect: of (7, 7, 768) the first two, of (768, 7, 7) the last two; of 197 tokens the last 14×14.
    """
    if len(shape) == 3:
        k, h, w = shape
        if _fits((h, w), picture):
            return Grid("bkhw", (h, w))
        return Grid("bhwk", (k, h)) if _fits((k, h), picture) else None
    return tokens_of(shape[0], picture, known) if len(shape) == 2 and shape[1] > 1 else None


def channels_last(shape: tuple[int, ...], picture: Pair) -> bool:
    """Whether a module that gives `shape` (without the batch axis) puts its channels last, as (h, w, k)."""
    grid = grid_of(shape, picture) if len(shape) == 3 else None
    return grid is not None and grid.layout == "bhwk"


def _fits(size: Pair, picture: Pair) -> bool:
    (h, w), (rows, columns) = size, picture
    return h * w > 1 and h <= rows and w <= columns and abs(h * columns - w * rows) <= _SLACK * max(rows, columns)


def tokens_of(count: int, picture: Pair, known: Collection[Pair] = ()) -> Grid | None:
    """The grid of that many tokens (b, n, k): as few as possible of them are of no place."""
    square = (_exact(n, picture) for n in range(count, max(count - MOST_EXTRA, 1) - 1, -1))
    sizes = {size for one in known for size in _halves(one)} | {size for size in square if size}
    fitting = [
        (count - h * w, (h, w)) for h, w in sizes if 0 <= count - h * w <= MOST_EXTRA and h * w > 1 and 2 * h * w > count
    ]
    if not fitting:
        return None
    extra, size = min(fitting)
    return Grid("bnk", size, extra)


def _halves(size: Pair) -> Iterator[Pair]:
    """What is left of a map when patches are merged two by two, again and again."""
    while size[0] * size[1] > 1:
        yield size
        size = (-(-size[0] // 2), -(-size[1] // 2))


def _exact(count: int, picture: Pair) -> Pair | None:
    """(h, w) with h·w = count, of exactly the picture's aspect."""
    rows, columns = picture
    h = round((count * rows / columns) ** 0.5)
    return (h, count // h) if h and count % h == 0 and h * columns == (count // h) * rows else None
