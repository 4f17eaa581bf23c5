"""From a map to a mask: what exceeds a number, and how that number is found without looking at any box."""

from __future__ import annotations

import torch
from torch import Tensor

from .. import checks
from ..errors import RequestError, shown

SHARE = 0.2  # of the maximum; Zhou et al. 2016, §3.3
BINS = 256  # of the histogram that Otsu's criterion looks at
SWEEP = tuple(round(0.01 * k, 2) for k in range(100))  # Choe et al. 2020: every hundredth


def level_of(values: Tensor, threshold: float | str) -> float:
    """The number that a map (h, w) must exceed: `threshold` times its maximum, or "otsu"'s or the "mean" of its positive part.

    Negative values count as 0: what speaks against a class is no place of it. Infinite for a map without a positive value.
    """
    top = float(values.max())
    if top <= 0:
        return float("inf")
    if threshold == "otsu":
        return top * otsu((values / top).clamp(min=0))
    if threshold == "mean":
        return float(values.clamp(min=0).double().mean())
    if isinstance(threshold, str):
        raise RequestError(f"threshold is {shown(threshold)}; a share of the maximum from 0 to 1, otsu or mean is needed")
    return top * checks.real("threshold", threshold, low=0, high=1)


def mask_of(values: Tensor, threshold: float | str = SHARE) -> Tensor:
    """The places (h, w) of a map that exceed `level_of`; the largest always does where it is positive."""
    level = level_of(values, threshold)
    return (values > level) | ((values == values.max()) & (values > 0))


def otsu(values: Tensor) -> float:
    """The number in [0, 1] that parts values in [0, 1] into two classes of the least variance within, weighted by size.

    Where a range of numbers parts them alike, its middle. Source: Otsu 1979.
    """
    counts = torch.histc(values.double().flatten(), bins=BINS, min=0, max=1)
    middles = (torch.arange(BINS, dtype=torch.double) + 0.5) / BINS
    below, moment = counts.cumsum(0), (counts * middles).cumsum(0)
    above = counts.sum() - below
    apart = (moment / below.clamp(min=1) - (moment[-1] - moment) / above.clamp(min=1)) ** 2
    between = below * above * apart  # the variance between the classes, times the number of pixels squared
    best = (between >= between.max() * (1 - 1e-12)).nonzero()[:, 0]
    return float(best.double().mean() + 1) / BINS
