"""`activations`: the verb. What a picture makes of every channel of a layer."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import torch
from torch import Tensor

from ..ambient import shielded
from ..errors import ModelError, RequestError, shown
from ..network import addresses
from ..network.layout import last_of_each_size
from ..network.network import Network
from ..pictures.converting import Pictures
from ..results import door
from ..results.activations import Activations, ChannelMaps, Depth, sparsity
from ..results.question import fitted
from ..results.record import Record, environment


@shielded
@door.takes(net=door.network, photo=door.photos, layer=door.layers_or_none)
def activations(
    net: Network,
    photo: Pictures,
    layer: str | Sequence[str] | None = None,
    *,
    image: str = "picture",
    normalised: bool = False,
) -> Activations:
    """All channels of one or several layers at a picture, raw, and how sparse the layers are along the depth.

    photo  (1, c, h, w) in [0, 1]; a photograph is fitted to the network's size, a picture of that size taken as it is
    layer  addresses, `path@k` for one of several runs; None: of each size of map the last layer
    image  its name, for labels and files

    Places are found from shapes: maps (c, h, w), maps with channels last, and tokens; a token of no place, such as the class
    token, is left out and a note says so. The module is left as it was, and global random numbers are not used.

    >>> import phosphene as ph
    >>> a = ph.activations(ph.load("demo:standard"), torch.rand(1, 3, 32, 32), "stage1.0")
    >>> tuple(a["stage1.0"].values.shape), a.tiles().mode
    ((32, 32, 32), 'RGB')
    """
    with torch.inference_mode(False), torch.no_grad():
        picture = fitted(net, photo)
        if len(picture) != 1:
            raise RequestError(f"photo is {tuple(picture.shape)}; one picture, (1, c, h, w), is needed")
        asked = _asked(net, layer)
        given, depth, notes = _read(net, picture, asked)
    record = _record(net, picture, asked)
    maps = tuple(_maps(net, address, given[address], picture, image, record) for address in asked)
    return Activations(picture.cpu(), image, maps, depth, notes, record)


def stages(net: Network) -> tuple[str, ...]:
    """Of each size of map the last layer that gives it, in the order in which they run; the last layer of all if none has."""
    layouts = net.layouts(net.calls, every=False)
    return last_of_each_size(net.module, layouts) or tuple(layouts)[-1:]


def _asked(net: Network, layer: str | Sequence[str] | None) -> tuple[str, ...]:
    asked = stages(net) if layer is None else (layer,) if isinstance(layer, str) else tuple(layer)
    if not asked or not all(isinstance(address, str) for address in asked):
        raise RequestError(f"layers are {shown(layer)}; at least one address is needed")
    net.check_addresses(asked)
    return tuple(dict.fromkeys(asked))


def _read(
    net: Network, picture: Tensor, asked: Collection[str]
) -> tuple[dict[str, Tensor], tuple[Depth, ...], tuple[str, ...]]:
    """What the layers give, and the numbers of every run of every layer, taken as they run and not kept."""
    if net.batch is not None:
        with net.reading() as read:
            return read(picture, asked), (), (f"{net.name} takes batches of {net.batch} alone: no depth was measured",)
    runs = [f"{path}@{k}" if count > 1 else path for path, count in net.calls.items() for k in range(count)]
    meter = _Meter(net, runs)
    with net.reading() as read:
        given = read(picture, {*asked, addresses.OUTPUT}, {run: meter.watching(run) for run in runs})
    return given, meter.found(), ()


class _Meter:
    """Takes the numbers of what each run gives; a block that gives what its last part gave is told once."""

    def __init__(self, net: Network, runs: Collection[str]) -> None:
        self._net = net
        self._layouts = net.layouts(runs, every=False)
        self._rows: dict[tuple[int, float, float, float], Depth] = {}

    def watching(self, run: str) -> _Watcher:
        return _Watcher(self, run)

    def note(self, run: str, given: Tensor) -> None:
        if not given.is_floating_point() or given.shape[1:].numel() < 2:
            return
        one = given[0].detach()
        sizes = one.abs().double()
        same = (one.numel(), float(sizes.sum()), float((sizes**2).sum()), float(sizes.max()))
        path = addresses.split(run, self._net.calls)[0]
        kind = type(self._net.module.get_submodule(path)).__name__
        axis = (self._layouts[run].axis if run in self._layouts else None) or 1
        channels = given[:1].detach().movedim(axis, 1)[0]
        silent = float((channels.reshape(len(channels), -1) == 0).all(1).float().mean())
        self._rows.setdefault(same, Depth(run, kind, float((one == 0).float().mean()), silent, sparsity(one)))

    def found(self) -> tuple[Depth, ...]:
        rows = tuple(self._rows.values())
        return tuple(row for row in rows if row.zeros) or rows


class _Watcher:
    """A change that changes nothing."""

    def __init__(self, meter: _Meter, run: str) -> None:
        self._meter, self._run = meter, run

    def __call__(self, given: Tensor) -> Tensor:
        self._meter.note(self._run, given)
        return given


def _maps(net: Network, address: str, given: Tensor, picture: Tensor, image: str, record: Record) -> ChannelMaps:
    path = addresses.split(address, net.calls)[0]
    kind = type(net.module.get_submodule(path)).__name__ if path else "scores"
    values, notes = _channels(net, address, given, picture)
    values = values.detach().cpu().float().clone()
    if not bool(torch.isfinite(values).all()):
        raise ModelError(f"{net.name}: layer {shown(address)} gives NaN or infinite values for this picture")
    return ChannelMaps(values, address or "scores", kind, image, notes, record)


def _channels(net: Network, address: str, given: Tensor, picture: Tensor) -> tuple[Tensor, tuple[str, ...]]:
    """(c, h, w) of what a layer gave."""
    layout = net.layouts({address}, (int(picture.shape[-2]), int(picture.shape[-1])))[address]
    shape, grid = layout.shape, layout.grid
    if grid is not None:
        tokens = grid.extra + grid.size[0] * grid.size[1]
        extra = (f"{address}: {grid.extra} of {tokens} tokens are of no place and left out",) if grid.extra else ()
        return grid.maps(given)[0], extra
    if len(shape) == 1:
        return given[0][:, None, None], ()
    if len(shape) == 3:
        return given[0], ()
    what = "×".join(map(str, shape)) or "one number"
    raise RequestError(f"layer {shown(address)} gives {what}; maps (c, h, w), tokens (n, c) or numbers (c,) are needed")


def _record(net: Network, picture: Tensor, asked: Sequence[str]) -> Record:
    h, w = picture.shape[-2:]
    return Record(
        model=net.identity(),
        preprocess=net.preprocess.to_dict(),
        recipe={"name": "activations"},
        size=(int(h), int(w)),
        seed=0,
        batch=tuple(f"layer:{address}" for address in asked),
        position=0,
        environment=environment(net.device),
        verb="activations",
    )
