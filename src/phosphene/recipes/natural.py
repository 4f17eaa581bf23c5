"""`natural`, `natural-fast` and `natural-sketch`: ours, for networks of about 96 px and more. Natural frequencies, free phases,
local contrast, many views; and, where the network knows them, what its layers give for photographs."""

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


def sketch(shape: Shape, statistics: bool = False) -> Recipe:
    return fast(shape, statistics).replace(name="natural-sketch", steps=64)


def recipe(shape: Shape, statistics: bool = False) -> Recipe:
    """Softer, with more steps or views than `fast`: what is finer than these need is speckle."""
    if statistics:
        return varied(varied(fast(shape, True), "falloff", 0.2), "noise", 0.03).replace(name="natural", steps=512)
    return varied(fast(shape), "falloff", 0.2).replace(name="natural", samples=4)
