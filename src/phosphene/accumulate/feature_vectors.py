"""From what a layer gives to one vector a picture, and which layer stands before the head."""

from __future__ import annotations

from torch import Tensor, nn

from ..errors import RequestError
from ..network.layout import Layout
from ..network.network import Network


def before_head(net: Network) -> str:
    """The address that gives what the last linear layer (or 1×1 convolution) reads, or what stands nearest before it.

    Found backwards from that layer: the first with as many numbers, or as many channels, as it takes. Where a network has
    no such layer, the last one before the scores.
    """
    rows = net.layers()
    places = [i for i, row in enumerate(rows) if _is_head(net.module.get_submodule(row.address), row.shape, len(net.classes))]
    if not places:
        return rows[-2 if len(rows) > 1 else -1].address
    head = net.module.get_submodule(rows[places[-1]].address)
    takes = head.in_features if isinstance(head, nn.Linear) else head.in_channels
    before = rows[: places[-1]]
    for row in reversed(before):
        if row.by_image and row.shape and (takes in (row.shape[0], row.shape[-1]) or takes == _product(row.shape)):
            return row.address
    return before[-1].address if before else rows[places[-1]].address


def vectors_of(given: Tensor, layout: Layout) -> Tensor:
    """What a layer gave (b, …) as (b, k): the mean of its channels over all positions, or the class token.

    >>> import torch
    >>> vectors_of(torch.rand(2, 8, 4, 4), Layout((8, 4, 4))).shape
    torch.Size([2, 8])
    """
    if given.ndim < 2:
        raise RequestError("the layer gives one number for each picture; maps, tokens or several numbers are needed")
    if layout.grid is not None and layout.grid.extra:
        return layout.grid.others(given)[:, :, 0]
    if layout.axis is None:
        raise RequestError(f"the layer gives {layout.shape}; which axis has the channels cannot be known")
    return given if given.ndim == 2 else given.movedim(layout.axis, 1).flatten(2).mean(2)


def _is_head(module: nn.Module, shape: tuple[int, ...], classes: int) -> bool:
    if isinstance(module, nn.Linear):
        return shape == (classes,)
    return isinstance(module, nn.Conv2d) and module.kernel_size == (1, 1) and module.groups == 1 and shape == (classes, 1, 1)


def _product(shape: tuple[int, ...]) -> int:
    number = 1
    for side in shape:
        number *= side
    return number
