"""How far means and variances over a batch of pictures lie from those that batch norms learned from the training data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from ..errors import RequestError
from ..network.grid import Grid
from ..network.network import Network


@dataclass(frozen=True, eq=False)
class Inversion:
    """learned: mean and variance (k,) of what the batch norm at each address gives; first: factor of the first batch norm."""

    learned: Mapping[str, tuple[Tensor, Tensor]]
    grids: Mapping[str, Grid]
    weight: float
    first: float
    told: str
    kind = "learned"
    note = "drawn as one batch, whose statistics are kept near to the training data's: beside others it comes out differently"

    @classmethod
    def of(cls, net: Network, size: tuple[int, int], weight: float, first: float) -> Inversion:
        statistics = net.statistics
        if statistics is None or not statistics.learned:
            raise RequestError(f"batch_statistics: {net.name} must have batch norms, got none")
        layouts = net.layouts(statistics.layers, size, every=False)
        grids = {address: layouts[address].grid for address in statistics.layers if address in layouts}
        known = {address: grid for address, grid in grids.items() if grid is not None}
        layers = {address: statistics.layers[address] for address in known}
        learned = {address: (of.mean.to(net.device), of.variance.to(net.device)) for address, of in layers.items()}
        return cls(learned, known, weight, first, f"{len(known)} batch norms, sha256 {statistics.sha256[:16]}")

    @property
    def addresses(self) -> frozenset[str]:
        return frozenset(self.learned)

    def distance(self, given: Mapping[str, Tensor]) -> Tensor:
        """(b,) alike: Σ over layers of ‖m − μ‖₂ + ‖s² − σ²‖₂, m and s² over the batch and positions."""
        total, rows = torch.zeros(()), 1
        for place, (address, (mean, variance)) in enumerate(self.learned.items()):
            maps = self.grids[address].maps(given[address])
            wide, rows = maps if maps.dtype == torch.float64 else maps.float(), len(maps)
            s, m = torch.var_mean(wide, (0, 2, 3), correction=0)
            off = (m - mean.to(m)).norm() + (s - variance.to(s)).norm()
            total = total.to(off) + (off if place else self.first * off)
        return total.expand(rows)
