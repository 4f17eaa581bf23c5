"""Checks of arguments, made once, at the public boundary."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from numbers import Integral, Real
from pathlib import Path

from .errors import RequestError, shown

LARGEST_SIDE = 8192  # pixels; a record or a request beyond it is a mistake or an attack
LARGEST_STEPS = 1_000_000


def whole(name: str, value: object, *, low: int, high: int | None = None) -> int:
    """`value` as an int in [low, high]."""
    if isinstance(value, bool) or not isinstance(value, Integral):
        raise RequestError(f"{name} is {shown(value)}; a whole number is needed")
    number = int(value)
    if number < low or (high is not None and number > high):
        raise RequestError(f"{name} is {shown(number)}; {_range(low, high)} is needed")
    return number


def real(name: str, value: object, *, low: float = -math.inf, high: float = math.inf) -> float:
    """`value` as a finite float in [low, high]."""
    number = _float(value)
    if not math.isfinite(number):
        raise RequestError(f"{name} is {shown(value)}; a finite number is needed")
    if isinstance(value, Integral) and abs(int(value)) >= 2**63:  # torch takes no such whole number
        raise RequestError(f"{name} is {shown(value)}; a whole number below 2**63, or one with a point, is needed")
    if not low <= number <= high:
        raise RequestError(f"{name} is {shown(value)}; {_range(low, high)} is needed")
    return number


def steps(value: object) -> int:
    return whole("steps", value, low=1, high=LARGEST_STEPS)


def seed(value: object) -> int:
    return whole("seed", value, low=0, high=2**63 - 1)


def size(value: object, name: str = "size") -> tuple[int, int]:
    """One side or (height, width) as (height, width)."""
    sides = value if isinstance(value, Sequence) and not isinstance(value, str) else (value, value)
    if len(sides) != 2:
        raise RequestError(f"{name} is {shown(value)}; one side or (height, width) is needed")
    h, w = (whole(name, side, low=1, high=LARGEST_SIDE) for side in sides)
    return h, w


def path(name: str, value: object) -> Path:
    """A text or a Path as a Path; ~ is the home folder."""
    if not isinstance(value, str | os.PathLike) or not str(value):
        raise RequestError(f"{name} must be a path, got {shown(value)}")
    return Path(value)


def reals(name: str, value: object) -> tuple[float, ...]:
    """One number or a sequence of them, as a tuple of finite floats."""
    several = value if isinstance(value, Sequence) and not isinstance(value, str) else (value,)
    if not several:
        raise RequestError(f"{name} is empty; at least one number is needed")
    return tuple(real(name, number) for number in several)


def _float(value: object) -> float:
    """The number as a float; NaN for what is none, infinity for what is too large for a float."""
    if isinstance(value, bool) or not isinstance(value, Real):
        return math.nan
    try:
        return float(value)
    except OverflowError:
        return math.inf


def _range(low: float, high: float | None) -> str:
    if high is None or high == math.inf:
        return f"{_plain(low)} or more"
    return f"{_plain(low)} to {_plain(high)}"


def _plain(number: float) -> str:
    return str(number) if isinstance(number, int) else f"{number:g}"
