"""`statistics`: the verb. What a network's layers give for photographs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from .. import checks
from ..ambient import shielded
from ..errors import RequestError, shown
from ..network.layout import Layout
from ..network.network import Network
from ..network.statistics import SILENT, Channels, Statistics
from ..pictures.data import open_data
from ..pictures.files import write_whole
from ..results import door

FEWEST = 8  # photographs; the spread of fewer tells little
AT_ONCE = 4
_NORMS = 4  # at least, for them alone to be read


class Measured(Statistics):
    """What `statistics` gives."""

    def save(self, path: str | Path) -> Path:
        """Into a .safetensors file, which `Network(…, statistics=…)` and `?statistics=FILE` in a reference take."""
        tensors, about = self.to_tensors()
        return write_whole(checks.path("path", path), lambda beside: save_file(tensors, beside, about))


@shielded
@door.takes(net=door.network, layers=door.layers_or_none)
def statistics(net: Network, photos: Any, layers: str | Sequence[str] | None = None, *, normalised: bool = False) -> Measured:
    """Mean and spread over photographs of each channel's mean and standard deviation over positions, layer by layer.

    `ph.Network(…, statistics=…)` takes what this gives or the file that `save` writes; the prior
    `layer_statistics`, and so the recipes `natural` and `natural-fast`, then use it. Labels are not needed. Networks with batch
    norms need none of this: these learned the like from the training data.

    photos  at least 8 pictures of any size, of what the network was trained for, about 150 are enough: several of what
            `ph.read` takes, a folder, a Dataset or a DataLoader
    layers  addresses; None: the normalisation layers, of networks without them the convolutions, else the linear layers

    >>> import phosphene as ph
    >>> found = ph.statistics(ph.load("demo:robust"), list(torch.rand(8, 1, 3, 32, 32)))
    >>> found.source
    '8 photographs'
    """
    layouts = _read(net, layers)
    seen: dict[str, list[tuple[Tensor, Tensor]]] = {address: [] for address in layouts}
    count = 0
    for some in _batches(net, photos, normalised):
        count += len(some)
        with torch.inference_mode(False), torch.no_grad(), net.reading() as read:
            for address, given in read(some, layouts.keys()).items():
                grid = layouts[address].grid
                assert grid is not None
                seen[address].append(torch.var_mean(grid.maps(given).double(), (2, 3), correction=0))
    if count < FEWEST:
        raise RequestError(f"statistics must be of at least {FEWEST} photographs, got {count}")
    found = {}
    for address, parts in seen.items():
        variances, means = (torch.cat(part) for part in zip(*parts, strict=True))
        if float(variances.max()) > SILENT:
            found[address] = Channels.measured(means.cpu(), variances.cpu())
    if not found:
        raise RequestError(f"{net.name}: no channel of {', '.join(seen)} varies in these photographs")
    return Measured(found, f"{count} photographs")


def _batches(net: Network, photos: Any, normalised: bool) -> Iterator[Tensor]:
    if isinstance(photos, Dataset | DataLoader) or (isinstance(photos, str | Path) and Path(photos).is_dir()):
        data = open_data(photos, None, net.preprocess.bands, None, net.preprocess.inverse if normalised else None)
        yield from (batch.pictures for batch in data.batches(net.preprocess.fit, AT_ONCE) if len(batch))
        return
    waiting: list[Tensor] = []
    several: Any = [photos] if isinstance(photos, Tensor | str | Path) else photos
    if not isinstance(several, Iterable):
        raise RequestError(f"photos must be several pictures, got {shown(photos)}")
    for photo in several:
        for one in door.photo("photos", photo, {"net": net, "normalised": normalised}).split(1):
            waiting.append(net.preprocess.fit(one))
            if len(waiting) == AT_ONCE:
                yield torch.cat(waiting)
                waiting = []
    if waiting:
        yield torch.cat(waiting)


def _read(net: Network, layers: str | Sequence[str] | None) -> dict[str, Layout]:
    """Layouts of the layers to read, in the order in which they run."""
    if layers is not None:
        layouts = net.layouts([layers] if isinstance(layers, str) else layers)
        if without := [address for address, layout in layouts.items() if layout.grid is None]:
            raise RequestError(f"layer {without[0]} must have positions, got {layouts[without[0]].shape} for an image")
        return layouts
    leaves = [path for path, runs in net.calls.items() if runs == 1 and not any(net.module.get_submodule(path).children())]
    layouts = net.layouts(leaves, every=False)
    for kind, least in (("norm", _NORMS), ("conv", 1), ("linear", 1)):
        found = {
            address: layout
            for address, layout in layouts.items()
            if layout.grid is not None
            and layout.grid.size != (1, 1)
            and layout.by_image
            and kind in type(net.module.get_submodule(address)).__name__.lower()
        }
        if len(found) >= least:
            return found
    raise RequestError(f"{net.name} has no normalisation, convolution or linear layers with positions; name layers=")
