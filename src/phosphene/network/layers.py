"""What `net.layers()` gives: one row per module that runs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor, nn

from . import probe
from .boxes import BoxTracer
from .grid import Grid, grid_of
from .receptive import Pair, ReceptiveField
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


def describe(module: nn.Module, inputs: Tensor, channels_last: bool) -> tuple[Layer, ...]:
    """The layers in the order in which they first give something, for random network input (b, …).

    Where the quick arithmetic does not reach, boxes are followed in a second pass.
    """
    picture = (int(inputs.shape[1]), int(inputs.shape[2])) if channels_last else (int(inputs.shape[2]), int(inputs.shape[3]))
    given, calls, fields = _traced(module, inputs.clone(), channels_last)
    grids = _grids({path: shape for path, shape in given.items() if shape[0] == len(inputs)}, picture)
    # The last two axes of four are not always the places: of these layers the quick arithmetic has no word.
    lacking = {path: grid for path, grid in grids.items() if fields[path] is None or grid.layout != "bkhw"}
    fields = {path: None if path in lacking else field for path, field in fields.items()}
    if lacking:
        fields.update(_followed(module, inputs.clone(), channels_last, calls, lacking, picture))
    kinds = {path: type(module.get_submodule(path)).__name__ for path in given}
    rows = []
    for path, shape in given.items():
        by_image = shape[0] == len(inputs)
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


def _grids(shapes: Mapping[str, tuple[int, ...]], picture: Pair) -> dict[str, Grid]:
    """Where the places are, of the layers that have any: maps of any aspect (b, k, h, w), and what `grid` understands."""
    known = {(shape[2], shape[3]) for shape in shapes.values() if len(shape) == 4}
    found = {}
    for path, shape in shapes.items():
        grid = grid_of(shape[1:], picture, known)
        if grid is None and len(shape) == 4:
            grid = Grid("bkhw", (shape[2], shape[3]))
        if grid is not None:
            found[path] = grid
    return found


def _followed(
    module: nn.Module, inputs: Tensor, channels_last: bool, calls: Mapping[str, int], grids: Mapping[str, Grid], picture: Pair
) -> dict[str, ReceptiveField | None]:
    fields: dict[str, ReceptiveField | None] = {}

    def note(path: str, run: int, value: Any) -> None:
        tensor = probe.first_tensor(value, strict=False)
        if run == calls[path] - 1 and tensor is not None:
            fields[path] = tracer.of(tensor, grids[path])

    with torch.no_grad(), BoxTracer(inputs, channels_last) as tracer, probe.watching(module, grids, note):
        module(inputs)
    return fields
