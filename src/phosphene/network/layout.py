"""Layout: which axes of what a layer gives are the batch, the channels and the positions. The one owner of that question.

Shapes alone do not tell: (8, 8, 64) may be maps with channels last or eight heads of eight tokens. So it is observed how the
shape changes: the batch axis is the one that follows the number of images, positions are the axes that grow with the picture,
and matrices between tokens grow with its square. Where the network takes no larger picture, kinds of modules and the sizes of
the maps that convolutions gave are asked.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property

from torch import nn

from . import addresses
from .grid import Axes, Grid, grid_among, halves, map_of, tokens_of
from .receptive import Pair

# Address → shape with the batch axis. A path stands for its last run, path@k for each of several.
Shapes = Mapping[str, tuple[int, ...]]
_CHANNELS_FIRST = (
    nn.modules.conv._ConvNd,
    nn.modules.batchnorm._BatchNorm,
    nn.modules.pooling._AvgPoolNd,
    nn.modules.pooling._MaxPoolNd,
    nn.modules.pooling._AdaptiveAvgPoolNd,
    nn.modules.pooling._AdaptiveMaxPoolNd,
    nn.GroupNorm,
    nn.Upsample,
    nn.PixelShuffle,
)
_MOST_TOKENS_MORE = 5  # class token and registers, where a matrix between tokens is looked for
_GROWTH = 3  # an axis of positions grows twofold with the picture, up to rounding; one of tokens fourfold


@dataclass(frozen=True)
class Layout:
    """Of one layer, for pictures of one size.

    shape     of what it gives for one image, without the batch axis
    axis      of the channels, counted with the batch axis: 1 or −1; None if that cannot be known
    grid      where its positions are (of pooled maps (k, 1, 1) the only one); None if it has none, or if they are unknown
    by_image  whether the first axis is the image; else it is windows, patches or a table
    """

    shape: tuple[int, ...]
    axis: int | None = 1
    grid: Grid | None = None
    by_image: bool = True

    @property
    def channels_first(self) -> tuple[int, ...]:
        """(k, h, w) of maps, (k, n) of tokens, (k,) of features."""
        return (self.shape[-1], *self.shape[:-1]) if self.axis == -1 else self.shape


@dataclass
class Layouts:
    """Of all layers of a network.

    sides  (h, w) for which `shapes` of `batch` images and of one `alone` were seen; the latter empty where it was not tried
    """

    module: nn.Module = field(repr=False)
    calls: Mapping[str, int]
    sides: Pair
    batch: int
    shapes: Shapes
    alone: Shapes

    def __post_init__(self) -> None:
        self._by_size: dict[Pair, Shapes] = {self.sides: self.shapes}
        self._kinds: dict[str, Axes | None] = {}
        self._sizes: dict[Pair, frozenset[Pair]] = {}  # of `_map_sizes`

    def by_image(self, address: str) -> bool:
        """Whether the first axis of what an address gives follows the number of images."""
        shape = self.shapes.get(address)
        if shape is None:
            return True
        return shape[:1] == (self.batch,) and self.alone.get(address, (1,))[:1] == (1,)

    def of(self, wanted: Iterable[str], size: Pair, run: Callable[[Pair], Shapes]) -> dict[str, Layout]:
        """Layouts for pictures of (h, w), of those addresses that give something at this size.

        run: gives the shapes at another size, as far as the network comes with it
        """
        shapes = self._at(size, run)
        return {address: self._layout(address, shapes[address], size, run) for address in wanted if address in shapes}

    def _at(self, size: Pair, run: Callable[[Pair], Shapes]) -> Shapes:
        if size not in self._by_size:
            self._by_size[size] = run(size)
        return self._by_size[size]

    def _layout(self, address: str, shape: tuple[int, ...], size: Pair, run: Callable[[Pair], Shapes]) -> Layout:
        if not self.by_image(address) or not shape:
            return Layout(shape[1:], by_image=bool(shape) and self.by_image(address))
        if address not in self._kinds:
            self._kinds[address] = self._kind(address, self.shapes.get(address, shape), run)
        kind = self._kinds[address]
        grid = None if kind is None else self._grid(kind, shape[1:], size)
        return Layout(shape[1:], self._axis(kind, address, shape), grid)

    def _axis(self, kind: Axes | None, address: str, shape: tuple[int, ...]) -> int | None:
        if kind is not None:
            return 1 if kind in ("bkhw", "bkn") else -1
        if len(shape) > 3 and not self._is_channels_first(address):
            return 1 if self.shapes.get(address, shape) in self._volumes else None
        if len(shape) != 3 or shape[2] == 1 or self._is_channels_first(address):
            return 1
        return 1 if self.shapes.get(address, shape)[1:] in self._signals else -1

    def _grid(self, kind: Axes, shape: tuple[int, ...], size: Pair) -> Grid | None:
        if kind in ("bkhw", "bhwk"):
            found: Grid | None = Grid(kind, (shape[1], shape[2]) if kind == "bkhw" else (shape[0], shape[1]))
        else:
            count = shape[0] if kind == "bnk" else shape[1]
            found = tokens_of(count, size, self._map_sizes(size), kind)
            if found is None and 1 in size and count > 1:
                found = Grid(kind, (1, count) if size[0] == 1 else (count, 1))
        return found

    def _kind(self, address: str, shape: tuple[int, ...], run: Callable[[Pair], Shapes]) -> Axes | None:
        """Where the channels and positions of a layer are; None if it has no positions, or they cannot be known."""
        if len(shape) not in (3, 4):
            return None
        if len(shape) == 4 and (self._is_channels_first(address) or self._is_plain_map(shape)):
            return "bkhw"
        if len(shape) == 4 and 1 not in self.sides and 1 == shape[2] in (shape[1], shape[3]):
            return "bkhw" if shape[3] == 1 else "bhwk"  # pooled
        larger = self._larger(run).get(address)
        if larger is None or len(larger) != len(shape):
            return self._unmoved_map(shape) if len(shape) == 4 else self._unmoved_tokens(address, shape)
        moved = {i for i in range(1, len(shape)) if larger[i] != shape[i]}
        if not moved:
            if len(shape) == 4:
                return "bkhw" if self._is_known_map(shape) else self._by_channels(shape)
            return "bkn" if 1 in self.sides and shape[1:] in self._signals else None
        if len(shape) == 3:
            return "bnk" if moved == {1} else "bkn" if moved == {2} else None
        if any(larger[i] > _GROWTH * shape[i] for i in moved):
            return None  # matrices between tokens, or tokens of several heads
        if moved <= {2, 3} and all(shape[i] == 1 for i in {2, 3} - moved):
            return "bkhw"
        return "bhwk" if moved <= {1, 2} and all(shape[i] == 1 for i in {1, 2} - moved) else None

    def _larger(self, run: Callable[[Pair], Shapes]) -> Shapes:
        """The shapes for a picture of twice the size; none if no map is larger then, as where the network scales pictures."""
        h, w = (side * 2 if side > 1 else 1 for side in self.sides)
        shapes = self._at((h, w), run)
        both = [a for a, shape in self.shapes.items() if len(shape) > 2 and a in shapes and self._is_channels_first(a)]
        return {} if both and all(shapes[a][2:] == self.shapes[a][2:] for a in both) else shapes

    def _is_channels_first(self, address: str) -> bool:
        return address in self._channels_first

    @cached_property
    def _channels_first(self) -> frozenset[str]:
        parts = {a: self.module.get_submodule(addresses.split(a, self.calls)[0]) for a in self.shapes}
        return frozenset(a for a, part in parts.items() if isinstance(part, _CHANNELS_FIRST))

    def _is_plain_map(self, shape: tuple[int, ...]) -> bool:
        """Whether this is as large as maps of convolutions and as nothing else."""
        h, w = shape[2:]
        areas = {rows * columns for rows, columns in self._map_sizes(self.sides)} | self._token_counts
        matrix = h == w and any(0 <= h - count <= _MOST_TOKENS_MORE for count in areas if count > 1)
        return self._is_known_map(shape) and not matrix and (shape[1], shape[2]) not in self._merged_sizes

    def _is_known_map(self, shape: tuple[int, ...]) -> bool:
        return (shape[2], shape[3]) in self._map_sizes(self.sides)

    def _unmoved_map(self, shape: tuple[int, ...]) -> Axes | None:
        """Of a layer (b, ., ., .) in a network that takes no larger picture."""
        if any(h == w and h in self._token_counts for h, w in (shape[1:3], shape[2:])):
            return None
        if self._is_known_map(shape):
            return "bkhw"
        if (shape[1], shape[2]) in self._merged_sizes:
            return "bhwk"
        grid = None if self._merged_sizes else map_of(shape[1:], self.sides)
        return grid.layout if grid is not None else self._by_channels(shape)

    def _by_channels(self, shape: tuple[int, ...]) -> Axes | None:
        """Of maps of no size that a convolution gave (pooled by a function): the axis that is as long as channels elsewhere."""
        first, last = (shape[axis] in self._channel_counts for axis in (1, 3))
        return None if first == last else "bkhw" if first else "bhwk"

    def _unmoved_tokens(self, address: str, shape: tuple[int, ...]) -> Axes | None:
        """Of a layer (b, ., .) in a network that takes no larger picture."""
        if self._is_channels_first(address) and 1 in self.sides:
            return "bkn"
        known = self._map_sizes(self.sides)
        rows, columns = (grid_among(known, count) if shape[1] > 1 else None for count in shape[1:])
        if not known and shape[1] > 1:
            rows, columns = (tokens_of(count, self.sides) for count in shape[1:])
        if self._is_channels_first(address):
            rows = None
        if rows is None or columns is None:
            return "bnk" if rows is not None and shape[2] > 1 else "bkn" if columns is not None else None
        if rows.extra == columns.extra:
            return None  # a matrix between tokens
        return "bnk" if rows.extra < columns.extra else "bkn"

    def _map_sizes(self, size: Pair) -> Collection[Pair]:
        """(h, w) of what channels-first modules give, for pictures of a size that was run."""
        if size not in self._sizes:
            shapes = self._by_size.get(size, {})
            maps = {(s[2], s[3]) for a, s in shapes.items() if len(s) == 4 and self._is_channels_first(a)}
            self._sizes[size] = frozenset(maps - {(1, 1)})
        return self._sizes[size]

    @cached_property
    def _merged_sizes(self) -> frozenset[Pair]:
        """Sizes of maps, and what is left of them when patches are merged."""
        return frozenset(half for size in self._map_sizes(self.sides) for half in halves(size))

    @cached_property
    def _channel_counts(self) -> frozenset[int]:
        return frozenset(s[1] for a, s in self.shapes.items() if len(s) == 4 and self._is_channels_first(a))

    @cached_property
    def _token_counts(self) -> frozenset[int]:
        return frozenset(shape[1] for shape in self.shapes.values() if len(shape) == 3)

    @cached_property
    def _volumes(self) -> frozenset[tuple[int, ...]]:
        """Shapes (b, k, …) of three axes or more that channels-first modules give."""
        return frozenset(s for a, s in self.shapes.items() if len(s) > 3 and self._is_channels_first(a))

    @cached_property
    def _signals(self) -> frozenset[tuple[int, ...]]:
        """Shapes (k, t) that channels-first modules give."""
        return frozenset(s[1:] for a, s in self.shapes.items() if len(s) == 3 and self._is_channels_first(a))


def last_of_each_size(module: nn.Module, layouts: Mapping[str, Layout]) -> tuple[str, ...]:
    """Of modules in the order in which they run, those that are the last to give maps of their size.

    Padding is left out: its sizes are no other layer's, and what it gives is its input with a border.
    """
    parts = dict(module.named_modules())
    found: dict[tuple[int, int], str] = {}
    for address, layout in layouts.items():
        if layout.grid is not None and layout.grid.size != (1, 1) and not _pads(parts.get(address)):
            found[layout.grid.size] = address
    kept = set(found.values())
    return tuple(address for address in layouts if address in kept)


def _pads(part: nn.Module | None) -> bool:
    return any(kind.__module__ == nn.ZeroPad2d.__module__ for kind in type(part).__mro__)
