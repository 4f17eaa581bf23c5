"""The units of a network that an objective can name, and the functions that name them."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal, Self

import numpy as np
from torch import Tensor

from .. import checks
from ..errors import RequestError, first_line, shown
from .expression import Activations, Objective, Shapes
from .words import quoted

OUTPUT = ""  # the address of the network's raw scores
LEAST_COSINE = 0.1  # keeps a gradient where f points away from v
LARGEST_VECTOR = 1 << 20  # numbers in a direction
Of = Literal["sum", "squares"]


@dataclass(frozen=True)
class _Plain:
    """A unit that names no class and no file."""

    def resolved(self, index: Callable[[str | int], int]) -> Self:
        return self

    def inlined(self) -> Self:
        return self


@dataclass(frozen=True)
class ClassUnit(_Plain):
    """The raw score S_c or the probability P_c of a class, by name or index."""

    target: str | int
    kind: Literal["logit", "probability"] = "logit"

    @property
    def reads(self) -> frozenset[str]:
        return frozenset({OUTPUT})

    def __call__(self, activations: Activations) -> Tensor:
        scores = activations[OUTPUT]
        if not isinstance(self.target, int):
            raise RequestError(f"class {shown(self.target)} is not resolved; call objective.resolved(net.index) first")
        if self.kind == "probability":
            scores = scores.softmax(1) if scores.shape[1] > 1 else scores.sigmoid()
        return scores[:, self.target]

    def resolved(self, index: Callable[[str | int], int]) -> Self:
        return replace(self, target=index(self.target))

    def check(self, shapes: Shapes) -> None:
        if isinstance(self.target, int):
            _inside("class", self.target, shapes[OUTPUT][0], "the network's scores")

    def __str__(self) -> str:
        return f"{self.kind}:{self.target if isinstance(self.target, int) else quoted(self.target)}"


@dataclass(frozen=True)
class Neuron(_Plain):
    """One number of a layer: (channel, y, x) of a map, (channel, token) of tokens, (channel,) of features."""

    address: str
    place: tuple[int, ...]

    @property
    def reads(self) -> frozenset[str]:
        return frozenset({self.address})

    def __call__(self, activations: Activations) -> Tensor:
        given = activations[self.address]
        channel, *rest = self.place
        if given.ndim == 3:
            return given[:, rest[0], channel]
        for place in self.place:
            given = given[:, place]
        return given

    def check(self, shapes: Shapes) -> None:
        shape = shapes[self.address]
        if len(self.place) != len(shape):
            form = {1: "channel", 2: "channel,token", 3: "channel,y,x"}.get(len(shape), f"{len(shape)} numbers")
            raise RequestError(f"{self} has {len(self.place)} numbers; {self.address} gives {shape}: {form} is needed")
        tokens = len(shape) == 2
        names, sides = (("channel", "token"), shape[::-1]) if tokens else (("channel", "y", "x", "place"), shape)
        for name, value, side in zip(names, self.place, sides, strict=False):
            _inside(name, value, side, self.address)

    def __str__(self) -> str:
        return f"neuron:{quoted(self.address)}:{','.join(map(str, self.place))}"


@dataclass(frozen=True)
class Channel(_Plain):
    """The mean of one channel over all places."""

    address: str
    index: int

    @property
    def reads(self) -> frozenset[str]:
        return frozenset({self.address})

    def __call__(self, activations: Activations) -> Tensor:
        given = activations[self.address]
        one = given[:, :, self.index] if given.ndim == 3 else given[:, self.index]
        return one.flatten(1).mean(1) if one.ndim > 1 else one

    def check(self, shapes: Shapes) -> None:
        _inside("channel", self.index, _channels(shapes[self.address]), self.address)

    def __str__(self) -> str:
        return f"channel:{quoted(self.address)}:{self.index}"


@dataclass(frozen=True)
class Layer(_Plain):
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
class Direction(_Plain):
    """The mean over all places of ⟨f, v⟩·max(cos(f, v), 0.1)^power, f the channels at a place."""

    address: str
    vector: tuple[float, ...]
    power: float = 0.0
    source: str | None = field(default=None, compare=False)

    @property
    def reads(self) -> frozenset[str]:
        return frozenset({self.address})

    def __call__(self, activations: Activations) -> Tensor:
        given = activations[self.address]
        f = given if given.ndim in (2, 3) else given.movedim(1, -1)
        vector = given.new_tensor(self.vector)
        along = f @ vector
        if self.power:
            lengths = f.square().sum(-1).sqrt() * vector.square().sum().sqrt()
            along = along * (along / lengths.clamp(min=1e-12)).clamp(min=LEAST_COSINE) ** self.power
        return along.flatten(1).mean(1) if along.ndim > 1 else along

    def inlined(self) -> Self:
        return replace(self, source=None)

    def check(self, shapes: Shapes) -> None:
        channels = _channels(shapes[self.address])
        if len(self.vector) != channels:
            raise RequestError(f"direction has {len(self.vector)} numbers; {self.address} has {channels} channels")

    def __str__(self) -> str:
        vector = quoted(self.source) if self.source else json.dumps(self.vector)
        return f"direction:{quoted(self.address)}:{vector}" + (f":{self.power!r}" if self.power else "")


@dataclass(frozen=True)
class Custom(_Plain):
    """A function of the user's."""

    name: str
    function: Callable[[Activations], Tensor]
    reads: frozenset[str]

    def __call__(self, activations: Activations) -> Tensor:
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
    """The softmax probability P_c of a class; of a network with one output, its sigmoid. Mostly for comparison with `logit`."""
    return Objective.of(ClassUnit(_target(target), "probability"))


def neuron(address: str, channel: int, *place: int) -> Objective:
    """One number of a layer: neuron(address, channel, y, x) of a map, (address, channel) of features, (address, channel, token)
    of tokens (b, tokens, channels)."""
    numbers = (channel, *place)
    return Objective.of(Neuron(_address(address), tuple(checks.whole("neuron's place", n, low=0) for n in numbers)))


def channel(address: str, index: int) -> Objective:
    """The mean of one channel of a layer over all places."""
    return Objective.of(Channel(_address(address), checks.whole("channel", index, low=0)))


def layer(address: str, of: Of = "sum") -> Objective:
    """The sum of all numbers of a layer, Σ F_xyz; of="squares": of their squares, Σ F_xyz².

    Source: the sum of squares is DeepDream's (Mordvintsev, Olah & Tyka 2015).
    """
    if of not in ("sum", "squares"):
        raise RequestError(f"layer of {shown(of)}; sum or squares is needed")
    return Objective.of(Layer(_address(address), of))


def direction(address: str, vector: Sequence[float] | np.ndarray | Tensor | str | Path, *, power: float = 0.0) -> Objective:
    """The mean over places of ⟨f, v⟩·max(cos(f, v), 0.1)^power, v one number per channel, or a .npy file that holds them.

    power 0 is the plain dot product; larger ones ask that f point the way of v, and not only far.
    Source: Olah, Mordvintsev & Schubert 2017, and the code of Carter et al. 2019 for the power and its floor of 0.1.
    """
    power = checks.real("power of the cosine", power, low=0, high=16)
    if isinstance(vector, str | Path):
        return Objective.of(Direction(_address(address), _vector(_read(vector)), power, str(vector)))
    return Objective.of(Direction(_address(address), _vector(vector), power))


def custom(function: Callable[[Activations], Tensor], reads: Sequence[str], name: str) -> Objective:
    """A function of the user's: {address: (b, …)} -> (b,), one number per picture; differentiable if it is to be rendered.

    reads: the addresses it needs, "" for the raw scores. Its text is custom:NAME, which parses back where the name is found
    in the registry: an entry point of the group phosphene.objectives, or inside `registry.registered`.
    """
    if not callable(function):
        raise RequestError(f"custom objective {shown(name)}: {shown(function)} cannot be called")
    if isinstance(reads, str) or not reads:
        raise RequestError(f"custom objective {shown(name)} reads {shown(reads)}; a list of addresses is needed")
    if not isinstance(name, str) or not name:
        raise RequestError(f"custom objective's name is {shown(name)}; some text is needed")
    return Objective.of(Custom(name, function, frozenset(reads)))


def _target(target: str | int) -> str | int:
    if isinstance(target, str) and target:
        return target
    return checks.whole("class", target, low=0)


def _address(address: str) -> str:
    if not isinstance(address, str) or not address:
        raise RequestError(f"layer {shown(address)}; an address as `phosphene layers` lists them is needed")
    return address


def _inside(name: str, value: int, size: int, where: str) -> None:
    if not 0 <= value < size:
        raise RequestError(f"{name} {value} is outside {where or 'the scores'}, which has {size}: 0 to {size - 1} is needed")


def _channels(shape: tuple[int, ...]) -> int:
    return shape[1] if len(shape) == 2 else shape[0]


def _read(path: str | Path) -> np.ndarray:
    file = Path(path)
    try:
        usable = file.suffix == ".npy" and file.is_file() and file.stat().st_size <= 16 * LARGEST_VECTOR
        read: np.ndarray | None = np.load(file, allow_pickle=False) if usable else None
    except (OSError, ValueError, EOFError) as error:
        raise RequestError(f"direction {shown(str(path))} cannot be read: {first_line(error)}") from error
    if read is None:
        raise RequestError(f"direction {shown(str(path))} is not a .npy file of up to {LARGEST_VECTOR} numbers")
    return read


def _vector(values: Sequence[float] | np.ndarray | Tensor) -> tuple[float, ...]:
    try:
        array = np.asarray(values.detach().cpu() if isinstance(values, Tensor) else values, dtype=np.float64)
    except (TypeError, ValueError, OverflowError):
        raise RequestError(f"direction is {shown(values)}; one number per channel is needed") from None
    if array.ndim != 1 or not 0 < array.size <= LARGEST_VECTOR or not np.isfinite(array).all() or not array.any():
        raise RequestError(f"direction is {array.shape}, {shown(array.tolist())}; finite numbers, one per channel, are needed")
    return tuple(float(number) for number in array)
