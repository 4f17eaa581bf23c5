"""`pixels`: ours, for small networks. Plain pixels, normalised steps that grow shorter, gentle views, noise.

Chosen on the bundled pair by what the other network makes of the pictures, four seeds: reflection at the border keeps whole
objects in view, where black drives them to the edge; noise makes a network that was trained as usual draw what others see too.
"""

from __future__ import annotations

from ..rendering.projections import decay
from ..rendering.recipe import Recipe, Shape
from ..rendering.views import jitter, noise, rotate, scale


def recipe(shape: Shape) -> Recipe:
    return Recipe(
        name="pixels",
        source="Phosphene",
        lr=0.03,
        anneal=0.5,
        steps=128,
        projections=(decay(0.02),),
        views=(rotate(5), scale(0.9, 1.1), jitter(0.125), noise(0.18)),
        border="reflect",
    )
