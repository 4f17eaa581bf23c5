"""`phosphene render`: the pictures that maximise any objectives."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from . import options


def render(
    objectives: Annotated[
        list[str],
        typer.Argument(
            metavar="OBJECTIVE...",
            help="logit:CLASS, probability:CLASS, channel:LAYER:K, neuron:LAYER:K,Y,X, layer:LAYER, layer:LAYER:squares, "
            "direction:LAYER:FILE.npy, and sums such as 'logit:cat - 0.5*logit:dog'.",
        ),
    ],
    model: options.Model,
    recipe: options.RecipeName = "auto",
    steps: options.Steps = None,
    size: options.Size = None,
    settings: options.Settings = None,
    like: options.Like = None,
    seed: options.Seed = 0,
    seeds: options.Seeds = 1,
    starts: options.Starts = 1,
    judges: options.Judges = None,
    batch: options.Batch = None,
    animate: options.Animate = None,
    transparent: options.Transparent = False,
    device: options.Device = None,
    precision: options.Precision = "auto",
    compile: options.Compile = "auto",
    out: options.Out = Path("out"),
) -> None:
    """Draw the pictures that make objectives largest: units, channels, layers, classes and their sums.

    Example: phosphene render -m demo:robust channel:stage3.0:5 "logit:cat - 0.5*logit:dog" -o out
    """
    sides = options.size_of(size)
    net = options.opened(model, device)

    from .making import make

    arguments = {
        "objectives": objectives,
        "recipe": recipe,
        "steps": steps,
        "size": size,
        "settings": settings,
        "like": like,
        "seed": seed,
        "seeds": seeds,
        "starts": starts,
        "judges": judges,
        "batch": batch,
        "animate": animate,
        "transparent": transparent,
        "precision": precision,
        "compile": compile,
    }
    status = make(
        net,
        objectives,
        command="render",
        arguments=arguments,
        out=out,
        recipe=recipe,
        steps=steps,
        size=sides,
        settings=options.settings_of(settings, like),
        seed=seed,
        seeds=seeds,
        starts=starts,
        judges=[options.opened(judge, device) for judge in judges or ()],
        batch=batch,
        animate=animate,
        transparent=transparent,
        precision=precision,
        compile=compile,
    )
    raise typer.Exit(status)
