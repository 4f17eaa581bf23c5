"""`phosphene class-model`: the pictures that maximise classes' raw scores."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ..errors import RequestError
from . import options


def class_model(
    model: options.Model,
    classes: Annotated[
        list[str] | None,
        typer.Option("-c", "--class", metavar="CLASS", help="A class, by name or index; may be repeated."),
    ] = None,
    every: Annotated[bool, typer.Option("--all", help="All classes.")] = False,
    also_probability: Annotated[
        bool,
        typer.Option("--also-probability", help="Beside each, the picture with the largest softmax probability, to compare."),
    ] = False,
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
    """Draw class models: for each class the picture with the largest raw score.

    Example: phosphene class-model -m demo:robust -c cat -c ship -o out
    """
    if every == bool(classes):
        raise RequestError("which classes? give -c CLASS, once or several times, or --all")
    sides = options.size_of(size)
    net = options.opened(model, device)

    from ..objectives.units import logit, probability
    from .making import make

    indices = range(len(net.classes)) if every else [net.index(name) for name in classes or ()]
    arguments = {
        "classes": None if every else classes,
        "all": every,
        "also_probability": also_probability,
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
    names = [told_name(net.classes, index) for index in indices]
    kinds = (logit, probability) if also_probability else (logit,)
    status = make(
        net,
        [str(kind(name)) for name in names for kind in kinds],
        command="class-model",
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
        columns=2 * max(1, round(len(names) ** 0.5)) if also_probability else None,
    )
    raise typer.Exit(status)


def told_name(names: tuple[str, ...], index: int) -> str | int:
    """The name, or the index where the name would not lead back to it."""
    name = names[index]
    alike = [other for other in names if other.lower() == name.lower()]
    return name if len(alike) == 1 and name.strip() and not name.isdigit() else index
