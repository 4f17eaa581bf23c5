"""`natural`, `natural-fast` and `natural-sketch`: ours. Natural frequencies, free phases, local contrast, many views;
and, where the network knows them, what its layers give for photographs."""

from __future__ import annotations

from ..rendering.priors import layer_statistics
from ..rendering.recipe import NATURAL_FROM, Recipe, Shape
from ..rendering.settings import varied
from ..rendering.spectral import phase
from ..rendering.views import View, noise, rotate, scale, shift

WEIGHT = 30.0  # of the distance from what layers give for photographs: its loss of score by one standard deviation
SMALL_WEIGHT = 5.0  # the same below 96 px, where things fill the picture: views there keep them whole
VIEWS: tuple[View, ...] = (scale(0.5, 1.5), rotate(10), shift(0.3), noise(0.02))
SMALL_VIEWS: tuple[View, ...] = (scale(0.8, 1.2), rotate(10), shift(0.1), noise(0.02))


def fast(shape: Shape, statistics: bool = False) -> Recipe:
    small = min(shape[1:]) < NATURAL_FROM
    return Recipe(
        name="natural-fast",
        source="Phosphene, after Fel et al. 2023, Yin et al. 2020 and Olah, Mordvintsev & Schubert 2017",
        canvas=phase(contrast=1.0, freedom=1.5, grid=7),
        optimiser="adam",
        lr=0.4,
        anneal=1.0,
        steps=256,
        priors=(layer_statistics(SMALL_WEIGHT if small else WEIGHT),) if statistics else (),
        views=SMALL_VIEWS if small else VIEWS,
    )


def sketch(shape: Shape, statistics: bool = False) -> Recipe:
    return fast(shape, statistics).replace(name="natural-sketch", steps=64)


def recipe(shape: Shape, statistics: bool = False) -> Recipe:
    """Softer, with more steps or views than `fast`: what is finer than these need is speckle. Small pictures have no finer."""
    if statistics and min(shape[1:]) < NATURAL_FROM:
        return fast(shape, True).replace(name="natural")
    if statistics:
        return varied(varied(fast(shape, True), "falloff", 0.2), "noise", 0.03).replace(name="natural", steps=512)
    return varied(fast(shape), "falloff", 0.2).replace(name="natural", samples=4)
