"""Projections: corrections of the picture between steps, without a gradient."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor
from torch.nn import functional as F

from .. import checks


class Projection(Protocol):
    """A correction: pictures (b, c, h, w) and the mean picture -> pictures. Done after every step that `every` divides."""

    @property
    def every(self) -> int: ...

    def __call__(self, pictures: Tensor, mean: Tensor) -> Tensor: ...


@dataclass(frozen=True)
class Decay:
    """See `decay`."""

    rate: float
    every: int = 1

    def __post_init__(self) -> None:
        checks.real("rate of decay", self.rate, low=0, high=1)
        checks.whole("every", self.every, low=1)

    def __call__(self, pictures: Tensor, mean: Tensor) -> Tensor:
        return torch.lerp(pictures, mean.expand_as(pictures), self.rate)


@dataclass(frozen=True)
class Blur:
    """See `blur`."""

    sigma: float
    every: int = 1

    def __post_init__(self) -> None:
        checks.real("sigma of blur", self.sigma, low=0, high=1000)
        checks.whole("every", self.every, low=1)

    def __call__(self, pictures: Tensor, mean: Tensor) -> Tensor:
        kernel = gaussian(self.sigma).to(pictures)
        if len(kernel) == 1:
            return pictures
        c, reach = pictures.shape[1], len(kernel) // 2
        # Borders are repeated: reflection cannot reach over a picture smaller than the kernel.
        padded = F.pad(pictures, (reach, reach, reach, reach), mode="replicate")
        across = F.conv2d(padded, kernel.view(1, 1, 1, -1).expand(c, 1, 1, -1), groups=c)
        return F.conv2d(across, kernel.view(1, 1, -1, 1).expand(c, 1, -1, 1), groups=c)


def gaussian(sigma: float) -> Tensor:
    """A normalised Gaussian window out to three sigma, (2·⌈3σ⌉ + 1,)."""
    reach = -int(-3 * sigma // 1)
    places = torch.arange(-reach, reach + 1, dtype=torch.float64)
    window = torch.exp(-(places**2) / (2 * sigma**2)) if sigma > 0 else torch.ones_like(places)
    return (window / window.sum()).float()


def decay(rate: float, every: int = 1) -> Decay:
    """picture ← mean + (1 − rate)·(picture − mean): contrast that nothing asks for fades.

    Source: Yosinski et al. 2015, §3.1, L2 decay.
    """
    return Decay(rate, every)


def blur(sigma: float, every: int = 1) -> Blur:
    """Gaussian blur of `sigma` pixels after every `every` steps: high frequencies that nothing keeps up fade.

    Source: Yosinski et al. 2015, §3.1, Gaussian blur. Differs: the border is repeated, not mixed with black.
    """
    return Blur(sigma, every)
