"""`maco2023`: Fel et al. 2023, §3: the magnitude of natural pictures, phases by Nesterov-Adam at rate 1, noisy crops.

Differs: uniform phases at the start and no standardising of phases at every step (normal phases add up to a spike in the
corner), statistics of photographs of our own, colours per channel, and crops that keep inside the picture; 8 crops of a
quarter to a half of the side per step, as a picture of a network's own size has fewer pixels than the paper's.
"""

from __future__ import annotations

from ..rendering.recipe import Recipe, Shape
from ..rendering.spectral import phase
from ..rendering.views import crop, noise


def recipe(shape: Shape) -> Recipe:
    return Recipe(
        name="maco2023",
        source="Fel et al. 2023, §3",
        canvas=phase(contrast=1.0),
        optimiser="nadam",
        lr=1.0,
        steps=256,
        samples=8,
        views=(crop(0.25, 0.5, spread=0.15), noise(0.08)),
    )
