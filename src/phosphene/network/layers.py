"""What `net.layers()` gives: one row per module that runs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor, nn

from . import probe
from .boxes import BoxTracer
from .grid import Grid
from .layout import Layout
from .receptive import ReceptiveField
from .tracing import Tracer


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


def describe(module: nn.Module, inputs: Tensor, channels_last: bool, layouts: Mapping[str, Layout]) -> tuple[Layer, ...]:
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
    return tuple(rows)


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
