"""Settings of a recipe by name: to change one, or to draw one objective under a grid of them."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import MISSING, fields, is_dataclass, replace
from typing import Any

from .. import registry
from ..errors import PhospheneError, RequestError, UnknownNameError, shown
from .canvases import Canvas
from .priors import FeatureDistributions
from .recipe import Recipe

NUMBERS = ("anneal", "diversity", "lr", "patience", "samples", "steps", "threshold")
WORDS = ("border", "diversity_at", "optimiser")
CANVAS = ("contrast", "falloff", "freedom", "grid", "spread")  # numbers of canvases that have them
PARTS = ("priors", "projections", "views")
LIKENESS = 100.0  # weight of feature_distributions where none is said
WHOLE = ("grid", "patience", "samples", "steps")


def knobs() -> list[str]:
    """What can be varied: a recipe's numbers, and each part that one number makes."""
    return sorted([*NUMBERS, *CANVAS, *(name for group in PARTS for name in registry.names(group) if _knob(group, name))])


def varied(recipe: Recipe, key: str, value: float) -> Recipe:
    """The recipe with one setting changed: a number of its own, or the strength of a part. 0 takes a part away; a part that is
    not there is put last.

    >>> varied(Recipe("r"), "l2", 0.5).priors[0].weight
    0.5
    """
    number = int(value) if key in WHOLE and value == int(value) else value
    if key in CANVAS:
        return recipe.replace(canvas=_of_canvas(recipe, key, number))
    if key in NUMBERS:
        return recipe.replace(**{key: number})
    for group in PARTS:
        if key in registry.names(group) and (knob := _knob(group, key)):
            return recipe.replace(**{group: _with(getattr(recipe, group), registry.find(group, key), knob, value)})
    raise UnknownNameError("setting", key, knobs())


def changed(recipe: Recipe, text: str) -> Recipe:
    """The recipe with KEY=VALUE: a number as for `varied`, or a word: canvas=fourier, start=photo.jpg, optimiser=adam,
    border=mean, diversity_at=LAYER, like=PHOTOS.

    >>> changed(Recipe("r"), "optimiser=adam").optimiser
    'adam'
    """
    key, equals, value = (part.strip() for part in text.partition("="))
    if not equals or not value:
        raise RequestError(f"setting {shown(text)}; KEY=VALUE is needed, as in lr=0.1")
    if key == "canvas":
        return recipe.replace(canvas=registry.find("canvases", value)())
    if key == "start":
        return recipe.replace(canvas=_of_canvas(recipe, "start_from", value))
    if key == "like":
        like = replace(recipe.distributions or FeatureDistributions(LIKENESS), like=value)
        others = (prior for prior in recipe.priors if not isinstance(prior, FeatureDistributions))
        return recipe.replace(priors=(*others, like))
    if key in WORDS:
        return recipe.replace(**{key: value})
    try:
        return varied(recipe, key, float(value))
    except ValueError as error:
        if isinstance(error, PhospheneError):
            raise
        raise RequestError(f"setting {shown(text)}; {key} takes a number") from None


def grid(recipe: Recipe, settings: Mapping[str, Sequence[float]]) -> Iterator[tuple[str, Recipe]]:
    """Every combination, the last setting fastest, each with its words: "l2 0.001, blur 0.5"."""
    if not settings or not all(settings.values()):
        raise RequestError("nothing to vary; settings with values are needed, as in l2=0,0.001")
    for values in itertools.product(*settings.values()):
        one = recipe
        for key, value in zip(settings, values, strict=True):
            one = varied(one, key, value)
        yield ", ".join(f"{key} {value:g}" for key, value in zip(settings, values, strict=True)), one


def _of_canvas(recipe: Recipe, key: str, value: float | str) -> Canvas:
    """The recipe's canvas with one field changed."""
    canvas: Any = recipe.canvas
    if not is_dataclass(canvas) or isinstance(canvas, type) or key not in {field.name for field in fields(canvas)}:
        raise RequestError(f"the canvas {shown(type(canvas).__name__)} of recipe {shown(recipe.name)} has no {key}")
    changed: Any = replace(canvas, **{key: value})
    found: Canvas = changed
    return found


def _knob(group: str, name: str) -> str | None:
    """The field that one number sets: the first, if no other has to be given."""
    first, *others = fields(registry.find(group, name))
    return None if any(f.default is MISSING for f in others) else first.name


def _with(parts: tuple[Any, ...], kind: Any, knob: str, value: float) -> tuple[Any, ...]:
    here = [place for place, part in enumerate(parts) if type(part) is kind]
    if len(here) > 1:
        raise RequestError(f"the recipe holds {len(here)} of {shown(kind.__name__)}; which one to vary is not clear")
    if not value:
        return tuple(part for part in parts if type(part) is not kind)
    if here:
        return tuple(replace(part, **{knob: value}) if type(part) is kind else part for part in parts)
    return (*parts, kind(**{knob: value}))
