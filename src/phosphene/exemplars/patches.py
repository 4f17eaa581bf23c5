"""Patches: what a unit saw, cut out of the original picture."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from torch import Tensor

from ..errors import PictureError
from ..network import addresses
from ..network.layers import Layer
from ..network.network import Network
from ..network.preprocess import Placing
from ..network.receptive import ReceptiveField
from ..pictures.data import Data

Box = tuple[int, int, int, int]  # left, top, right, bottom in pixels; right and bottom outside
NONE: Box = (0, 0, 0, 0)


class Fields:
    """The windows of a network's units in the fitted picture."""

    def __init__(self, net: Network) -> None:
        self._size = net.preprocess.sides
        self._calls = net.calls
        self._layers: Mapping[str, Layer] = {layer.address: layer for layer in net.layers()}

    def window(self, place: tuple[str, int, int] | None) -> Box:
        """(left, top, right, bottom) of what the unit at (address, y, x) sees, clipped at the borders; None: the whole."""
        h, w = self._size
        field = None if place is None else self._field(place[0])
        return (0, 0, w, h) if place is None or field is None else field.box(place[1], place[2], self._size)

    def note(self, address: str) -> str | None:
        """What may mislead about the windows of an address."""
        field = self._field(address)
        if field is None:
            return f"{address}: what its units see is not known; their patches are whole pictures"
        if not field.exact:
            return f"{address}: what its units see is known as an upper bound; patches may be too large"
        return None

    def _field(self, address: str) -> ReceptiveField | None:
        path, run = addresses.split(address, self._calls)
        layer = self._layers.get(path)
        # What is known of a module is of its last run.
        return None if layer is None or run not in (None, self._calls[path] - 1) else layer.receptive_field


def original_box(window: Box, placing: Placing, size: tuple[int, int]) -> Box:
    """A window of the fitted picture in pixels of the original, of (height, width): every pixel it touches.

    >>> original_box((0, 0, 16, 16), Placing((32, 64), 0, 16), (64, 128))
    (32, 0, 64, 32)
    """
    left, top, right, bottom = window
    if left >= right or top >= bottom:
        return NONE
    across = _axis(left + placing.left, right + placing.left, placing.size[1], size[1])
    down = _axis(top + placing.top, bottom + placing.top, placing.size[0], size[0])
    return across[0], down[0], across[1], down[1]


def _axis(start: int, end: int, resized: int, whole: int) -> tuple[int, int]:
    return max(start * whole // resized, 0), min(-(-end * whole // resized), whole)


def cut(
    data: Data, wanted: Iterable[tuple[int, int, int, Box]], sizes: Mapping[int, tuple[int, int]]
) -> Iterator[tuple[int, int, Tensor, Tensor]]:
    """(unit, rank, original (1, c, h, w), patch (c, h, w)) for each wanted (unit, rank, item, box); each item is read once.

    PictureError where an item is not the picture any more that was scanned.
    """
    by_item: dict[int, list[tuple[int, int, Box]]] = {}
    for unit, rank, item, box in wanted:
        by_item.setdefault(item, []).append((unit, rank, box))
    for item, picture in data.pictures(list(by_item)):
        if tuple(picture.shape[-2:]) != sizes[item]:
            now, then = ("×".join(map(str, size)) for size in (picture.shape[-2:], sizes[item]))
            raise PictureError(f"item {item} of {data.name} has {now} pixels and had {then} when it was scanned")
        for unit, rank, (left, top, right, bottom) in by_item[item]:
            yield unit, rank, picture, picture[0, :, top:bottom, left:right]
