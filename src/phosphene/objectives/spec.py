"""From a text to an objective.

    expression := [-] term { (" + " | " - ") term }          term := [number *] unit
    unit := logit:CLASS | probability:CLASS | neuron:LAYER:c,y,x | channel:LAYER:c | layer:LAYER[:squares]
          | direction:LAYER:FILE.npy[:POWER] | direction:LAYER:[v, …][:POWER] | match:LAYER:PICTURE
          | caricature:LAYER:PICTURE[:POWER] | custom:NAME

CLASS is an index, or a name; names and layers that hold a colon, a quote, a lone sign or begin with a digit stand in
double quotes, as in JSON.
"""

from __future__ import annotations

import json
import operator
import re
from collections.abc import Callable, Iterable
from typing import Any

from .. import registry
from ..errors import RequestError, UnknownNameError, shown
from . import direction, likeness, units
from .expression import Objective, Unit
from .words import split, unquoted

Meant = Objective | str | int  # what stands for an objective where the classes are known
Index = Callable[[str | int], int]
LONGEST = 1 << 20  # characters
MOST_TERMS = 1 << 14  # of one text
MOST = 4096  # units that one text may name
_MANY = re.compile(r"([0-9]{1,9})-([0-9]{1,9})|\*")
_NUMBER = re.compile(r"\s*(\d+(?:\.\d*)?(?:[eE][+-]?\d+)?|\.\d+)\s*\*\s*(.*)", re.DOTALL)


def parse(text: str, *, files: bool = True) -> Objective:
    """The objective that a text names: `parse(str(o)) == o`. files=False refuses texts that name a file.

    >>> parse("logit:cat - 0.5*logit:dog") == units.logit("cat") - 0.5 * units.logit("dog")
    True
    """
    if not isinstance(text, str) or not text.strip() or len(text) > LONGEST:
        raise RequestError(f"objective {shown(text)}; a text such as logit:cat or channel:stage3.0:5 is needed")
    sign, *rest = ["-", text.strip()[1:]] if text.strip().startswith("-") else ["+", text.strip()]
    # Further blanks stay with the terms: runs of them are read once.
    first, *others = split(rest[0], r"\s([+-])\s", MOST_TERMS)
    if len(others) >= 2 * MOST_TERMS:
        raise RequestError(f"objective {shown(text)} has too many terms; up to {MOST_TERMS:,} are read")
    terms = [(sign, first), *zip(others[::2], others[1::2], strict=True)]
    return Objective(tuple(part for sign, term in terms for part in _term(sign, term.strip(), files)))


def several(text: str, channels: Callable[[str], int], index: Index | None = None) -> list[Objective]:
    """The objectives of a text that may name many: channel:LAYER:0-63, channel:LAYER:*, neuron:LAYER:0-9 (of features).

    channels: how many an address has; index: as in `coerce`.

    >>> [str(o) for o in several("channel:stage1.0:0-1", lambda address: 32)]
    ['channel:stage1.0:0', 'channel:stage1.0:1']
    """
    kind, *parts = split(text.strip(), ":", 3)
    if kind not in ("channel", "neuron") or len(parts) != 2 or not (found := _MANY.fullmatch(parts[1])):
        return [coerce(text, index)]
    first, last = (int(found.group(i)) for i in (1, 2)) if found.group(1) else (0, channels(unquoted(parts[0])) - 1)
    if not 0 <= last - first < MOST:
        raise RequestError(f"objective {shown(text)} names {max(last - first + 1, 0)} units; 1 to {MOST} are needed")
    return [parse(f"{kind}:{parts[0]}:{i}") for i in range(first, last + 1)]


def coerce(objective: Meant, index: Index | None = None) -> Objective:
    """An objective as it is, a text parsed. index: of a network's classes, whose names and numbers then mean their logits.

    A text that begins as an objective does is one, also where a class is called so.
    """
    if isinstance(objective, Objective):
        return objective
    if index is None or (isinstance(objective, str) and _KIND.match(objective)):
        return parse(objective)  # type: ignore[arg-type]  # which refuses what is no text
    if not isinstance(objective, str):
        return units.logit(index(number(objective)))
    try:
        index(objective)
    except UnknownNameError as error:
        if ":" in objective:
            parse(objective)  # whose error names the kinds of objectives
        raise UnknownNameError("class or objective", objective, error.near, "an objective is written as logit:cat") from None
    return units.typed(_target(objective), "logit")


def number(value: Any) -> int:
    """The whole number that an int, or an integer of NumPy or torch, is."""
    try:
        if not isinstance(value, bool):
            return operator.index(value)
    except (TypeError, ValueError, RuntimeError):  # the last two: a tensor of several numbers
        pass
    raise RequestError(f"objective must be one such as 'logit:cat', a class or its index, got {shown(value)}")


def listed(objectives: Any) -> list[Meant]:
    """One objective or several, as a list: a tensor or an array of class indices holds several."""
    if isinstance(objectives, Objective | str):
        return [objectives]
    if callable(getattr(objectives, "tolist", None)):
        objectives = objectives.tolist()
    return list(objectives) if isinstance(objectives, Iterable) else [objectives]


def _term(sign: str, text: str, files: bool) -> list[tuple[float, Unit]]:
    coefficient = 1.0
    if found := _NUMBER.fullmatch(text):
        coefficient, text = float(found.group(1)), found.group(2)
    scale = coefficient if sign == "+" else -coefficient
    return [(scale * c, unit) for c, unit in _unit(text.strip(), files).terms]


def _unit(text: str, files: bool) -> Objective:
    kind, *parts = split(text, ":", 4)  # no kind has as many
    if kind not in _KINDS:
        raise UnknownNameError("kind of objective", kind, _KINDS, f"the objective was {shown(text)}")
    least, most, make = _KINDS[kind]
    if not least <= len(parts) <= most:
        raise RequestError(f"objective {shown(text)}; {_FORMS[kind]} is needed")
    if not files and (kind in ("match", "caricature") or (kind == "direction" and not parts[1].startswith("["))):
        raise RequestError(f"objective {shown(text)} names a file, which a record from elsewhere must not")
    try:
        return make(*parts)
    except RequestError as error:
        raise RequestError(f"objective {shown(text)}: {error}") from error


def _target(text: str) -> str | int:
    return int(text) if re.fullmatch(r"[0-9]{1,9}", text) else unquoted(text)


def _place(text: str) -> list[int]:
    if not re.fullmatch(r"[0-9]{1,9}(,[0-9]{1,9})*", text):
        raise RequestError(f"place {shown(text)}; whole numbers joined by commas are needed")
    return [int(number) for number in text.split(",")]


def _neuron(address: str, place: str) -> Objective:
    return units.neuron(unquoted(address), *_place(place))


def _channel(address: str, index: str) -> Objective:
    numbers = _place(index)
    if len(numbers) != 1:
        raise RequestError(f"channel {shown(index)}; one number is needed")
    return units.channel(unquoted(address), numbers[0])


def _layer(address: str, of: str = "sum") -> Objective:
    return units.layer(unquoted(address), of)  # type: ignore[arg-type]  # checked there


def _direction(address: str, vector: str, power: str = "0") -> Objective:
    if not vector.startswith("["):
        return direction.direction(unquoted(address), unquoted(vector), power=_power(power))
    try:
        numbers = json.loads(vector)
    except (ValueError, RecursionError):
        raise RequestError(f"direction {shown(vector)}; a list of numbers as in JSON is needed") from None
    return direction.direction(unquoted(address), numbers, power=_power(power))


def _power(text: str) -> float:
    if not re.fullmatch(r"[0-9]{1,3}(\.[0-9]{1,20})?(e-?[0-9]{1,3})?", text):
        raise RequestError(f"power {shown(text)}; a number is needed")
    return float(text)


def _match(address: str, picture: str) -> Objective:
    return likeness.match(unquoted(address), unquoted(picture))


def _caricature(address: str, picture: str, power: str = str(likeness.POWER)) -> Objective:
    return likeness.caricature(unquoted(address), unquoted(picture), power=_power(power))


def _custom(name: str) -> Objective:
    found = registry.find("objectives", unquoted(name))
    if not isinstance(found, Objective):
        raise RequestError(f"registered objective {shown(name)} is {type(found).__name__}; an Objective is needed")
    return found


_FORMS = {
    "logit": "logit:CLASS",
    "probability": "probability:CLASS",
    "neuron": "neuron:LAYER:channel,y,x",
    "channel": "channel:LAYER:channel",
    "layer": "layer:LAYER or layer:LAYER:squares",
    "direction": "direction:LAYER:FILE.npy or direction:LAYER:FILE.npy:POWER",
    "match": "match:LAYER:PICTURE",
    "caricature": "caricature:LAYER:PICTURE or caricature:LAYER:PICTURE:POWER",
    "custom": "custom:NAME",
}
_KINDS: dict[str, tuple[int, int, Callable[..., Objective]]] = {
    "logit": (1, 1, lambda name: units.typed(_target(name), "logit")),
    "probability": (1, 1, lambda name: units.typed(_target(name), "probability")),
    "neuron": (2, 2, _neuron),
    "channel": (2, 2, _channel),
    "layer": (1, 2, _layer),
    "direction": (2, 3, _direction),
    "match": (2, 2, _match),
    "caricature": (2, 3, _caricature),
    "custom": (1, 1, _custom),
}
# What a text begins with that is an objective and no class.
_KIND = re.compile(rf"\s*-?\s*([0-9.eE+-]+\s*\*\s*)?({'|'.join(_KINDS)}):")
