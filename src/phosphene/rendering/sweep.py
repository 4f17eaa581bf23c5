"""Sweeps: one objective under a grid of settings, to see what each setting does."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import MISSING, fields, replace
from typing import Any

from .. import registry
from ..errors import RequestError, UnknownNameError, shown
from .recipe import Recipe

NUMBERS = ("anneal", "lr", "samples", "steps", "threshold")
PARTS = ("priors", "projections", "views")
WHOLE = ("samples", "steps")


def knobs() -> list[str]:
    """What can be varied: a recipe's numbers, and each part that one number makes."""
    return sorted([*NUMBERS, *(name for group in PARTS for name in registry.names(group) if _knob(group, name))])


def varied(recipe: Recipe, key: str, value: float) -> Recipe:
    """The recipe with one setting changed: a number of its own, or the strength of a part. 0 takes a part away; a part that is
    not there is put last.

    >>> varied(Recipe("r"), "l2", 0.5).priors[0].weight
    0.5
    """
    if key in NUMBERS:
        return recipe.replace(**{key: int(value) if key in WHOLE and value == int(value) else value})
    for group in PARTS:
        if key in registry.names(group) and (knob := _knob(group, key)):
            return recipe.replace(**{group: _with(getattr(recipe, group), registry.find(group, key), knob, value)})
    raise UnknownNameError("setting to vary", key, knobs())


def grid(recipe: Recipe, settings: Mapping[str, Sequence[float]]) -> Iterator[tuple[str, Recipe]]:
    """Every combination, the last setting fastest, each with its words: "l2 0.001, blur 0.5"."""
    if not settings or not all(settings.values()):
        raise RequestError("nothing to vary; settings with values are needed, as in l2=0,0.001")
    for values in itertools.product(*settings.values()):
        changed = recipe
        for key, value in zip(settings, values, strict=True):
            changed = varied(changed, key, value)
        yield ", ".join(f"{key} {value:g}" for key, value in zip(settings, values, strict=True)), changed


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
