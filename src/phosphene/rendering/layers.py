"""Priors that compare what layers give with something else, beside `layer_statistics`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from torch import Tensor

from ..errors import RequestError
from ..network.network import Network
from .distributions import Distributions
from .inversion import Inversion
from .priors import BatchStatistics, FeatureDistributions
from .recipe import Recipe


class LayerPrior(Protocol):
    """kind, told: the key and the text of what a Record says of it; note: of each picture."""

    @property
    def kind(self) -> str: ...

    @property
    def told(self) -> str: ...

    @property
    def note(self) -> str: ...

    @property
    def weight(self) -> float: ...

    @property
    def addresses(self) -> frozenset[str]:
        """What it reads."""
        ...

    def distance(self, given: Mapping[str, Tensor]) -> Tensor:
        """(b,) for what the addresses give."""
        ...


def layer_priors(net: Network, recipe: Recipe, size: tuple[int, int]) -> tuple[LayerPrior, ...]:
    """Of a recipe for this network, what they compare with computed."""
    found: list[LayerPrior] = []
    for prior in recipe.priors:
        if isinstance(prior, FeatureDistributions) and prior.weight:
            if not prior.like:
                said = "feature_distributions needs photographs; --like PHOTOS (in Python: feature_distributions(like=…))"
                raise RequestError(said)
            found.append(Distributions.of(net, prior.like, size, prior.weight))
        if isinstance(prior, BatchStatistics) and prior.weight:
            found.append(Inversion.of(net, size, prior.weight, prior.first))
    return tuple(found)
