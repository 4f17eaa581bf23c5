"""Linear imputation: pixels that were taken away become the weighted mean of their neighbours, all at once."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from ..errors import RequestError

# Rong et al. 2022, §4: a direct neighbour counts 1/6, a diagonal one 1/12.
WEIGHTS = ((1 / 12, 1 / 6, 1 / 12), (1 / 6, 0.0, 1 / 6), (1 / 12, 1 / 6, 1 / 12))
TOLERANCE = 3e-5  # root mean square by which a pixel may miss the mean of its neighbours; leaves about a grey level
LARGEST = 1000  # steps of the solver
SMALLEST = 4  # pixels: the size at which halving ends


def imputed(pictures: Tensor, removed: Tensor, tolerance: float = TOLERANCE) -> Tensor:
    """Pictures (n, c, h, w) whose removed places (n, h, w) solve x = Σ w · neighbour / Σ w, neighbours inside the picture.

    The places that are left are the boundary values. The system is a graph's Laplacian, symmetric and positive definite, and is
    solved by conjugate gradients for all pictures and channels at once, from the solution at half the size: a direct solver of
    a sparse matrix would be another requirement, slower here, and not on the device.
    Source: Rong et al. 2022, §4.
    """
    if removed.shape != (len(pictures), *pictures.shape[-2:]) or removed.dtype != torch.bool:
        raise RequestError(f"removed is {removed.dtype} {tuple(removed.shape)}; bool, one (h, w) per picture, is needed")
    if bool(removed.flatten(1).all(1).any()):
        raise RequestError("every place of a picture is removed; at least one has to be left to impute from")
    n, c, h, w = pictures.shape
    gone = removed[:, None].expand(n, c, h, w).reshape(n * c, 1, h, w).to(pictures)
    return _filled(pictures.reshape(n * c, 1, h, w) * (1 - gone), gone, tolerance).view(n, c, h, w)


def _filled(known: Tensor, gone: Tensor, tolerance: float) -> Tensor:
    """Half the size is solved first: what is smooth over many places would take as many steps here."""
    weight = 1 - gone
    if min(known.shape[-2:]) < SMALLEST:
        guess = known.sum((2, 3), keepdim=True) / weight.sum((2, 3), keepdim=True)
    else:
        few, share = (F.avg_pool2d(one, 2, ceil_mode=True, count_include_pad=False) for one in (known, weight))
        seen = (share > 0).to(known)
        coarse = _filled(few / share.clamp(min=torch.finfo(known.dtype).tiny) * seen, 1 - seen, tolerance)
        guess = F.interpolate(coarse, size=known.shape[-2:], mode="bilinear", align_corners=False)
    return known + _solved(known, gone, guess, tolerance)


def _neighbours(x: Tensor) -> Tensor:
    return F.conv2d(x, x.new_tensor(WEIGHTS)[None, None], padding=1)


def _solved(known: Tensor, gone: Tensor, x: Tensor, tolerance: float) -> Tensor:
    """Conjugate gradients (Hestenes & Stiefel 1952) on the removed places alone."""
    degree = _neighbours(torch.ones_like(gone[:1]))
    x = x * gone
    rest = gone * (_neighbours(known) + _neighbours(x) - degree * x)
    way, size = rest.clone(), _dot(rest, rest)
    enough = tolerance**2 * gone.sum((1, 2, 3), keepdim=True)
    for _ in range(LARGEST):
        if bool((size <= enough).all()):
            break
        bent = gone * (degree * way - _neighbours(way))
        # A picture that is done stays as it is: its neighbours in the batch must not change it.
        step = torch.where(size > enough, size / _dot(way, bent).clamp(min=torch.finfo(x.dtype).tiny), 0.0)
        x = x + step * way
        rest = rest - step * bent
        before, size = size, torch.where(size > enough, _dot(rest, rest), size)
        way = rest + size / before.clamp(min=torch.finfo(x.dtype).tiny) * way
    return x


def _dot(a: Tensor, b: Tensor) -> Tensor:
    return (a * b).sum((1, 2, 3), keepdim=True)
