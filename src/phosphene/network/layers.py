"""What `net.layers()` gives: one row per module that runs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor, nn

from . import probe, receptive
from .receptive import ReceptiveField
from .tracing import Tracer


@dataclass(frozen=True)
class Layer:
    """A module that runs, with what its units see.

    shape: of what it gives for one picture, without the batch axis; calls: how often it runs in one forward pass.
    """

    address: str
    kind: str
    shape: tuple[int, ...]
    calls: int
    receptive_field: ReceptiveField | None

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def describe(module: nn.Module, inputs: Tensor, channels_last: bool) -> tuple[Layer, ...]:
    """The layers in the order in which they first give something, for random network input (b, …)."""
    given, calls, fields = _traced(module, inputs.clone(), channels_last)
    lacking = {path for path, tensor in given.items() if fields[path] is None and tensor.ndim == 4}
    if lacking:
        fields.update(_measured(module, inputs, lacking, calls, channels_last))
    kinds = {path: type(module.get_submodule(path)).__name__ for path in given}
    return tuple(Layer(path, kinds[path], tuple(tensor.shape[1:]), calls[path], fields[path]) for path, tensor in given.items())


def _traced(
    module: nn.Module, inputs: Tensor, channels_last: bool
) -> tuple[dict[str, Tensor], dict[str, int], dict[str, ReceptiveField | None]]:
    given: dict[str, Tensor] = {}
    calls: dict[str, int] = {}
    fields: dict[str, ReceptiveField | None] = {}

    def note(path: str, run: int, value: Any) -> None:
        tensor = probe.first_tensor(value, strict=False)
        if tensor is not None:
            given[path], calls[path], fields[path] = tensor, run + 1, tracer.of(tensor)

    paths = [path for path, _ in module.named_modules() if path]
    with torch.no_grad(), Tracer(inputs, channels_last) as tracer, probe.watching(module, paths, note):
        module(inputs)
    return given, calls, fields


def _measured(
    module: nn.Module, inputs: Tensor, paths: set[str], calls: Mapping[str, int], channels_last: bool
) -> dict[str, ReceptiveField | None]:
    with torch.enable_grad():
        inputs = inputs.detach().requires_grad_(True)
        read, _ = probe.forward(module, inputs.clone(), paths, calls)  # no leaf: it may be changed in place
        return {path: receptive.measured(tensor, inputs, channels_last) for path, tensor in read.items()}
