"""`simonyan2013`: Simonyan, Vedaldi & Zisserman 2013, §2, eq. 1: argmax over I of S_c(I) − λ‖I‖₂².

The raw score; from the zero-centred zero image, the training set's mean picture added back, which here means to start
from the mean picture and to measure I about it. Differs: the paper tells neither λ nor the optimiser's settings; λ is set
so that a picture with a contrast of 0.2 costs ten points of score at any size. Pixels are kept in [0, 1].
"""

from __future__ import annotations

import math

from ..rendering.priors import l2
from ..rendering.recipe import Recipe, Shape

COST, CONTRAST = 10.0, 0.2  # points of score, root mean square about the mean picture


def recipe(shape: Shape) -> Recipe:
    return Recipe(
        name="simonyan2013",
        source="Simonyan, Vedaldi & Zisserman 2013, §2",
        lr=0.01,
        anneal=0.5,
        steps=200,
        priors=(COST / (CONTRAST**2 * math.prod(shape)) * l2(),),
    )
