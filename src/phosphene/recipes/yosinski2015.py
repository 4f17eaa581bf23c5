"""`yosinski2015a` … `d`: Yosinski, Clune, Nguyen, Fuchs & Lipson 2015, §3.1, the four settings of table 1.

After every step, in this order: decay, blur, pixels of small norm, pixels of small contribution; no change of view. Begins at
the mean picture plus a little noise. Differs: the step has a normalised length, since the paper's rate is in units of one
network's gradients; blur is in parts of the side, of which the paper's network has 227 pixels; pixels are kept in [0, 1].
"""

from __future__ import annotations

from ..rendering.canvases import pixels
from ..rendering.projections import Projection, blur, clip_contribution, clip_norm, decay
from ..rendering.recipe import Recipe, Shape

SIDE = 227  # pixels of the paper's network
LEAST_BLUR = 0.45  # pixels; less does nothing


def _recipe(letter: str, steps: int, lr: float, *projections: Projection) -> Recipe:
    return Recipe(
        name=f"yosinski2015{letter}",
        source=f"Yosinski et al. 2015, §3.1, table 1, row {letter}",
        canvas=pixels("noise", 0.02),
        lr=lr,
        steps=steps,
        projections=projections,
    )


def _blur(sigma: float, shape: Shape) -> Projection:
    return blur(max(LEAST_BLUR, sigma * min(shape[1:]) / SIDE), every=4)


def a(shape: Shape) -> Recipe:
    return _recipe("a", 500, 0.01, _blur(0.5, shape), clip_norm(50))


def b(shape: Shape) -> Recipe:
    # Decay alone keeps the picture as faint as the step is short: 0.1 shows it at 32 px, and drowns it in its own noise at 224.
    return _recipe("b", 750, 0.55 / min(shape[1:]) ** 0.5, decay(0.3), clip_norm(20))


def c(shape: Shape) -> Recipe:
    return _recipe("c", 1000, 0.02, decay(0.0001), _blur(1.0, shape))


def d(shape: Shape) -> Recipe:
    return _recipe("d", 1000, 0.01, _blur(0.5, shape), clip_contribution(90))
