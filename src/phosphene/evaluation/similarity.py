"""How alike two maps are: by the ranks of their values, and as an eye would see them."""

from __future__ import annotations

import torch
from torch import Tensor

from ..errors import RequestError
from ..rendering.projections import Blur

SIGMA, K1, K2 = 1.5, 0.01, 0.03  # Wang et al. 2004, §III
TOP = 0.99  # quantile of the sizes that is shown as full: one pixel must not darken a map


def spearman(a: Tensor, b: Tensor) -> Tensor:
    """Rank correlation of maps (n, h, w), (n,) float64 in [−1, 1]; equal values share a rank.

    A map that is the same everywhere has no ranks: 0 with any other than itself.
    """
    _check(a, b)
    first, second = (torch.stack([ranks(one) for one in maps.flatten(1)]) for maps in (a, b))
    first, second = (places - places.mean(1, keepdim=True) for places in (first, second))
    size = first.norm(dim=1) * second.norm(dim=1)
    alike = (first * second).sum(1) / size.clamp(min=torch.finfo(torch.double).tiny)
    return torch.where((a == b).flatten(1).all(1), 1.0, alike.clamp(-1, 1))


def ssim(a: Tensor, b: Tensor) -> Tensor:
    """Structural similarity of maps (n, h, w), each scaled so that its 99th percentile of sizes is 1: (n,), 1 for the same.

    Source: Wang, Bovik, Sheikh & Simoncelli 2004, eq. 13; a Gaussian window of sigma 1.5 pixels.
    """
    _check(a, b)
    one, two = (_scaled(maps)[:, None] for maps in (a, b))
    span = torch.where((torch.minimum(one, two) < 0).flatten(1).any(1), 2.0, 1.0).double().view(-1, 1, 1, 1)
    blur = Blur(SIGMA)
    mean1, mean2 = blur(one, one), blur(two, two)
    var1, var2, both = (blur(x, x) - m for x, m in ((one * one, mean1**2), (two * two, mean2**2), (one * two, mean1 * mean2)))
    c1, c2 = (K1 * span) ** 2, (K2 * span) ** 2
    local = (2 * mean1 * mean2 + c1) * (2 * both + c2) / ((mean1**2 + mean2**2 + c1) * (var1 + var2 + c2))
    alike: Tensor = local.mean((1, 2, 3))
    return alike


def _check(a: Tensor, b: Tensor) -> None:
    if a.shape != b.shape or a.ndim != 3:
        raise RequestError(f"maps are {tuple(a.shape)} and {tuple(b.shape)}; two of one shape (n, h, w) are needed")


def ranks(values: Tensor) -> Tensor:
    """The place of each of (n,) values, float64, 1 for the least; the mean of the places that equal values take."""
    _, place, count = values.unique(return_inverse=True, return_counts=True)
    last = count.cumsum(0).double()
    mean: Tensor = last - (count.double() - 1) / 2
    return mean[place]


def _scaled(values: Tensor) -> Tensor:
    values = values.double()
    top = values.abs().flatten(1).quantile(TOP, dim=1).view(-1, 1, 1)
    most = values.abs().amax((1, 2), keepdim=True)
    top = torch.where(top > 0, top, most).clamp(min=torch.finfo(torch.double).tiny)
    return (values / top).clamp(-1, 1)
