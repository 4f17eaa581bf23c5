"""The mean of several guesses at a box: each errs in its own way, and their mean by less."""

from __future__ import annotations

import torch
from torch import Tensor

from .boxes import boxes_of
from .graphcut import Seeds, graphcut
from .threshold import level_of, mask_of

SHARES = tuple(
    round(0.1 + 0.05 * k, 2) for k in range(11)
)  # of the maximum: from what mostly is too much to what is too little
SIDE = 112  # pixels at which is cut: a quarter of the time of 224


def consensus(values: Tensor, picture: Tensor, threshold: float | str, most: int, least: float) -> tuple[Tensor, Tensor]:
    """Mask (h, w) and boxes (n, 4) of a map (h, w) that is 0 or more; picture (c, h, w) in [0, 1].

    Three guesses of equal weight at the first box, side by side: that at the threshold, the mean of those at eleven shares of
    the maximum, and that of a graph cut seeded by shares of the maximum. A pixel is in the mask if the three agree by half.
    Further boxes are those at the threshold.
    """
    level = mask_of(values, threshold)
    if not bool(level.any()):
        return level, boxes_of(level)
    cut = graphcut(values, picture, Seeds.of_shares(values, level_of(values, threshold)), side=SIDE)
    return _agreed(values, level, [cut], most, least)


def thresholds(values: Tensor, picture: Tensor, threshold: float | str, most: int, least: float) -> tuple[Tensor, Tensor]:
    """As `consensus`, of the first two guesses, which look at the map alone."""
    level = mask_of(values, threshold)
    return _agreed(values, level, [], most, least) if bool(level.any()) else (level, boxes_of(level))


def _agreed(values: Tensor, level: Tensor, cuts: list[Tensor], most: int, least: float) -> tuple[Tensor, Tensor]:
    shares = [mask_of(values, share) for share in SHARES]
    averaged = torch.stack([boxes_of(mask)[0] for mask in shares]).mean(0, keepdim=True)
    guesses = [boxes_of(level), averaged, *(boxes_of(cut) for cut in cuts)]
    first = torch.cat(guesses).mean(0, keepdim=True)  # of two, should the cut have found nothing
    voices = [level.float(), torch.stack(shares).float().mean(0), *(cut.float() for cut in cuts)]
    return torch.stack(voices).mean(0) >= 0.5, torch.cat([first, boxes_of(level, most, least)[1:]])
