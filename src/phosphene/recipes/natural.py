"""`natural` and `natural-fast`: ours, for networks of about 96 px and more. Natural frequencies, free phases, local contrast,
many views; and, where the network knows them, what its layers give for photographs."""

from __future__ import annotations

from ..rendering.priors import layer_statistics
from ..rendering.recipe import Recipe, Shape
from ..rendering.settings import varied
from ..rendering.spectral import phase
from ..rendering.views import noise, rotate, scale, shift

WEIGHT = 30.0  # of the distance from what layers give for photographs: its loss of score by one standard deviation


def fast(shape: Shape, statistics: bool = False) -> Recipe:
    return Recipe(
        name="natural-fast",
        source="Phosphene, after Fel et al. 2023, Yin et al. 2020 and Olah, Mordvintsev & Schubert 2017",
        canvas=phase(contrast=1.0, freedom=1.5, grid=7),
        optimiser="adam",
        lr=0.4,
        anneal=1.0,
        steps=256,
        priors=(layer_statistics(WEIGHT),) if statistics else (),
        views=(scale(0.5, 1.5), rotate(10), shift(0.3), noise(0.02)),
    )


def recipe(shape: Shape, statistics: bool = False) -> Recipe:
    # Softer: with views enough to place a thing, what is finer than they need is speckle. Statistics do the work of two views.
    return varied(fast(shape, statistics), "falloff", 0.2).replace(name="natural", samples=2 if statistics else 4)
