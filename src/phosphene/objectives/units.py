"""The units of a network that an objective can name, and the functions that name them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal, Self, overload

import numpy as np
from torch import Tensor

from .. import checks
from ..errors import RequestError, shown
from ..links import Link, link_of, probabilities
from ..seeding import Injected
from .expression import Activations, Layout, Objective, Shapes
from .words import quoted

OUTPUT = ""  # the address of the network's raw scores
Of = Literal["sum", "squares"]
_PLACES = {2: ("channel", "token"), 4: ("channel", "z", "y", "x")}  # what the numbers of a neuron are called, by axes


@dataclass(frozen=True)
class Plain:
    """A unit that names no class, no picture and no file."""

    def resolved(self, index: Callable[[str | int], int], link: Link | None = None) -> Self:
        return self

    def bound(self, features: Callable[[Any, str], Tensor]) -> Self:
        return self

    def inlined(self) -> Self:
        return self

    def laid_out(self, layouts: Mapping[str, Layout]) -> Self:
        return self


@dataclass(frozen=True)
class OfChannels(Plain):
    """A unit that knows channels.

    axis  of the channels; None: not known yet, the last of tokens (b, n, k) and the first of anything else
    """

    address: str
    axis: int | None = field(default=None, compare=False, kw_only=True)

    @property
    def reads(self) -> frozenset[str]:
        return frozenset({self.address})

    def laid_out(self, layouts: Mapping[str, Layout]) -> Self:
        layout = layouts[self.address]
        if layout.axis is None:
            raise RequestError(
                f"{self} needs channels, and which axis of {layout.channels_first} layer {self.address} has them on cannot be "
                f"known; layer:{quoted(self.address)} is the sum of all numbers"
            )
        return replace(self, axis=layout.axis)

    def channels_last(self, activations: Activations) -> Tensor:
        """(b, …, k): a view."""
        given = activations[self.address]
        axis = self.axis if self.axis is not None else -1 if given.ndim == 3 else 1
        return given.movedim(axis, -1)


@dataclass(frozen=True)
class ClassUnit(Plain):
    """The raw score S_c or the probability P_c of a class, by name or index.

    link   how the network's scores become probabilities; None: softmax, of one output sigmoid
    typed  whether a number was typed in a text, where a class of that name comes first
    """

    target: str | int
    kind: Literal["logit", "probability"] = "logit"
    link: Link | None = field(default=None, compare=False)
    typed: bool = field(default=False, compare=False)

    @property
    def reads(self) -> frozenset[str]:
        return frozenset({OUTPUT})

    def __call__(self, activations: Activations) -> Tensor:
        scores = activations[OUTPUT]
        if not isinstance(self.target, int):
            raise RequestError(f"class {shown(self.target)} is not resolved; call objective.resolved(net.index) first")
        if self.kind == "probability":
            scores = probabilities(scores, self.link or link_of(None, scores.shape[1]))
        return scores[:, self.target]

    def resolved(self, index: Callable[[str | int], int], link: Link | None = None) -> Self:
        target = str(self.target) if self.typed else self.target
        return replace(self, target=index(target), link=link or self.link, typed=False)

    def check(self, shapes: Shapes) -> None:
        if isinstance(self.target, int):
            _inside("class", self.target, shapes[OUTPUT][0], "the network's scores")

    def __str__(self) -> str:
        return f"{self.kind}:{self.target if isinstance(self.target, int) else quoted(self.target)}"


@dataclass(frozen=True)
class Neuron(OfChannels):
    """One number of a layer: (channel, y, x) of a map, (channel, token) of tokens, (channel,) of features."""

    place: tuple[int, ...]

    def __call__(self, activations: Activations) -> Tensor:
        given = self.channels_last(activations)
        channel, *rest = self.place
        for index in (*rest, channel):
            given = given[:, index]
        return given

    def check(self, shapes: Shapes) -> None:
        shape = shapes[self.address]
        names = _PLACES.get(len(shape), ("channel", "y", "x"))
        if len(self.place) != len(shape):
            form = ",".join(names[: len(shape)])
            raise RequestError(f"{self} has {len(self.place)} numbers; {self.address} gives {shape}: {form} is needed")
        for name, value, side in zip(names, self.place, shape, strict=False):
            _inside(name, value, side, self.address)

    def __str__(self) -> str:
        return f"neuron:{quoted(self.address)}:{','.join(map(str, self.place))}"


@dataclass(frozen=True)
class Channel(OfChannels):
    """The mean of one channel over all places."""

    index: int

    def __call__(self, activations: Activations) -> Tensor:
        one = self.channels_last(activations)[..., self.index]
        return one.flatten(1).mean(1) if one.ndim > 1 else one

    def check(self, shapes: Shapes) -> None:
        _inside("channel", self.index, shapes[self.address][0], self.address)

    def __str__(self) -> str:
        return f"channel:{quoted(self.address)}:{self.index}"


@dataclass(frozen=True)
class Layer(Plain):
    """The sum of all numbers of a layer, or of their squares (DeepDream)."""

    address: str
    of: Of = "sum"

    @property
    def reads(self) -> frozenset[str]:
        return frozenset({self.address})

    def __call__(self, activations: Activations) -> Tensor:
        given = activations[self.address].flatten(1)
        return given.square().sum(1) if self.of == "squares" else given.sum(1)

    def check(self, shapes: Shapes) -> None:
        pass  # every layer has a sum

    def __str__(self) -> str:
        return f"layer:{quoted(self.address)}" + (":squares" if self.of == "squares" else "")


@dataclass(frozen=True)
class Custom(Plain):
    """A function of the user's."""

    name: str
    function: Callable[[Activations], Tensor]
    reads: frozenset[str]

    def __call__(self, activations: Activations) -> Tensor:
        with Injected(0):  # a function of the picture alone: what it draws is the same every time, and none of the caller's
            values = self.function({address: activations[address] for address in self.reads})
        batch = next(iter(activations.values())).shape[0]
        if not isinstance(values, Tensor) or tuple(values.shape) != (batch,):
            what = tuple(values.shape) if isinstance(values, Tensor) else type(values).__name__
            raise RequestError(f"custom objective {self.name!r} gave {what}; one number per picture, ({batch},), is needed")
        return values

    def check(self, shapes: Shapes) -> None:
        pass  # only the function knows

    def __str__(self) -> str:
        return f"custom:{quoted(self.name)}"


def logit(target: str | int) -> Objective:
    """The raw score S_c of a class, before any softmax, by name or index.

    Source: Simonyan, Vedaldi & Zisserman 2013, §2: raw, since P_c also grows when the other classes' scores fall.
    """
    return Objective.of(ClassUnit(_target(target)))


def probability(target: str | int) -> Objective:
    """The probability P_c of a class, mostly for comparison with `logit`.

    The softmax of raw scores, or their sigmoid for a network with one output or a multi-label one; the network's own output
    where it ends in softmax or sigmoid.
    """
    return Objective.of(ClassUnit(_target(target), "probability"))


def typed(target: str | int, kind: Literal["logit", "probability"]) -> Objective:
    """A class as it was typed in a text: digits name a class of that name, else an index."""
    return Objective.of(ClassUnit(target, kind, typed=isinstance(target, int)))


def by_index(objective: Objective) -> Objective:
    """Itself, as a record wrote it: digits are an index, also where a class is named like that."""
    terms = ((c, replace(unit, typed=False) if isinstance(unit, ClassUnit) else unit) for c, unit in objective.terms)
    return Objective(tuple(terms))


def neuron(address: str, channel: int, *place: int) -> Objective:
    """One number of a layer: neuron(address, channel, y, x) of a map, (address, channel) of features, (address, channel, token)
    of tokens (b, tokens, channels)."""
    numbers = (channel, *place)
    return Objective.of(Neuron(checked_address(address), tuple(checks.whole("neuron's place", n, low=0) for n in numbers)))


@overload
def channel(address: str, index: int) -> Objective: ...
@overload
def channel(address: str, index: Iterable[int]) -> list[Objective]: ...
def channel(address: str, index: int | Iterable[int]) -> Objective | list[Objective]:
    """The mean of one channel of a layer over all places; of several channels, channel(address, range(64)), a list of them."""
    numbers = index.tolist() if isinstance(index, Tensor | np.ndarray) else index
    if isinstance(numbers, Iterable) and not isinstance(numbers, str):
        return [Objective.of(Channel(checked_address(address), checks.whole("channel", one, low=0))) for one in numbers]
    return Objective.of(Channel(checked_address(address), checks.whole("channel", numbers, low=0)))


def layer(address: str, of: Of = "sum") -> Objective:
    """The sum of all numbers of a layer, Σ F_xyz; of="squares": of their squares, Σ F_xyz².

    Source: the sum of squares is DeepDream's (Mordvintsev, Olah & Tyka 2015).
    """
    if not isinstance(of, str) or of not in ("sum", "squares"):
        raise RequestError(f"layer of {shown(of)}; sum or squares is needed")
    return Objective.of(Layer(checked_address(address), of))


def custom(function: Callable[[Activations], Tensor], reads: Sequence[str], name: str) -> Objective:
    """A function of the user's: {address: (b, …)} -> (b,), one number per picture; differentiable if it is to be rendered.

    reads: the addresses it needs, "" for the raw scores. Its text is custom:NAME, which parses back where the name is found
    in the registry: an entry point of the group phosphene.objectives, or inside `registry.registered`.
    """
    if not callable(function):
        raise RequestError(f"custom objective {shown(name)}: {shown(function)} cannot be called")
    if not isinstance(reads, list | tuple | set | frozenset) or not reads or not all(isinstance(one, str) for one in reads):
        raise RequestError(f"custom objective {shown(name)} reads {shown(reads)}; a list of addresses is needed")
    if not isinstance(name, str) or not name:
        raise RequestError(f"custom objective's name is {shown(name)}; some text is needed")
    return Objective.of(Custom(name, function, frozenset(reads)))


def _target(target: str | int) -> str | int:
    if isinstance(target, str) and target:
        return target
    return checks.whole("class", target, low=0)


def checked_address(address: str) -> str:
    if not isinstance(address, str) or not address:
        raise RequestError(f"layer {shown(address)}; an address as `phosphene layers` lists them is needed")
    return address


def _inside(name: str, value: int, size: int, where: str) -> None:
    if not 0 <= value < size:
        raise RequestError(f"{name} {value} is outside {where or 'the scores'}, which has {size}: 0 to {size - 1} is needed")
