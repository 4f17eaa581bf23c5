"""The settings of a recipe that are searched, each with its range about the base recipe's."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

from ..rendering.priors import TotalVariation
from ..rendering.projections import Blur, Decay
from ..rendering.recipe import Recipe, Shape
from ..rendering.settings import varied
from ..rendering.views import Jitter, Noise, Rotate, Scale, Shift

OFF = 0.05  # of a range: what is weaker is left out, so that a search can find that a part is of no use
WEIGHTS = 100.0  # of total variation, times c·h·w: about where it weighs as much as a class's score


@dataclass(frozen=True)
class Knob:
    """One setting: a range, even or in its logarithm, or a few whole numbers. base: what the base recipe has.

    What is below 0 counts as 0: a part that the base recipe does without has half of its range there.
    """

    name: str
    base: float
    low: float = 0.0
    high: float = 0.0
    log: bool = False
    choices: tuple[int, ...] = ()

    def tidied(self, value: float) -> float:
        """As it goes into a recipe: three digits, and 0 for what is next to nothing.

        >>> knob = Knob("noise", 0.18, 0, 0.36)
        >>> knob.tidied(0.123456), knob.tidied(0.01), knob.tidied(0.18)
        (0.123, 0.0, 0.18)
        """
        if self.choices or value == self.base:
            return value
        return 0.0 if self.low <= 0 and value < OFF * self.high else float(f"{value:.3g}")


@dataclass(frozen=True)
class _Part:
    """A part that one number makes: its group and field, how far its range goes at least, and how far at most."""

    name: str
    kind: type
    group: Literal["priors", "projections", "views"]
    field: str
    reach: float
    most: float = 10.0


_VIEWS = (_Part("noise", Noise, "views", "sigma", 0.1), _Part("rotate", Rotate, "views", "degrees", 15, 180))
_SHIFT = _Part("shift", Shift, "views", "fraction", 0.2, 1)
_JITTER = _Part("jitter", Jitter, "views", "fraction", 0.2, 1)
_CORRECTIONS = (_Part("decay", Decay, "projections", "rate", 0.05, 1), _Part("blur", Blur, "projections", "sigma", 0.6))


def space(base: Recipe, shape: Shape) -> tuple[Knob, ...]:
    """What is searched about a base recipe, for pictures (channels, height, width).

    lr        a quarter to four times the base's
    steps     a quarter, a half, once, twice the base's;  samples 1, 2, 4 or the base's
    anneal    0 to 1;  noise, rotation, shift or jitter: none to twice the base's;  scale: from below the base's to above
    contrast  of the phase canvas: a half to twice the base's
    decay, blur, total variation  where the canvas lets pictures be corrected
    A part of which the recipe holds several is left as it is.
    """
    shifting = _SHIFT if _held(base, _SHIFT) else _JITTER
    parts = [*_VIEWS, shifting]
    if not base.canvas.fixed:
        weight = WEIGHTS / (shape[0] * shape[1] * shape[2])
        parts += [*_CORRECTIONS, _Part("total_variation", TotalVariation, "priors", "weight", weight, 1e6)]
    ranges = [_range_of(base, part) for part in parts if len(_held(base, part)) < 2]
    return (*_numbers(base), *_contrast(base), *_scaling(base), *ranges)


def searched(base: Recipe, knobs: tuple[Knob, ...], settings: Mapping[str, float], name: str) -> Recipe:
    """The base recipe with these settings; itself where none differs."""
    other = changes(knobs, settings)
    if not other:
        return base
    found = base
    for key, value in other.items():
        if not key.startswith("scale_"):
            found = varied(found, key, value)
    if any(key.startswith("scale_") for key in other):
        found = _scaled(found, settings["scale_low"], settings["scale_high"])
    return found.replace(name=name, source=f"tuned by Phosphene from {base.name}")


def changes(knobs: tuple[Knob, ...], settings: Mapping[str, float]) -> dict[str, float]:
    """The settings that differ from the base recipe's."""
    return {knob.name: settings[knob.name] for knob in knobs if settings[knob.name] != knob.base}


def described(knobs: tuple[Knob, ...]) -> list[dict[str, Any]]:
    """Plain words and numbers, to tell one space from another."""
    return [asdict(knob) | {"choices": list(knob.choices)} for knob in knobs]


def _numbers(base: Recipe) -> tuple[Knob, ...]:
    steps = sorted({max(1, round(base.steps * share)) for share in (0.25, 0.5, 1, 2)})
    return (
        Knob("lr", base.lr, base.lr / 4, base.lr * 4, log=True),
        Knob("anneal", base.anneal, 0.0, 1.0),
        Knob("steps", base.steps, choices=tuple(steps)),
        Knob("samples", base.samples, choices=tuple(sorted({1, 2, 4, base.samples}))),
    )


def _contrast(base: Recipe) -> tuple[Knob, ...]:
    contrast = getattr(base.canvas, "contrast", None)
    if contrast is None:
        return ()
    return (Knob("contrast", contrast, max(contrast / 2, 0.01), min(contrast * 2, 10.0), log=True),)


def _scaling(base: Recipe) -> tuple[Knob, ...]:
    held = [view for view in base.views if isinstance(view, Scale)]
    if len(held) > 1:
        return ()
    low, high = (held[0].low, held[0].high) if held else (1.0, 1.0)
    return (
        Knob("scale_low", low, max(0.75 * min(low, 0.8), 0.05), max(low, 1.0)),
        Knob("scale_high", high, min(high, 1.0), min(1.25 * max(high, 1.2), 20.0)),
    )


def _scaled(recipe: Recipe, low: float, high: float) -> Recipe:
    low, high = sorted((low, high))
    other = tuple(view for view in recipe.views if not isinstance(view, Scale))
    return recipe.replace(views=other if low == high == 1 else (Scale(low, high), *other))


def _range_of(base: Recipe, part: _Part) -> Knob:
    held = _held(base, part)
    value = float(getattr(held[0], part.field)) if held else 0.0
    high = max(min(max(part.reach, 2 * value), part.most), value)
    return Knob(part.name, value, 0.0 if held else -high, high)


def _held(base: Recipe, part: _Part) -> list[Any]:
    return [one for one in getattr(base, part.group) if type(one) is part.kind]
