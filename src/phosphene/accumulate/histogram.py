"""Histogram: a sketch of how one number per item is spread, per unit, in bins that grow with the value."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor

from ..errors import RequestError

PER_DOUBLING = 4  # bins for each factor of 2: an edge is known to 2^(1/4), a fifth
LOWEST, HIGHEST = -20, 24  # powers of 2; what is nearer to 0 counts as 0, what is farther falls into the last bin
_HALF = (HIGHEST - LOWEST) * PER_DOUBLING
BINS = 2 * _HALF + 1


@dataclass(frozen=True, eq=False)
class Histogram:
    """counts (units, bins): negative values from the farthest to the nearest, 0, positive ones.

    The bins are the same for every unit and every data set, so that counts add up. Source: the logarithmic bins of DDSketch
    (Masson, Rim & Lee 2019), which bound the relative error of quantiles.
    """

    counts: Tensor

    @classmethod
    def of(cls, units: int, device: torch.device | str | None = None) -> Self:
        return cls(torch.zeros(units, BINS, dtype=torch.int64, device=device))

    def update(self, values: Tensor) -> Self:
        """With values (b, units). NaN is left out."""
        if values.ndim != 2 or values.shape[1] != len(self.counts):
            raise RequestError(f"values are {tuple(values.shape)}; (b, {len(self.counts)}) is needed")
        bins = _bin_of(values)
        return type(self)(self.counts.scatter_add(1, bins.T, (~values.isnan()).T.to(torch.int64)))

    def merge(self, other: Self) -> Self:
        if self.counts.shape != other.counts.shape:
            raise RequestError(f"histograms of {len(self.counts)} and of {len(other.counts)} units do not merge")
        return type(self)(self.counts + other.counts.to(self.counts.device))

    def compute(self) -> Tensor:
        """Counts (units, bins); `edges` says of what."""
        return self.counts

    def quantile(self, share: float) -> Tensor:
        """(units,): the middle of the bin below which that share of the items lies; NaN where nothing was seen."""
        total = self.counts.sum(1)
        reached = self.counts.cumsum(1) >= (share * total).ceil().clamp(min=1)[:, None]
        middles = (edges()[:-1] + edges()[1:]) / 2
        found = middles.to(self.counts.device)[reached.to(torch.int8).argmax(1)]
        return found.masked_fill(total == 0, torch.nan)

    def state(self) -> dict[str, Tensor]:
        return {"counts": self.counts}

    @classmethod
    def from_state(cls, state: Mapping[str, Tensor]) -> Self:
        return cls(state["counts"])

    def to(self, device: torch.device | str) -> Self:
        return type(self)(self.counts.to(device))


def edges() -> Tensor:
    """The ends of the bins, (bins + 1,)."""
    powers = torch.arange(_HALF + 1, dtype=torch.float64) / PER_DOUBLING + LOWEST
    positive = torch.exp2(powers)
    return torch.cat([-positive.flip(0), positive]).float()


def _bin_of(values: Tensor) -> Tensor:
    numbers = values.nan_to_num(0.0)
    nth = ((numbers.abs().log2() - LOWEST) * PER_DOUBLING).floor().clamp(-1, _HALF - 1).to(torch.int64) + 1
    return torch.where(numbers < 0, -nth, nth) + _HALF
