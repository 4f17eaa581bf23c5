"""Class models of ours on their way up: what `render`, `scaling` and `device` time."""

from __future__ import annotations

from functools import partial

import phosphene as ph
from bench.turns import Ascent
from phosphene.network.compiling import Compile
from phosphene.rendering.recipe import find_recipe


def ours(net: ph.Network, recipe: str, batch: int, steps: int, *, side: int | None = None, compile: Compile = "off") -> Ascent:
    """So many at once. Each takes every step, though it may have converged, or pictures × steps would not be what was done."""
    h, w = net.preprocess.sides if side is None else (side, side)
    chosen = find_recipe(recipe, (net.preprocess.channels, h, w)).replace(patience=0)
    objectives = [f"logit:{i}" for i in range(batch)]
    draw = partial(ph.render, net, objectives, recipe=chosen, size=(h, w), batch=batch, frames=0, compile=compile)
    return Ascent(batch, lambda steps: draw(steps=steps), steps)
