"""Projections: corrections of the picture between steps, without a gradient."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor
from torch.nn import functional as F

from .. import checks


class Projection(Protocol):
    """A correction: pictures (b, c, h, w), the mean picture and the objectives' gradient at the pictures before the step ->
    pictures. Done after every step that `every` divides."""

    @property
    def every(self) -> int: ...

    def __call__(self, pictures: Tensor, mean: Tensor, gradient: Tensor) -> Tensor: ...


@dataclass(frozen=True)
class Decay:
    """See `decay`."""

    rate: float
    every: int = 1

    def __post_init__(self) -> None:
        checks.real("rate of decay", self.rate, low=0, high=1)
        checks.whole("every", self.every, low=1)

    def __call__(self, pictures: Tensor, mean: Tensor, gradient: Tensor | None = None) -> Tensor:
        return torch.lerp(pictures, mean.expand_as(pictures), self.rate)


@dataclass(frozen=True)
class Blur:
    """See `blur`."""

    sigma: float
    every: int = 1

    def __post_init__(self) -> None:
        checks.real("sigma of blur", self.sigma, low=0, high=1000)
        checks.whole("every", self.every, low=1)

    def __call__(self, pictures: Tensor, mean: Tensor, gradient: Tensor | None = None) -> Tensor:
        kernel = gaussian(self.sigma).to(pictures)
        if len(kernel) == 1:
            return pictures
        c, reach = pictures.shape[1], len(kernel) // 2
        # Borders are repeated: reflection cannot reach over a picture smaller than the kernel.
        padded = F.pad(pictures, (reach, reach, reach, reach), mode="replicate")
        across = F.conv2d(padded, kernel.view(1, 1, 1, -1).expand(c, 1, 1, -1), groups=c)
        return F.conv2d(across, kernel.view(1, 1, -1, 1).expand(c, 1, -1, 1), groups=c)


@dataclass(frozen=True)
class _Clip:
    """Pixels under a percentile of something become those of the mean picture."""

    percentile: float
    every: int = 1

    def __post_init__(self) -> None:
        checks.real("percentile", self.percentile, low=0, high=100)
        checks.whole("every", self.every, low=1)

    def __call__(self, pictures: Tensor, mean: Tensor, gradient: Tensor | None = None) -> Tensor:
        weight = self.weight(pictures - mean, torch.zeros_like(pictures) if gradient is None else gradient)
        return torch.where(weight < percentile_of(weight, self.percentile), mean, pictures)

    def weight(self, about: Tensor, gradient: Tensor) -> Tensor:
        """What decides, (b, 1 or c, h, w), for pictures about the mean."""
        raise NotImplementedError


@dataclass(frozen=True)
class ClipValue(_Clip):
    """See `clip_value`."""

    def weight(self, about: Tensor, gradient: Tensor) -> Tensor:
        return about.abs()


@dataclass(frozen=True)
class ClipNorm(_Clip):
    """See `clip_norm`."""

    def weight(self, about: Tensor, gradient: Tensor) -> Tensor:
        return about.square().sum(1, keepdim=True).sqrt()


@dataclass(frozen=True)
class ClipContribution(_Clip):
    """See `clip_contribution`."""

    absolute: bool = True

    def weight(self, about: Tensor, gradient: Tensor) -> Tensor:
        contribution = (about * gradient).sum(1, keepdim=True)
        return contribution.abs() if self.absolute else contribution


def percentile_of(values: Tensor, percentile: float) -> Tensor:
    """Of each picture's own values (b, …), (b, 1, …): so many per cent of them are smaller."""
    flat = values.flatten(1)
    rank = min(flat.shape[1], int(percentile / 100 * flat.shape[1]) + 1)
    return flat.kthvalue(rank, dim=1).values.view(-1, *[1] * (values.ndim - 1))


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


def clip_value(percentile: float, every: int = 1) -> ClipValue:
    """Numbers of the picture that lie nearer to the mean picture than `percentile` per cent of them do become its.

    Source: the optimisation tool of Yosinski et al. 2015 (small values); the paper clips norms.
    """
    return ClipValue(percentile, every)


def clip_norm(percentile: float, every: int = 1) -> ClipNorm:
    """Pixels whose norm over the channels, about the mean picture, is in the lowest `percentile` per cent become its.

    Source: Yosinski et al. 2015, §3.1, clipping pixels with small norm.
    """
    return ClipNorm(percentile, every)


def clip_contribution(percentile: float, every: int = 1, *, absolute: bool = True) -> ClipContribution:
    """Pixels that matter least become the mean picture's: the lowest `percentile` per cent of |Σ_c x·g|.

    x the pixel about the mean picture, g the objective's gradient before the step: to first order what the objective loses
    when the pixel goes. absolute=False ranks by the signed contribution, so pixels that hold the objective down go first.
    Source: Yosinski et al. 2015, §3.1, clipping pixels with small contribution. Differs: the gradient of the step just made is
    used, not one computed anew.
    """
    return ClipContribution(percentile, every, absolute)
