"""Eigen-CAM: the direction among a layer's channels that holds most of what the layer says of a picture."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from ..results.method import Maps
from ..results.question import Question
from .maps import OfLayer, features, named

_NOTE = "eigen_cam shows what the layer answers to most and does not depend on the objective"


@dataclass(frozen=True)
class EigenCam(OfLayer):
    """O v for each picture, O (hw, k) the layer's channels at all places, v its first right singular vector.

    centred: whether the mean over places is taken off O first, as is also done; then what stands out from the mean is shown

    A singular vector has no sign. Here it is the one that makes the map positive where the layer is strong: Σ_p m_p ‖O_p‖² ≥ 0.
    Of rectified maps the map is then nowhere negative (Perron–Frobenius). No gradient is taken, and the objective has no say.
    Source: Muhammad & Yeasin 2020.
    """

    centred: bool = False
    in_units: ClassVar[bool] = False

    @property
    def name(self) -> str:
        return "eigen_cam"

    def __call__(self, question: Question) -> Maps:
        layers = self.targets(question)

        def run(some: Sequence[int]) -> Tensor:
            return self.fused([principal(a, self.centred) for a in features(question, layers, some)]).cpu()

        made = [part for _, part in question.parts(range(len(question)), run)]
        return Maps(torch.cat(made), notes=((_NOTE,),) * len(question), layer=named(layers))


def principal(maps: Tensor, centred: bool = False) -> Tensor:
    """Maps (n, k, h, w) -> (n, h, w), each picture by itself, in float64 inside."""
    rows = maps.cpu().double().flatten(2).mT  # (n, places, k)
    if centred:
        rows = rows - rows.mean(1, keepdim=True)
    found = torch.stack([_first(one) for one in rows])
    sign = torch.where((found * rows.square().sum(2)).sum(1, keepdim=True) < 0, -1.0, 1.0)
    return (sign * found).view(len(maps), *maps.shape[2:]).float()


def _first(rows: Tensor) -> Tensor:
    """(places, k) -> (places,): along the first principal direction, by the smaller of the two Gram matrices."""
    top = rows.abs().max()
    if not bool(torch.isfinite(top)) or top == 0:
        return torch.zeros_like(rows[:, 0])
    rows = rows / top
    if len(rows) <= rows.shape[1]:
        sizes, vectors = torch.linalg.eigh(rows @ rows.T)
        along: Tensor = vectors[:, -1] * sizes[-1].clamp(min=0).sqrt()
        return top * along
    _, vectors = torch.linalg.eigh(rows.T @ rows)
    through: Tensor = rows @ vectors[:, -1]
    return top * through
