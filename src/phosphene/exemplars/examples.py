"""`examples`: the verb. Which pictures of a data set excite a unit most, and where; and what it gives."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from .. import checks
from ..accumulate.moments import Spread
from ..accumulate.topk import Best, TopK
from ..ambient import shielded, shielded_methods
from ..errors import Interrupted, RequestError, shown
from ..network.grid import Grid
from ..network.network import Network
from ..objectives.expression import Objective
from ..objectives.spec import Meant, parse
from ..objectives.units import Channel, neuron
from ..pictures.data import Data, Refusal, checked_shard, misleading, open_data
from ..pictures.notebook import figure
from ..results import door
from ..results.several import Several, columns_of
from . import scan as scanning
from .patches import NONE, Box, Fields, cut, original_box
from .state import Entry, State
from .units import Asked, Group, asked

Wanted = Meant | Sequence[Meant]


@shielded_methods
@dataclass(frozen=True, eq=False)
class Examples(Several):
    """The best entries of each objective over a data set, best first; rows are objectives, columns ranks. e[0] is of one
    objective; iteration, np.asarray(e) (the values) and e.plot(): see `Several`.

    values   (units, top) raw; where fewer pictures were seen than asked for, NaN, and index −1
    indices  (units, top) of the items in the data
    places   (units, top, 2) (y, x) in the unit's map; −1 for what has no places
    boxes    (units, top, 4) what the unit saw, (left, top, right, bottom) in pixels of the original picture
    windows  (units, top, 4) the same in the fitted picture that the network saw
    entries  name, label and (height, width) by index
    stats    mean, spread, sparsity, dead of each unit, over all places of all pictures
    histogram (units, bins) of each picture's largest value; the bins are `accumulate.histogram.edges()`
    seen, refused, refusals  pictures that went through, items that were none, and which (the first thousand)
    bottom   the lowest entries, where they were asked for
    grids    where a layer's positions are, by address
    """

    objectives: tuple[str, ...]
    values: Tensor
    indices: Tensor
    places: Tensor
    boxes: Tensor
    windows: Tensor
    entries: Mapping[int, Entry]
    stats: Spread
    histogram: Tensor
    seen: int
    refused: int
    refusals: tuple[Refusal, ...]
    notes: tuple[str, ...]
    data: Data
    state: State
    bottom: Examples | None = field(default=None, repr=False)
    grids: Mapping[str, Grid] = field(default_factory=dict, repr=False)

    def __len__(self) -> int:
        return len(self.objectives)

    def __repr__(self) -> str:
        return f"Examples({len(self)} units × {self.values.shape[1]}, of {self.seen} pictures of {self.data.name})"

    def chosen(self, rows: Sequence[int]) -> Examples:
        """Of these objectives alone, in this order."""
        kept = list(rows)
        parts = {name: getattr(self, name)[kept] for name in ("values", "indices", "places", "boxes", "windows", "histogram")}
        return replace(
            self,
            objectives=tuple(self.objectives[row] for row in kept),
            stats=Spread(*(numbers[kept] for numbers in self.stats)),
            bottom=None if self.bottom is None else self.bottom.chosen(kept),
            **parts,
        )

    @property
    def array(self) -> Tensor:
        """The values, for np.asarray."""
        return self.values

    def title_of(self, item: int) -> str:
        return self.objectives[self._place(item)]

    def image(self, item: int = 0) -> Image.Image:
        """The patches of one objective side by side, best first."""
        return self.chosen([self._place(item)]).sheet()

    def sheet(self) -> Image.Image:
        """Rows are objectives, of the first 32, columns patches, best first, each with its value and label."""
        from .sheet import ROWS, rows, sheet  # here: that file needs this one

        some = self if len(self) <= ROWS else self.chosen(range(ROWS))
        return sheet(some, list(rows(some, lambda picture: picture)), f"{self.data.name}, {self.seen} pictures")

    def save(self, folder: str | Path) -> Path:
        """Write every patch as PNG, sheets and run.json; gives the path of the last."""
        from .sheet import rows, save  # here: that file needs this one

        about = {"command": "examples", "model": {"sha256": self.state.about["model"]}}
        return save(self, folder, rows(self, lambda picture: picture), title=self.data.name, about=about)

    def _repr_html_(self) -> str:
        return figure(self.sheet(), repr(self), self.notes)

    def patches(self, units: Sequence[int] | None = None) -> list[list[Tensor]]:
        """The patches (c, h, w) in [0, 1] of each unit, best first, at full resolution, cut from the originals read again."""
        rows = list(range(len(self))) if units is None else units
        if not isinstance(rows, Sequence):
            raise RequestError(f"units must be a list of units, got {shown(rows)}")
        rows = [self._place(row) for row in rows]
        found: dict[int, dict[int, Tensor]] = {row: {} for row in rows}
        for row, rank, _, patch in self.each(rows):
            found[row][rank] = patch.clone()
        return [[patch for _, patch in sorted(found[row].items())] for row in rows]

    def each(self, units: Sequence[int] | None = None) -> Iterator[tuple[int, int, Tensor, Tensor]]:
        """(unit, rank, original (1, c, h, w), patch (c, h, w)) in the order of the data: one original is held at a time."""
        sizes = {index: entry.size for index, entry in self.entries.items()}
        yield from cut(self.data, self._wanted(range(len(self)) if units is None else units), sizes)

    def _wanted(self, units: Iterable[int]) -> Iterator[tuple[int, int, int, Box]]:
        """(unit, rank, item, box) of what is there and saw something of the picture."""
        for row in units:
            for rank, index in enumerate(self.indices[row].tolist()):
                if index >= 0 and self.box(row, rank) != NONE:
                    yield row, rank, index, self.box(row, rank)

    def box(self, unit: int, rank: int) -> Box:
        left, top, right, bottom = self.boxes[self._place(unit), self._rank(rank)].tolist()
        return left, top, right, bottom

    def unit_at(self, unit: int, rank: int) -> Objective:
        """The one number of the network that stands at this rank: the channel at its place, or the objective itself."""
        objective, (y, x) = parse(self.objectives[self._place(unit)]), self.places[unit, self._rank(rank)].tolist()
        channel = objective.only
        if not isinstance(channel, Channel) or y < 0:
            return objective
        return neuron(channel.address, channel.index, *self.grids[channel.address].place(y, x))

    def to_dict(self) -> dict[str, list[Any]]:
        """A row for each patch, best first, a column for each key, as pandas.DataFrame takes them."""
        patches = [(unit, rank, told) for unit in range(len(self)) for rank, told in enumerate(self._told(unit))]
        return columns_of([{"objective": self.objectives[unit], "rank": rank, **told} for unit, rank, told in patches])

    def row(self, unit: int) -> dict[str, Any]:
        """One unit in plain numbers and words, for run.json."""
        unit = self._place(unit)
        stats = {name: _plain(getattr(self.stats, name)[unit].item()) for name in ("mean", "spread", "sparsity", "dead")}
        return {"objective": self.objectives[unit], **stats, "patches": [*self._told(unit)]} | (
            {"lowest": [*self.bottom._told(unit)]} if self.bottom else {}
        )

    def _place(self, unit: int) -> int:
        return checks.whole("unit", unit, low=0, high=len(self) - 1)

    def _rank(self, rank: int) -> int:
        return checks.whole("rank", rank, low=0, high=self.values.shape[1] - 1)

    def _told(self, unit: int) -> Iterator[dict[str, Any]]:
        for rank, index in enumerate(self.indices[unit].tolist()):
            if index >= 0:
                entry = self.entries[index]
                yield {
                    "image": entry.name,
                    "index": index,
                    "label": entry.label,
                    "value": _plain(self.values[unit, rank].item()),
                    "place": self.places[unit, rank].tolist(),
                    "box": list(self.box(unit, rank)),
                }


@shielded
@door.takes(net=door.network, objectives=door.objectives)
def examples(
    net: Network,
    data: Any,
    objectives: Wanted,
    *,
    top: int = 9,
    bottom: int = 0,
    one_per_picture: bool = True,
    shard: tuple[int, int] = (0, 1),
    batch: int | None = None,
    range: tuple[float, float] | None = None,
    normalised: bool = False,
    folder: str | Path | None = None,
    every: float = scanning.EVERY,
    on_batch: scanning.OnBatch | None = None,
) -> Examples:
    """The pictures of a data set that excite each objective most, and the patches of them that its unit saw.

    data        a folder, "hf:NAME", a .csv or .parquet list of paths or URLs, a Dataset, a DataLoader, a tensor (n, c, h, w);
                or Data. Photographs are fitted as `net.preprocess.fit` does; what is no picture is counted and named. The
                Normalize of a torchvision data set is undone, with a warning
    objectives  one or several, as objects or texts: channel("stage3.0", range(64)), "channel:stage3.0:*", several layers. A
                channel is ranked by its largest value at any place, another objective by its value of the picture
    top, bottom how many of the largest and of the smallest are kept
    one_per_picture  at most one patch of each picture
    shard       (i, n): only the items with index % n == i; `merged` joins the results in any order
    batch       pictures at once; as many as suit the device
    range       the numbers that stand for 0 and 1 in pictures of 16 or 32 bits and in arrays, as `ph.read` takes it
    normalised  whether tensors of the data set are normalised as the network's input is, which is undone
    folder      where a checkpoint is kept, every so many seconds: after a kill the same call goes on there

    One pass, in inference mode, for any number of layers. Of equal values the item that comes first in the data stands first,
    then the upper left place: the result depends on nothing else. Interrupted, with what was found so far, on Ctrl-C.

    Source: top patches: Zeiler & Fergus 2014, figure 2; Springenberg et al. 2015, figure 3.

    >>> import phosphene as ph
    >>> e = ph.examples(ph.load("demo:standard"), torch.rand(5, 3, 32, 32), ph.channel("stage3.0", range(2)), top=3)
    >>> e.values.shape, e.boxes.shape, e.patches()[0][0].shape[0]
    (torch.Size([2, 3]), torch.Size([2, 3, 4]), 3)
    """
    place = None if folder is None else checks.path("folder", folder)
    source = open_data(data, place, net.preprocess.bands, range, net.preprocess.inverse if normalised else None)
    which, of = checked_shard(shard)
    found = asked(net, objectives)
    settings = {
        "top": checks.whole("top", top, low=1, high=10_000),
        "bottom": checks.whole("bottom", bottom, low=0, high=10_000),
        "one_per_picture": bool(one_per_picture),
    }
    at_once = scanning.batch_for(net) if batch is None else checks.whole("batch", batch, low=1)
    kind = scanning.about(net, source, found, settings)
    try:
        state = scanning.scan(
            net,
            source,
            found,
            kind,
            shard=(which, of),
            batch=at_once,
            folder=place,
            every=checks.real("every", every, low=0),
            on_batch=on_batch,
        )
    except Interrupted as stop:
        partial = stop.partial if isinstance(stop.partial, State) and stop.partial.seen else None
        raise Interrupted(partial and _told(net, source, found, partial)) from None
    return _told(net, source, found, state)


@shielded
def merged(net: Network, parts: Sequence[Examples]) -> Examples:
    """Several shards of one data set as one; the order does not matter."""
    first, *others = parts
    state = first.state
    for other in others:
        state = state.merge(other.state)
    return _told(net, first.data, asked(net, first.objectives), state)


def _told(net: Network, data: Data, found: Asked, state: State) -> Examples:
    state = state.to("cpu")
    fields = Fields(net)
    spreads = _in_order(found.groups, [torch.stack([*map(_double, one.compute())], 1) for one in state.moments])
    about: dict[str, Any] = {
        "objectives": tuple(map(str, found.objectives)),
        "entries": state.entries,
        "stats": Spread(spreads[:, 0], spreads[:, 1], spreads[:, 2], spreads[:, 3] > 0),
        "histogram": _in_order(found.groups, [one.compute() for one in state.histograms]),
        "seen": state.seen,
        "refused": state.refused,
        "refusals": state.refusals,
        "notes": _notes(found, fields, state),
        "data": data,
        "state": state,
        "grids": {address: layout.grid for address, layout in found.layouts.items() if layout.grid is not None},
    }
    ranked = [_ranked(net, found, fields, state, ranks) for ranks in (state.tops, state.bottoms) if ranks]
    lowest = Examples(**about, **ranked[1]) if len(ranked) > 1 else None
    return Examples(**about, **ranked[0], bottom=lowest)


def _ranked(net: Network, found: Asked, fields: Fields, state: State, ranks: Sequence[TopK]) -> dict[str, Any]:
    """What Examples holds of the entries."""
    bests = [rank.compute() for rank in ranks]
    best = Best(*(_in_order(found.groups, [one[i] for one in bests]) for i in range(3)))
    places, windows, boxes = [], [], []
    for row, (indices, flat) in enumerate(zip(best.indices.tolist(), best.places.tolist(), strict=True)):
        for index, place in zip(indices, flat, strict=True):
            at = found.place(row, place) if index >= 0 else None
            window = fields.window(at) if index >= 0 else NONE
            size = state.entries[index].size if index >= 0 else (1, 1)
            places.append((-1, -1) if at is None else at[1:])
            windows.append(window)
            boxes.append(original_box(window, net.preprocess.placing(size), size))
    shape = tuple(best.indices.shape)
    told = {"places": torch.tensor(places).view(*shape, 2), "windows": torch.tensor(windows).view(*shape, 4)}
    return {"values": best.values, "indices": best.indices, "boxes": torch.tensor(boxes).view(*shape, 4), **told}


def _in_order(groups: Sequence[Group], parts: Sequence[Tensor]) -> Tensor:
    """Rows of the groups in the order in which they were asked for."""
    order = torch.tensor([row for group in groups for row in group.rows])
    whole = torch.cat(list(parts))
    return torch.empty_like(whole).index_copy_(0, order, whole)


def _notes(found: Asked, fields: Fields, state: State) -> tuple[str, ...]:
    notes: list[str | None] = [
        fields.note(group.address) for group in found.groups if group.address and found.layouts[group.address].grid is not None
    ]
    notes += [_ceiling(group, top) for group, top in zip(found.groups, state.tops, strict=True)]
    notes += misleading(*state.noted)
    faulty = sum(int(one.faulty.sum()) for one in state.moments)
    if faulty:
        notes.append(f"{faulty} values were not finite and are left out")
    if state.refused == 1:
        notes.append(f"one item is no picture and was left out: {state.refusals[0].reason}")
    if state.refused > 1:
        notes.append(f"{state.refused} items are no pictures and were left out; the first: {state.refusals[0].reason}")
    return tuple(note for note in notes if note)


def _ceiling(group: Group, top: TopK) -> str | None:
    """Whether the best of some units are equal, as after a ReLU6: their order says nothing, their gradient is zero."""
    values = top.compute().values
    flat = (values == values[:, :1]).all(1) & (values[:, 0] > 0) if values.shape[1] > 1 else torch.zeros(0)
    if group.address is None or not flat.any():
        return None
    return (
        f"{group.address}: the best of {int(flat.sum())} of {len(values)} units are all equal, as a rectifier with a ceiling "
        "makes them; the layer before it tells them apart"
    )


def _double(tensor: Tensor) -> Tensor:
    return tensor.double()


def _plain(value: float | bool) -> float | bool | None:
    return None if value != value else value
