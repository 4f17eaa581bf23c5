"""Priors: penalties on a picture, or on what layers give for it, one number per picture, subtracted from the objective."""

from __future__ import annotations

from dataclasses import dataclass, replace
from numbers import Real
from typing import Self

import torch
from torch import Tensor

from .. import checks
from ..errors import RequestError, shown


@dataclass(frozen=True)
class Prior:
    """weight · penalty(picture, mean picture). `0.01 * l2()` scales it."""

    weight: float = 1.0

    def __post_init__(self) -> None:
        checks.real("weight of a prior", self.weight, low=0)

    def __call__(self, pictures: Tensor, mean: Tensor | float = 0.0) -> Tensor:
        """pictures (b, c, h, w) in [0, 1], mean broadcastable to them -> (b,)."""
        return self.weight * self.penalty(pictures, mean)

    def __mul__(self, factor: float) -> Self:
        if isinstance(factor, bool) or not isinstance(factor, Real):
            return NotImplemented
        return replace(self, weight=factor * self.weight)

    __rmul__ = __mul__

    def penalty(self, pictures: Tensor, mean: Tensor | float) -> Tensor:
        raise NotImplementedError


@dataclass(frozen=True)
class L1(Prior):
    """See `l1`."""

    def penalty(self, pictures: Tensor, mean: Tensor | float) -> Tensor:
        return (pictures - mean).abs().flatten(1).sum(1)


@dataclass(frozen=True)
class L2(Prior):
    """See `l2`."""

    def penalty(self, pictures: Tensor, mean: Tensor | float) -> Tensor:
        return (pictures - mean).square().flatten(1).sum(1)


@dataclass(frozen=True)
class TotalVariation(Prior):
    """See `total_variation`."""

    beta: float = 2.0

    def __post_init__(self) -> None:
        super().__post_init__()
        checks.real("beta", self.beta, low=0.5, high=8)

    def penalty(self, pictures: Tensor, mean: Tensor | float) -> Tensor:
        down = torch.zeros_like(pictures)
        right = torch.zeros_like(pictures)
        down[..., :-1, :] = pictures[..., 1:, :] - pictures[..., :-1, :]
        right[..., :-1] = pictures[..., 1:] - pictures[..., :-1]
        squares = down.square() + right.square()
        if self.beta != 2:
            # Below 2 the slope at 0 is infinite: a thousandth of a grey level keeps it finite and changes no digit shown.
            floor = (1e-3 / 255) ** 2
            squares = (squares + floor) ** (self.beta / 2) - floor ** (self.beta / 2)
        return squares.flatten(1).sum(1)


@dataclass(frozen=True)
class OfLayers(Prior):
    """Of what layers give for a picture. The ascent reads them: alone, a picture does not tell."""

    def penalty(self, pictures: Tensor, mean: Tensor | float) -> Tensor:
        raise RequestError(
            f"{type(self).__name__} is of what layers give, not of the picture alone; render(priors=[…]) takes it"
        )


@dataclass(frozen=True)
class LayerStatistics(OfLayers):
    """See `layer_statistics`."""


@dataclass(frozen=True)
class FeatureDistributions(OfLayers):
    """See `feature_distributions`."""

    like: str = ""

    def __post_init__(self) -> None:
        super().__post_init__()
        if not isinstance(self.like, str):
            raise RequestError(f"like must be the path of photographs, got {shown(self.like)}")


@dataclass(frozen=True)
class BatchStatistics(OfLayers):
    """See `batch_statistics`."""

    first: float = 10.0

    def __post_init__(self) -> None:
        super().__post_init__()
        checks.real("first", self.first, low=0)


def batch_statistics(weight: float = 1.0, first: float = 10.0) -> BatchStatistics:
    """weight × Σ over batch norms of ‖m − μ‖₂ + ‖s² − σ²‖₂: m and s² of a channel over a batch, μ and σ² as learned.

    All pictures of a request are drawn in one batch, and each depends on all others.

    first  factor of the first batch norm

    Source: Yin et al. 2020, "Dreaming to Distill: Data-free Knowledge Transfer via DeepInversion", eq. 4. Differs: read after
    the batch norm's scale and shift, where a folded network has it too, so that a channel counts by its scale.

    >>> batch_statistics(0.01).first
    10.0
    """
    return BatchStatistics(weight, first)


def feature_distributions(weight: float = 1.0, like: str = "") -> FeatureDistributions:
    """weight × how far the distributions of features lie from those for reference photographs.

    The mean over layers of ‖sorted(φ) − t‖² / ‖t‖²: φ what a layer gives, each channel's values over positions sorted, t the
    same averaged over the photographs; layers are the last of each size of map. 0 where they are the same, 1 of silent layers.

    like  a folder of up to 1,024 photographs, or what else `phosphene examples` takes: of a class, or those that excite a unit

    What it cannot tell: whether what is drawn is the network's or the photographs'.

    Source: Görgün, Schiele & Fischer 2025, "VITAL: More Understandable Feature Visualization through Distribution Alignment and
    Relevant Information Flow", the sort-matching loss. Differs: each layer counts relative to its own size, so that no weights
    have to be found for an architecture.

    >>> feature_distributions(100.0, "photos/lemon").like
    'photos/lemon'
    """
    return FeatureDistributions(weight, like)


def layer_statistics(weight: float = 1.0) -> LayerStatistics:
    """weight × the distance of the picture's channel statistics from those of photographs, in standard deviations.

    Per layer √ mean over channels of (z_m² + z_s²) / 2, where z_m and z_s are how many standard deviations of photographs the
    channel's mean over positions and the logarithm of its standard deviation lie from those of photographs; averaged over the
    layers that run. Photographs have about 1. The statistics are the network's: see `Network.statistics`.

    Source: Yin et al. 2020, "Dreaming to Distill: Data-free Knowledge Transfer via DeepInversion", eq. 4. There the statistics
    of a batch are compared, as norms of differences; here each picture's own, so that pictures do not depend on each other, in
    units in which no layer outweighs the others.

    >>> layer_statistics(10.0).weight
    10.0
    """
    return LayerStatistics(weight)


def l1() -> L1:
    """‖picture − mean picture‖₁: sparse pictures.

    pictures (b, c, h, w) in [0, 1] -> (b,)

    >>> l1()(torch.full((1, 1, 2, 2), 0.75), 0.5).item()
    1.0
    """
    return L1()


def l2() -> L2:
    """‖picture − mean picture‖₂², the squared norm: small contrast.

    pictures (b, c, h, w) in [0, 1] -> (b,); a weight λ = 1 makes it the λ‖I‖₂² of the source, I zero-centred.
    Source: Simonyan, Vedaldi & Zisserman 2013, eq. 1. Grows with c·h·w: scale the weight with size.

    >>> l2()(torch.full((1, 1, 2, 2), 1.0), 0.5).item()
    1.0
    """
    return L2()


def total_variation(beta: float = 2.0) -> TotalVariation:
    """Penalty on differences between neighbouring pixels, forward differences, none over the border.

    pictures (b, c, h, w) in [0, 1] -> (b,):  Σ over c, y, x of (dx² + dy²)^(beta/2)
    beta 1 keeps edges, 2 smooths, 4 is the outer square that one text prints. Grows with h·w: scale the weight with size.
    Source: Mahendran & Vedaldi 2015, their finite-difference approximation of R_Vβ.

    >>> total_variation()(torch.zeros(1, 3, 8, 8)).item()
    0.0
    """
    return TotalVariation(beta=beta)
