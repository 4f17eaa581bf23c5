"""What `net.layers()` gives: one row per module that runs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ..tables import Table, pair
from . import probe
from .boxes import BoxTracer
from .grid import Grid
from .layout import Layout
from .receptive import ReceptiveField
from .tracing import Tracer

LONGEST = 400  # rows that are printed


@dataclass(frozen=True)
class Layer:
    """A module that runs, with what its units see.

    shape: of what it gives for one picture, without the batch axis; calls: how often it runs in one forward pass;
    by_image: whether the first axis is the image; else it is windows, patches or a table, and the layer cannot be asked.
    """

    address: str
    kind: str
    shape: tuple[int, ...]
    calls: int
    receptive_field: ReceptiveField | None
    by_image: bool = True

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


class Layers(tuple[Layer, ...]):
    """What `net.layers()` gives: a tuple of Layer that shows itself as a table."""

    __slots__ = ()

    def table(self) -> Table:
        return Table(("address", "kind", "shape", "runs", "sees", "stride", "offset", ""), tuple(_row(layer) for layer in self))

    def __repr__(self) -> str:
        return self.table().text(LONGEST)

    def _repr_html_(self) -> str:
        return self.table().html()


def _row(layer: Layer) -> tuple[str, ...]:
    head = (layer.address, layer.kind, pair(layer.shape, "×"), str(layer.calls))
    field = layer.receptive_field
    if field is None:
        return (*head, "–", "–", "–", "")
    said = "" if field.exact else "at most"
    return (*head, pair(field.size, "×"), pair(field.stride, "×"), pair(field.offset, ", "), said)


def describe(module: nn.Module, inputs: Tensor, channels_last: bool, layouts: Mapping[str, Layout]) -> Layers:
    """The layers in the order in which they first give something, for random network input (b, …).

    Where the quick arithmetic does not reach, boxes are followed in a second pass.
    """
    given, calls, fields = _traced(module, inputs.clone(), channels_last)
    grids = {path: layouts[path].grid for path in given if path in layouts}
    # The last two axes of four are not always the places: of these layers the quick arithmetic has no word.
    fields = {path: fields[path] if len(given[path]) == 2 or _is_map(grids.get(path)) else None for path in given}
    lacking = {path: grid for path, grid in grids.items() if grid is not None and fields[path] is None}
    if lacking:
        fields.update(_followed(module, inputs.clone(), channels_last, calls, lacking))
    kinds = {path: type(module.get_submodule(path)).__name__ for path in given}
    rows = []
    for path, shape in given.items():
        by_image = path not in layouts or layouts[path].by_image
        rows.append(Layer(path, kinds[path], shape[1:], calls[path], fields[path], by_image))
    return Layers(rows)


def _traced(
    module: nn.Module, inputs: Tensor, channels_last: bool
) -> tuple[dict[str, tuple[int, ...]], dict[str, int], dict[str, ReceptiveField | None]]:
    given: dict[str, tuple[int, ...]] = {}
    calls: dict[str, int] = {}
    fields: dict[str, ReceptiveField | None] = {}

    def note(path: str, run: int, value: Any) -> None:
        tensor = probe.first_tensor(value, strict=False)
        if tensor is not None:
            given[path], calls[path], fields[path] = tuple(tensor.shape), run + 1, tracer.of(tensor)

    paths = [path for path, _ in module.named_modules() if path]
    with torch.no_grad(), Tracer(inputs, channels_last) as tracer, probe.watching(module, paths, note):
        module(inputs)
    return given, calls, fields


def _is_map(grid: Grid | None) -> bool:
    return grid is not None and grid.layout == "bkhw"


def _followed(
    module: nn.Module, inputs: Tensor, channels_last: bool, calls: Mapping[str, int], grids: Mapping[str, Grid]
) -> dict[str, ReceptiveField | None]:
    fields: dict[str, ReceptiveField | None] = {}

    def note(path: str, run: int, value: Any) -> None:
        tensor = probe.first_tensor(value, strict=False)
        if run == calls[path] - 1 and tensor is not None:
            fields[path] = tracer.of(tensor, grids[path])

    with torch.no_grad(), BoxTracer(inputs, channels_last) as tracer, probe.watching(module, grids, note):
        module(inputs)
    return fields
