"""`yin2020`: Yin et al. 2020 (DeepInversion), §3.2: statistics of a batch of pictures kept to those of the batch norms.

Pixels from noise of the deviation of photographs, Adam, jitter of 30 of 224 pixels, 2,000 steps, small penalties on L2 and on
total variation; all pictures that are asked for are one batch.

Differs: the objective is the one that is asked for, of a class the raw score instead of the cross entropy; its gradient does
not fade, so the statistics weigh more. The penalties are of squares, the rate falls linearly, pictures are not flipped.
"""

from __future__ import annotations

from ..rendering.canvases import pixels
from ..rendering.priors import batch_statistics, l2, total_variation
from ..rendering.recipe import Recipe, Shape
from ..rendering.views import jitter

SPREAD = 0.225  # of photographs about their mean, in [0, 1]


def recipe(shape: Shape) -> Recipe:
    return Recipe(
        name="yin2020",
        source="Yin et al. 2020, §3.2",
        canvas=pixels("noise", SPREAD),
        optimiser="adam",
        lr=0.25 * SPREAD,
        anneal=1.0,
        steps=2000,
        priors=(batch_statistics(0.1), 1e-4 * total_variation(), 1e-5 * l2()),
        views=(jitter(30 / 224),),
    )
