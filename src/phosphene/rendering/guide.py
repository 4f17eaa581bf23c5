"""Guided dreams: of what a second picture, the guide, shows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from ..errors import RequestError, shown
from ..objectives.expression import Activations, Objective, Shapes
from ..objectives.units import Layer, Plain

PLACES = 4096  # of the guide that are compared with; more are thinned out evenly
PRODUCTS = 1 << 24  # numbers of a matrix of dot products


@dataclass(frozen=True, eq=False)
class Guided(Plain):
    """Σ over places p of max over the guide's places q of ⟨f_p, g_q⟩: every place is drawn to what it likes best of the guide.

    guide: its features g (channels, places).
    Source: Mordvintsev, Olah & Tyka 2015, the notebook, objective_guide.
    """

    address: str
    guide: Tensor

    @property
    def reads(self) -> frozenset[str]:
        return frozenset({self.address})

    def __call__(self, activations: Activations) -> Tensor:
        f = _by_place(activations[self.address])
        return torch.stack([(one * self.guide[:, self._nearest(one)]).sum() for one in f])

    def _nearest(self, f: Tensor) -> Tensor:
        """The guide's place for each of ours; the gradient goes through the product, not through the choice."""
        with torch.no_grad():
            parts = f.split(max(1, PRODUCTS // self.guide.shape[1]), dim=1)
            return torch.cat([(part.T @ self.guide).argmax(1) for part in parts])

    def check(self, shapes: Shapes) -> None:
        pass  # it is of the same network

    def __str__(self) -> str:
        return f"guide:{self.address}"


def guided(objective: Objective, features: Mapping[str, Tensor]) -> Objective:
    """The objective with the guide's features (1, …) in the place of each layer."""
    terms = []
    for coefficient, unit in objective.terms:
        if not isinstance(unit, Layer):
            raise RequestError(f"objective {shown(str(objective))} with a guide; layers alone are needed, as in layer:stage3.0")
        terms.append((coefficient, Guided(unit.address, _thinned(_by_place(features[unit.address])[0]))))
    return Objective(tuple(terms))


def _by_place(given: Tensor) -> Tensor:
    """Maps (b, c, h, w), tokens (b, n, c) or features (b, c) as (b, c, places)."""
    if given.ndim == 3:
        return given.transpose(1, 2)
    return given.flatten(2) if given.ndim > 3 else given.unsqueeze(2)


def _thinned(features: Tensor) -> Tensor:
    return features[:, :: -(-features.shape[1] // PLACES)].detach().clone()
