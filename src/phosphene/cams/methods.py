"""Methods that weigh a layer's maps by the gradient of the objective there.

A (n, k, h, w) are the maps, G = ∂S/∂A their gradient, sums run over the places p of a map. Maps are raw and signed: where a
paper ends in ReLU, that is `values.clamp(min=0)`. All are in units of the objective. On a network whose maps are averaged and
weighed linearly, S = Σ_k w_k · mean_p A_kp + b, G_kp = w_k / hw, and grad_cam, hires_cam and xgrad_cam are all Zhou's map.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ..attribution.gradient import at_pictures
from ..attribution.methods import largest
from ..pictures import overlay
from ..results.method import Maps
from ..results.question import Question
from .maps import OfGradient

_CANCELLED = 1e-6  # of Σ|A|: below it Σ A is what rounding left, and nothing can be divided by it


def weighed(weights: Tensor, maps: Tensor) -> Tensor:
    """Σ_k w_k A_kp: (n, k) and (n, k, h, w) -> (n, h, w)."""
    return torch.einsum("nk,nkhw->nhw", weights, maps)


@dataclass(frozen=True)
class GradCam(OfGradient):
    """Σ_k mean_p(G_k) · A_k.

    Source: Selvaraju et al. 2017, equations 1 and 2. Differs: signed, without the ReLU of equation 2.
    """

    @property
    def name(self) -> str:
        return "grad_cam"

    def map_of(self, maps: Tensor, gradient: Tensor) -> Tensor:
        return weighed(gradient.mean((2, 3)), maps)


@dataclass(frozen=True)
class GradCamPlusPlus(OfGradient):
    """Σ_k w_k A_k with w_k = Σ_p α_kp · max(G_kp, 0), α_kp = G² / (2 G² + Σ_p A_k · G³) = 1 / (2 + G_kp · Σ_p A_k).

    Source: Chattopadhay et al. 2018, equations 5 and 19. Differs: of the objective itself, not of its exponential, which is a
    positive factor that overflows; Σ_p A_k is taken as 0 where it is negative, since the paper has rectified maps and α a pole
    there; signed, without the last ReLU. On the linear network above it is not Zhou's map: maps with negative weights
    count for nothing.
    """

    @property
    def name(self) -> str:
        return "grad_cam++"

    def map_of(self, maps: Tensor, gradient: Tensor) -> Tensor:
        up = gradient.clamp(min=0)
        total = maps.sum((2, 3), keepdim=True).clamp(min=0)
        return weighed((up / (2 + up * total)).sum((2, 3)), maps)


@dataclass(frozen=True)
class HiResCam(OfGradient):
    """Σ_k G_kp · A_kp: what each place contributes, to first order.

    It sums to the objective up to its bias where the rest of the network is linear, or rectified without biases.
    Source: Draelos & Carin 2020.
    """

    @property
    def name(self) -> str:
        return "hires_cam"

    def map_of(self, maps: Tensor, gradient: Tensor) -> Tensor:
        return (maps * gradient).sum(1)


@dataclass(frozen=True)
class XGradCam(OfGradient):
    """Σ_k w_k A_k with w_k = Σ_p G_kp A_kp / Σ_p A_kp: it sums to what hires_cam does.

    Source: Fu et al. 2020, equation 8. Differs: signed, without the last ReLU; a map whose values cancel out has no weight.
    """

    @property
    def name(self) -> str:
        return "xgrad_cam"

    def map_of(self, maps: Tensor, gradient: Tensor) -> Tensor:
        total = maps.sum((2, 3))
        usable = total.abs() > _CANCELLED * maps.abs().sum((2, 3))
        weights = (maps * gradient).sum((2, 3)) / total.masked_fill(~usable, 1)
        return weighed(weights.masked_fill(~usable, 0), maps)


@dataclass(frozen=True)
class LayerCam(OfGradient):
    """Σ_k max(G_kp, 0) · A_kp: sharp also in early layers, where a mean over places says little.

    Source: Jiang et al. 2021, equations 4 and 5. Differs: signed where a map is, without the last ReLU; several layers are
    averaged in their units, where the paper takes the largest of scaled ones.
    """

    @property
    def name(self) -> str:
        return "layer_cam"

    def map_of(self, maps: Tensor, gradient: Tensor) -> Tensor:
        return (maps * gradient.clamp(min=0)).sum(1)


@dataclass(frozen=True)
class GuidedGradCam(GradCam):
    """Guided backpropagation times the positive part of Grad-CAM, enlarged to the picture: fine, and of one class.

    values are of the channel where the product is largest in size; `colour` has all channels.
    Source: Selvaraju et al. 2017, §3.2. Differs: Grad-CAM is in its own units, where the paper's figures scale it.
    """

    @property
    def name(self) -> str:
        return "guided_grad_cam"

    def __call__(self, question: Question) -> Maps:
        coarse = super().__call__(question)
        fine = at_pictures(question, "guided").gradient
        where = overlay.resized(coarse.values.clamp(min=0), (int(fine.shape[2]), int(fine.shape[3])))
        product = fine * where[:, None]
        return Maps(
            largest(product),
            product,
            coarse.notes,
            layer=coarse.layer,
            reached=coarse.reached,
            scores=coarse.scores,
            by_size=True,
        )
