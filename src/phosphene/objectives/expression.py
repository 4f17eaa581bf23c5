"""Objective: a linear expression of units, one number per picture."""

from __future__ import annotations

from bisect import bisect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from numbers import Real
from typing import Any, ClassVar, Protocol

import torch
from torch import Tensor

from .. import checks
from ..errors import RequestError, shown
from ..links import Link

Activations = Mapping[str, Tensor]
Shapes = Mapping[str, tuple[int, ...]]  # without the batch axis, channels first: (k, h, w), (k, tokens) or (k,)


class Layout(Protocol):
    """What a network says of a layer: the shape with channels first, and the axis of the channels, counted with the batch."""

    @property
    def axis(self) -> int | None: ...

    @property
    def channels_first(self) -> tuple[int, ...]: ...


class Unit(Protocol):
    """One term: a place in a network and how it becomes one number. Frozen and hashable; `str` parses back."""

    @property
    def reads(self) -> frozenset[str]:
        """The addresses whose activations it needs."""
        ...

    def __call__(self, activations: Activations) -> Tensor:
        """(b,)"""
        ...

    def resolved(self, index: Callable[[str | int], int], link: Link | None = None) -> Unit:
        """Itself with class names turned into indices."""
        ...

    def bound(self, features: Callable[[Any, str], Tensor]) -> Unit:
        """Itself, with what a network makes of the picture it compares with: `features(picture or file, address)`."""
        ...

    def inlined(self) -> Unit:
        """Itself, as a record keeps it: with what a file holds, or pinned to it."""
        ...

    def laid_out(self, layouts: Mapping[str, Layout]) -> Unit:
        """Itself, for a network whose layers are laid out like this."""
        ...

    def check(self, shapes: Shapes) -> None:
        """Raise unless it is inside these shapes (channels first)."""
        ...


@dataclass(frozen=True)
class Objective:
    """Σ coefficient · unit. Turns what a network gives for b pictures into (b,) numbers; adds, subtracts and scales.

    Terms are kept in one order (largest coefficient first, then by text) and equal units are added up, so that
    expressions that mean the same are equal, hash equal, read equal and draw the same random numbers.

    >>> from phosphene import logit
    >>> str(logit("cat") - 0.5 * logit("dog"))
    'logit:cat - 0.5*logit:dog'
    """

    terms: tuple[tuple[float, Unit], ...]
    _keys: ClassVar[list[tuple[float, str]]]  # of each objective its own, set with its terms
    _added: ClassVar[dict[Unit, float]]

    def __post_init__(self) -> None:
        added: dict[Unit, float] = {}
        for coefficient, unit in self.terms:
            total = added.get(unit, 0.0) + checks.real("coefficient", coefficient)
            added[unit] = checks.real("coefficient", total)
        if not added:
            raise RequestError("an objective without terms; at least one is needed, as in logit:cat")
        keyed = [((-c, str(unit)), (c, unit)) for unit, c in added.items()]
        ordered = sorted(keyed, key=lambda pair: pair[0])
        self._keep([key for key, _ in ordered], [term for _, term in ordered], added)

    def _keep(self, keys: list[tuple[float, str]], terms: list[tuple[float, Unit]], added: dict[Unit, float]) -> None:
        object.__setattr__(self, "terms", tuple(terms))
        object.__setattr__(self, "_keys", keys)  # by which the terms are in order
        object.__setattr__(self, "_added", added)  # the coefficient of each unit

    @classmethod
    def of(cls, unit: Unit) -> Objective:
        return cls(((1.0, unit),))

    @property
    def reads(self) -> frozenset[str]:
        """The addresses whose activations it needs; "" is the network's raw scores."""
        return frozenset().union(*(unit.reads for _, unit in self.terms))

    def __call__(self, activations: Activations) -> Tensor:
        """The values (b,) for activations {address: (b, …)}."""
        first, *others = self.terms
        total = first[0] * first[1](activations)
        for coefficient, unit in others:
            total = total + coefficient * unit(activations)
        return total

    def __add__(self, other: Objective) -> Objective:
        """Term by term into the order that is there, so that a sum of thousands does not sort all of them at every +."""
        if not isinstance(other, Objective):
            return NotImplemented
        if len(other.terms) > len(self.terms):
            return other + self
        keys, terms, added = list(self._keys), list(self.terms), dict(self._added)
        for (_, text), (coefficient, unit) in zip(other._keys, other.terms, strict=True):
            if unit in added:
                at = terms.index((added[unit], unit))
                del keys[at], terms[at]
            added[unit] = checks.real("coefficient", added.get(unit, 0.0) + coefficient)
            key = (-added[unit], text)
            at = bisect(keys, key)
            keys.insert(at, key)
            terms.insert(at, (added[unit], unit))
        total = object.__new__(Objective)
        total._keep(keys, terms, added)
        return total

    def __radd__(self, other: object) -> Objective:
        """0 + objective, with which `sum(objectives)` begins."""
        return self if type(other) is int and other == 0 else NotImplemented

    def __mul__(self, factor: float) -> Objective:
        if isinstance(factor, bool) or not isinstance(factor, Real):
            return NotImplemented
        scale = checks.real("coefficient", factor)
        return Objective(tuple((scale * c, unit) for c, unit in self.terms))

    __rmul__ = __mul__

    def __neg__(self) -> Objective:
        return -1.0 * self

    def __sub__(self, other: Objective) -> Objective:
        return self + -other if isinstance(other, Objective) else NotImplemented

    def __str__(self) -> str:
        (first, unit), *others = self.terms
        text = f"{'-' if first < 0 else ''}{_scaled(abs(first), unit)}"
        return text + "".join(f" {'-' if c < 0 else '+'} {_scaled(abs(c), unit)}" for c, unit in others)

    def __repr__(self) -> str:
        return f"Objective({shown(str(self))})"

    def resolved(self, index: Callable[[str | int], int], link: Link | None = None) -> Objective:
        """Itself with class names turned into indices by `index`, and probabilities read by `link` (both a Network's)."""
        return Objective(tuple((c, unit.resolved(index, link)) for c, unit in self.terms))

    def bound(self, features: Callable[[Any, str], Tensor]) -> Objective:
        """Itself, with a network's features of the pictures it compares with: `features(picture or file, address)` (1, …)."""
        return Objective(tuple((c, unit.bound(features)) for c, unit in self.terms))

    def inlined(self) -> Objective:
        """Itself, with what it read from files in its text, or pinned to the file's digest."""
        return Objective(tuple((c, unit.inlined()) for c, unit in self.terms))

    def laid_out(self, layouts: Mapping[str, Layout]) -> Objective:
        """Itself, for a network whose layers are laid out like this; raises unless every unit is inside them."""
        asked = Objective(tuple((c, unit.laid_out(layouts)) for c, unit in self.terms))
        asked.check({address: layouts[address].channels_first for address in asked.reads})
        return asked

    def check(self, shapes: Shapes) -> None:
        """Raise unless every unit is inside these shapes."""
        for _, unit in self.terms:
            unit.check(shapes)

    @property
    def only(self) -> Unit | None:
        """Its unit, if it is one unit with coefficient 1."""
        return self.terms[0][1] if len(self.terms) == 1 and self.terms[0][0] == 1 else None


def values(objectives: Sequence[Objective], activations: Activations) -> Tensor:
    """Objective i at picture i: (b,) for b objectives and activations of b pictures.

    The batch is split once per address, not indexed per objective: the gradient of an index is a tensor of zeros as large
    as the whole batch.
    """
    rows = {address: tensor.split(1) for address, tensor in activations.items()}
    each = [objective({address: rows[address][i] for address in objective.reads}) for i, objective in enumerate(objectives)]
    return torch.cat(each).float()


def _scaled(coefficient: float, unit: Unit) -> str:
    return str(unit) if coefficient == 1 else f"{coefficient!r}*{unit}"
