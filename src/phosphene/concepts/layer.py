"""What a layer gives for pictures, with its positions, and the gradient of scores towards it."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor

from ..errors import RequestError
from ..network.grid import Grid
from ..network.network import Network
from ..objectives.expression import Objective, values
from ..results import door
from ..results.question import fitted

AT_ONCE = 16


def grid_of(net: Network, layer: str) -> Grid:
    """Where the layer's positions are; RequestError where it has none."""
    grid = net.layouts([layer])[layer].grid
    if grid is None:
        raise RequestError(f"layer {layer} must have positions, got {net.layouts([layer])[layer].shape} for a picture")
    return grid


def pictures_of(net: Network, name: str, given: Any) -> Tensor:
    """(b, c, h, w), fitted to the network; `given` is what every verb takes."""
    return fitted(net, door.photos(name, given, {"net": net}))


def maps_at(net: Network, pictures: Tensor, layer: str) -> Tensor:
    """(b, k, h, w) float32, on the CPU."""
    grid = grid_of(net, layer)
    return torch.cat([grid.maps(net.features(some, layer)).float().cpu() for some in pictures.split(AT_ONCE)])


def gradients_at(net: Network, pictures: Tensor, layer: str, objectives: Sequence[Objective]) -> Tensor:
    """(b, k, h, w): of each picture's objective, resolved, towards what the layer gives for it."""
    grid, found = grid_of(net, layer), []
    with torch.inference_mode(False), torch.enable_grad(), net.reading() as read:
        for start in range(0, len(pictures), AT_ONCE):
            some = objectives[start : start + AT_ONCE]
            leaf = pictures[start : start + AT_ONCE].detach().clone().requires_grad_(True)
            held: list[Tensor] = []
            given = read(leaf, {address for one in some for address in one.reads}, {layer: partial(_held, held)})
            total = values(some, given).sum()
            (gradient,) = torch.autograd.grad(total, held, allow_unused=True) if held else (None,)
            if gradient is None:
                raise RequestError(f"the objective must depend on layer {layer}. Name a layer before the scores")
            found.append(grid.maps(gradient).float().cpu())
    return torch.cat(found)


def _held(kept: list[Tensor], given: Tensor) -> Tensor:
    """Keeps what a layer gave; the network goes on with a copy, which an operation in place may overwrite."""
    kept.append(given)
    return given.clone()
