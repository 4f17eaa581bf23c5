"""`natural` and `natural-fast`: ours, for networks of about 96 px and more. Natural frequencies, free phases, local contrast,
many views."""

from __future__ import annotations

from ..rendering.recipe import Recipe, Shape
from ..rendering.settings import varied
from ..rendering.spectral import phase
from ..rendering.views import noise, rotate, scale, shift


def fast(shape: Shape) -> Recipe:
    return Recipe(
        name="natural-fast",
        source="Phosphene, after Fel et al. 2023 and Olah, Mordvintsev & Schubert 2017",
        canvas=phase(contrast=1.0, freedom=1.5, grid=7),
        optimiser="adam",
        lr=0.4,
        anneal=1.0,
        steps=256,
        views=(scale(0.5, 1.5), rotate(10), shift(0.3), noise(0.02)),
    )


def recipe(shape: Shape) -> Recipe:
    # Softer: with views enough to place a thing, what is finer than they need is speckle.
    return varied(fast(shape), "falloff", 0.2).replace(name="natural", samples=4)
