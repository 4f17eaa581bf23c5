"""`yosinski2015a` … `d`: Yosinski, Clune, Nguyen, Fuchs & Lipson 2015, §3.1, the four settings of table 1.

After every step, in this order: decay, blur, pixels of small norm, pixels of small contribution; no change of view. Begins at
the mean picture plus a little noise. Differs: the step has a normalised length, since the paper's rate is in units of one
network's gradients; pixels are kept in [0, 1].
"""

from __future__ import annotations

from ..rendering.canvases import pixels
from ..rendering.projections import Projection, blur, clip_contribution, clip_norm, decay
from ..rendering.recipe import Recipe, Shape


def _recipe(letter: str, steps: int, lr: float, *projections: Projection) -> Recipe:
    return Recipe(
        name=f"yosinski2015{letter}",
        source=f"Yosinski et al. 2015, §3.1, table 1, row {letter}",
        canvas=pixels("noise", 0.02),
        lr=lr,
        anneal=0.5,
        steps=steps,
        projections=projections,
    )


def a(shape: Shape) -> Recipe:
    return _recipe("a", 500, 0.01, blur(0.5, every=4), clip_norm(50))


def b(shape: Shape) -> Recipe:
    return _recipe("b", 750, 0.1, decay(0.3), clip_norm(20))


def c(shape: Shape) -> Recipe:
    return _recipe("c", 1000, 0.02, decay(0.0001), blur(1.0, every=4))


def d(shape: Shape) -> Recipe:
    return _recipe("d", 1000, 0.01, blur(0.5, every=4), clip_contribution(90))
