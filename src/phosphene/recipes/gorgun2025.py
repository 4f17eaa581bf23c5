"""`gorgun2025`: Görgün, Schiele & Fischer 2025 (VITAL): features distributed as those of photographs, `--like PHOTOS`.

The ascent is DeepInversion's, `yin2020`, with four times its rate and no other prior.

Differs: the objective counts beside the distributions, where the paper's class models have the latter alone: without it a class
and a unit would be told by the choice of photographs only. Relevance propagated from a unit does not weigh features: whatever
stands in the photographs is drawn. The rate falls linearly instead of by a cosine, pictures are not flipped.
"""

from __future__ import annotations

from ..rendering.priors import feature_distributions
from ..rendering.recipe import Recipe, Shape
from . import yin2020


def recipe(shape: Shape) -> Recipe:
    return yin2020.recipe(shape).replace(
        name="gorgun2025",
        source="Görgün, Schiele & Fischer 2025, on class neurons",
        lr=yin2020.SPREAD,
        priors=(feature_distributions(1000.0),),
    )
