"""`olah2017`: Olah, Mordvintsev & Schubert 2017, with the settings of their own code: waves in decorrelated colours, and views.

Shifts of 8 and 4 of 128 pixels, which here are shares of the side; scalings by a tenth, turns by ten degrees; beyond the
border the mean colour.
"""

from __future__ import annotations

from ..rendering.recipe import Recipe, Shape
from ..rendering.spectral import fourier
from ..rendering.views import jitter, rotate, scale


def recipe(shape: Shape) -> Recipe:
    return Recipe(
        name="olah2017",
        source="Olah, Mordvintsev & Schubert 2017",
        canvas=fourier(decay=1.0, spread=0.01),
        optimiser="adam",
        lr=0.05,
        steps=512,
        views=(jitter(8 / 128), scale(0.9, 1.1), rotate(10), jitter(4 / 128)),
        border="mean",
    )
