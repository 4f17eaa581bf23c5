"""`pixels`: ours, for small networks. Plain pixels, normalised steps, jitter over black, a little noise."""

from __future__ import annotations

from ..rendering.projections import decay
from ..rendering.recipe import Recipe, Shape
from ..rendering.views import jitter, noise


def recipe(shape: Shape) -> Recipe:
    return Recipe(
        name="pixels",
        source="Phosphene",
        lr=0.018,
        anneal=0.25,
        steps=128,
        projections=(decay(0.01),),
        views=(jitter(0.125), noise(0.1)),
        border="black",
    )
