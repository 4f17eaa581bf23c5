"""How far the distributions of what layers give for pictures lie from those for reference photographs."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from ..errors import RequestError
from ..network.grid import Grid
from ..network.layout import last_of_each_size
from ..network.network import Network
from ..network.preprocess import Preprocess
from ..pictures.data import open_data

AT_ONCE = 8
MOST = 1024  # photographs


@dataclass(frozen=True, eq=False)
class Distributions:
    """Of the last layer of each size of map: per channel the values over positions, sorted, averaged over photographs.

    targets  (k, h·w) of each address, on the network's device
    count    of photographs
    sha256   of the photographs, fitted to the picture's size
    """

    targets: Mapping[str, Tensor]
    grids: Mapping[str, Grid]
    weight: float
    count: int
    sha256: str
    kind = "like"

    @classmethod
    def of(cls, net: Network, like: str, size: tuple[int, int], weight: float) -> Distributions:
        layouts = net.layouts(net.calls, size, every=False)
        known = {address: layouts[address].grid for address in last_of_each_size(net.module, layouts)}
        grids = {address: grid for address, grid in known.items() if grid is not None}
        if not grids:
            raise RequestError(f"feature_distributions: {net.name} must have layers with positions, got none")
        fitting = Preprocess(size=size, channels=net.preprocess.channels, resize=min(size))
        sums, count, digest = dict[str, Tensor](), 0, hashlib.sha256()
        for batch in open_data(like, channels=net.preprocess.bands).batches(fitting.fit, AT_ONCE):
            if not len(batch):
                continue
            count += len(batch)
            if count > MOST:
                raise RequestError(f"feature_distributions: {like} must hold at most {MOST:,} photographs")
            digest.update(batch.pictures.contiguous().numpy().tobytes())
            with torch.inference_mode(False), torch.no_grad(), net.reading() as read:
                for address, given in read(batch.pictures, set(grids)).items():
                    more = _sorted(grids[address], given).sum(0)
                    sums[address] = sums[address] + more if address in sums else more
        if not count:
            raise RequestError(f"feature_distributions: {like} must hold photographs, got none")
        # In the order in which they run, not in that of a set: it is the order in which distances are added up.
        targets = {address: sums[address] / count for address in grids}
        return cls(targets, grids, weight, count, digest.hexdigest())

    @property
    def addresses(self) -> frozenset[str]:
        return frozenset(self.targets)

    @property
    def told(self) -> str:
        """For a Record."""
        return f"{self.count} photographs, sha256 {self.sha256[:16]}"

    @property
    def note(self) -> str:
        return f"drawn like {self.count} reference photographs: what it shows may be theirs, and not what the network asks for"

    def distance(self, given: Mapping[str, Tensor]) -> Tensor:
        """(b,) the mean over layers of ‖sorted(φ) − target‖² / ‖target‖²: 0 where they are the same, 1 of silent layers."""
        each = []
        for address, target in self.targets.items():
            ours = _sorted(self.grids[address], given[address])
            theirs = target.to(ours)
            each.append((ours - theirs).square().mean((1, 2)) / theirs.square().mean().clamp(min=1e-24))
        return torch.stack(each).mean(0)


def _sorted(grid: Grid, given: Tensor) -> Tensor:
    """(b, k, h·w) float32 or wider."""
    maps = grid.maps(given).flatten(2)
    return (maps.float() if maps.dtype in (torch.bfloat16, torch.float16) else maps).sort(-1).values
