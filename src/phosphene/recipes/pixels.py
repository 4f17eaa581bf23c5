"""`pixels`: ours, for small networks. Plain pixels, normalised steps that grow shorter, gentle views, a little noise.

Chosen on the bundled pair by what a network that took no part makes of the pictures, four seeds: reflection at the border
keeps whole objects in view, where black drives them to the edge; steps that shrink from the first on end unsaturated.
"""

from __future__ import annotations

from ..rendering.projections import decay
from ..rendering.recipe import Recipe, Shape
from ..rendering.views import jitter, noise, rotate, scale


def recipe(shape: Shape) -> Recipe:
    return Recipe(
        name="pixels",
        source="Phosphene",
        lr=0.036,
        anneal=1.0,
        steps=128,
        projections=(decay(0.02),),
        views=(rotate(5), scale(0.9, 1.1), jitter(0.125), noise(0.1)),
        border="reflect",
    )
