"""`gorgun2025`: Görgün, Schiele & Fischer 2025 (VITAL): features distributed as those of photographs, `--like PHOTOS`.

Pixels from noise of the deviation of photographs, Adam, jitter of 30 of 224 pixels, 2,000 steps, no other prior.

Differs: the objective counts beside the distributions, where the paper's class models have the latter alone: without it a class
and a unit would be told by the choice of photographs only. Relevance propagated from a unit does not weigh features: whatever
stands in the photographs is drawn. The rate falls linearly instead of by a cosine, pictures are not flipped.
"""

from __future__ import annotations

from ..rendering.canvases import pixels
from ..rendering.priors import feature_distributions
from ..rendering.recipe import Recipe, Shape
from ..rendering.views import jitter

SPREAD = 0.225  # of photographs about their mean, in [0, 1]


def recipe(shape: Shape) -> Recipe:
    return Recipe(
        name="gorgun2025",
        source="Görgün, Schiele & Fischer 2025, on class neurons",
        canvas=pixels("noise", SPREAD),
        optimiser="adam",
        lr=SPREAD,
        anneal=1.0,
        steps=2000,
        priors=(feature_distributions(1000.0),),
        views=(jitter(30 / 224),),
    )
