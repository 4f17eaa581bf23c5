"""`filters`: the verb. The weights of a layer as they are."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from ..ambient import shielded
from ..errors import RequestError, shown
from ..network import addresses
from ..network.network import Network
from ..network.receptive import Pair, ReceptiveField, Windows
from ..results import door
from ..results.filters import Filters, parted
from ..results.record import Record, environment
from ..seeding import stream

_AT_ONCE = 16  # filters whose gradients are taken together
_ROUNDING = 1e-3  # of the largest gradient: single precision, and factors that are as large as 255

_TRANSPOSED = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)
Kernel = nn.Conv1d | nn.Conv2d | nn.Conv3d | nn.ConvTranspose1d | nn.ConvTranspose2d | nn.ConvTranspose3d | nn.Linear


@shielded
@door.takes(net=door.network, layer=door.layer_or_none)
def filters(net: Network, layer: str | None = None) -> Filters:
    """The filters of a convolution or linear layer, raw and signed, with those that are dead or stand twice.

    layer  an address; of a block, its first convolution is meant, which a note says. None: the network's first convolution

    A layer that reads the picture itself is given in picture space: (k, c, kh, kw), what one unit of each display colour adds
    to the filter's answer, preprocessing and everything linear before the layer included; so its tiles have true colours.
    Found by gradient: where the answer is not linear in the picture, or depends on more than the kernel covers, the weights
    are given as they stand, (k, inputs of a group, kh, kw). A linear layer's kernel is 1×1, a transposed convolution's filter
    is that of what it gives, a one-dimensional kernel is one high, and the slices of a three-dimensional one stand side by
    side, the first on the left. The module is left as it was.

    >>> import phosphene as ph
    >>> f = ph.filters(ph.load("demo:standard"), "stem.0")
    >>> tuple(f.values.shape), f.colour
    ((32, 3, 5, 5), True)
    """
    address, module, notes = _found(net, layer)
    with torch.inference_mode(False), torch.no_grad():
        raw = _weights(module)
    colour = _in_picture_space(net, address, module) if raw.shape[1] * _groups(module) == net.preprocess.channels else None
    values = raw if colour is None else colour
    dead, twice, said = parted(values, _groups(module))
    return Filters(
        values=values,
        layer=address,
        kind=type(module).__name__,
        groups=_groups(module),
        colour=colour is not None,
        dead=dead,
        duplicates=twice,
        notes=(*notes, *said),
        record=_record(net, address),
    )


def _found(net: Network, layer: str | None) -> tuple[str, Kernel, tuple[str, ...]]:
    """The address and module whose weights are meant, and what is to be said of the choice."""
    if layer is None:
        first = next((path for path in net.calls if _kernel(net.module.get_submodule(path), nn.Conv2d)), None)
        return _found(net, first or next(iter(_kernels(net, "")), addresses.OUTPUT))
    net.check_addresses({layer})
    path = addresses.split(layer, net.calls)[0]
    if not path:
        raise RequestError(f"{net.name} has no convolution and no linear layer; filters are those of one")
    module = net.module.get_submodule(path)
    if isinstance(module, Kernel):
        return path, module, ()
    inside = _kernels(net, f"{path}.")
    if not inside:
        near = next(iter(_kernels(net, "")), None)
        hint = f", such as {near}" if near else ""
        raise RequestError(
            f"layer {shown(path)} is {type(module).__name__}, without filters; a convolution or linear layer{hint}, is needed"
        )
    kernel = net.module.get_submodule(inside[0])
    assert isinstance(kernel, Kernel)
    return inside[0], kernel, (f"{path} is a block ({type(module).__name__}): these are the filters of {inside[0]}",)


def _kernels(net: Network, start: str) -> list[str]:
    """The addresses that begin so and have filters, in the order in which they run."""
    return [path for path in net.calls if path.startswith(start) and _kernel(net.module.get_submodule(path), Kernel)]


def _kernel(module: nn.Module, kind: Any) -> bool:
    return isinstance(module, kind)


def _groups(module: Kernel) -> int:
    return 1 if isinstance(module, nn.Linear) else module.groups


def _weights(module: Kernel) -> Tensor:
    """(k, inputs of a group, kh, kw) float32 on the CPU."""
    weight: Tensor = module.weight.detach().cpu().float().clone()
    if isinstance(module, nn.Linear):
        return weight[:, :, None, None]
    if isinstance(module, _TRANSPOSED):
        k, i = weight.shape[1] * module.groups, weight.shape[0] // module.groups
        weight = weight.view(module.groups, i, -1, *weight.shape[2:]).transpose(1, 2).reshape(k, i, *weight.shape[2:])
    if weight.ndim == 3:
        return weight[:, :, None]
    return weight.movedim(2, 3).flatten(3) if weight.ndim == 5 else weight


def _in_picture_space(net: Network, address: str, module: Kernel) -> Tensor | None:
    """The filters as gradients of their answers with respect to the picture; None if they do not read it linearly."""
    row = next(row for row in net.layers() if row.address == address)
    if not isinstance(module, nn.Conv2d) or row.receptive_field is None or len(row.shape) != 3 or net.calls[address] > 1:
        return None
    covers = tuple((k - 1) * d + 1 for k, d in zip(module.kernel_size, module.dilation, strict=True))
    if isinstance(row.receptive_field, Windows) or row.receptive_field.size != covers:
        return None
    place = tuple(n // 2 for n in row.shape[1:])
    box = _box(row.receptive_field, place, net.preprocess.sides)
    if box is None:
        return None
    looking = _Looking(net, address, place, box, (module.dilation[0], module.dilation[1]))
    grey, noise = (looking.at(picture, [0]) for picture in _pictures(net))
    if grey is None or noise is None or not torch.allclose(grey, noise, rtol=0, atol=_ROUNDING * float(grey.abs().max())):
        return None
    parts = [looking.at(_pictures(net)[0], units) for units in torch.arange(row.shape[0]).split(_AT_ONCE)]
    return torch.cat([part for part in parts if part is not None]) if all(part is not None for part in parts) else None


def _pictures(net: Network) -> tuple[Tensor, Tensor]:
    h, w = net.preprocess.sides
    return net.preprocess.mean_picture(), torch.rand((1, net.preprocess.channels, h, w), generator=stream(0, "filters"))


def _box(field: ReceptiveField, place: Pair | tuple[int, ...], sides: Pair) -> tuple[slice, slice] | None:
    """Where the unit looks; None if that is not all inside the picture."""
    starts = [offset + stride * at for offset, stride, at in zip(field.offset, field.stride, place, strict=True)]
    ends = [start + size for start, size in zip(starts, field.size, strict=True)]
    if min(starts) < 0 or any(end > side for end, side in zip(ends, sides, strict=True)):
        return None
    return slice(starts[0], ends[0]), slice(starts[1], ends[1])


class _Looking:
    """One place of a layer, and the pixels that its kernel covers there."""

    def __init__(
        self, net: Network, address: str, place: tuple[int, ...], box: tuple[slice, slice], dilation: tuple[int, int]
    ) -> None:
        self._net, self._address, self._place, self._box, self._dilation = net, address, place, box, dilation

    def at(self, picture: Tensor, units: Any) -> Tensor | None:
        """(n, c, kh, kw) of these units at a picture; None where a pixel that the kernel does not cover has a part."""
        own = torch.arange(len(units))
        with torch.inference_mode(False), torch.enable_grad(), self._net.reading() as read:
            pictures = picture.to(self._net.device).expand(len(units), -1, -1, -1).clone().requires_grad_(True)
            answers = read(pictures, {self._address})[self._address][:, :, self._place[0], self._place[1]]
            (gradient,) = torch.autograd.grad(answers[own, torch.as_tensor(units)].sum(), pictures)
        gradient = gradient.cpu().float()
        rows, columns = (slice(s.start, s.stop, d) for s, d in zip(self._box, self._dilation, strict=True))
        covered = gradient[..., rows, columns].clone()
        gradient[..., rows, columns] = 0
        return covered if bool((gradient == 0).all()) else None


def _record(net: Network, address: str) -> Record:
    return Record(
        model=net.identity(),
        preprocess=net.preprocess.to_dict(),
        recipe={"name": "filters"},
        size=net.preprocess.sides,
        seed=0,
        batch=(f"layer:{address}",),
        position=0,
        environment=environment(net.device),
        verb="filters",
    )
