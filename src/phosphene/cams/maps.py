"""What a layer gives at the pictures and the gradient there; the ground of every method that has a target layer."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from ..errors import RequestError, shown
from ..network.network import NO_GRADIENT
from ..network.probe import Change
from ..objectives.expression import values
from ..objectives.units import OUTPUT, Neuron
from ..pictures import overlay
from ..results.method import Maps, Method
from ..results.question import Question
from .layer import Target, targets


@dataclass(frozen=True)
class OfLayer(Method):
    """A method with a target layer.

    layer   addresses; none: the last layer with places before the head, see `layer.targets`. The maps of several are enlarged
            to the finest and averaged: in units of the objective with their sums kept, and where a method has no such unit
            (`in_units`) each divided by the sum of its sizes first
    """

    layer: tuple[str, ...] = ()
    in_units: ClassVar[bool] = True

    def __post_init__(self) -> None:
        layers = (self.layer,) if isinstance(self.layer, str) else self.layer
        good = isinstance(layers, tuple | list) and all(isinstance(one, str) and one for one in layers)
        if not good or len(set(layers)) < len(layers):
            raise RequestError(f"layer is {shown(self.layer)}; an address, or several different ones, are needed")
        object.__setattr__(self, "layer", tuple(layers))  # frozen: set once, here

    def targets(self, question: Question) -> tuple[Target, ...]:
        """The layers, which must be the same for every picture: their maps are of one size."""
        h, w = (int(side) for side in question.pictures.shape[-2:])
        asked = dict.fromkeys(objective.reads for objective in question.resolved)
        found = {targets(question.net, reads, (h, w), self.layer) for reads in asked}
        if len(found) > 1:
            said = sorted({target.address for some in found for target in some})
            raise RequestError(f"the objectives have different target layers ({', '.join(said)}); ask apart, or give layer=")
        return found.pop()

    def fused(self, maps: Sequence[Tensor]) -> Tensor:
        """Maps (b, h, w) of several layers as one, of the finest layer's size."""
        if len(maps) == 1:
            return maps[0]
        if not self.in_units:
            maps = [m / m.abs().sum((1, 2), keepdim=True).clamp(min=torch.finfo(m.dtype).tiny) for m in maps]
        h, w = max((tuple(m.shape[1:]) for m in maps), key=lambda size: size[0] * size[1])
        enlarged = [overlay.resized(m, (h, w)) * (m.shape[1] * m.shape[2] / (h * w)) for m in maps]
        return torch.stack(enlarged).mean(0)


@dataclass(frozen=True, eq=False)
class Seen:
    """Of n pictures: maps and gradient ∂S/∂A (n, k, h, w) per layer, the values (n,), the scores if they are read."""

    maps: tuple[Tensor, ...]
    gradient: tuple[Tensor, ...]
    reached: Tensor
    scores: Tensor | None


@dataclass(frozen=True)
class OfGradient(OfLayer):
    """A method that makes its map of what a layer gives, A (n, k, h, w), and the gradient G = ∂S/∂A there."""

    def map_of(self, maps: Tensor, gradient: Tensor) -> Tensor:
        """(n, h, w)"""
        raise NotImplementedError

    def __call__(self, question: Question) -> Maps:
        question.net.check_gradient()
        layers = self.targets(question)
        made, reached, scores = [], [], []
        for seen in _chunks(question, layers):
            made.append(self.fused([self.map_of(a, g) for a, g in zip(seen.maps, seen.gradient, strict=True)]).cpu())
            reached.append(seen.reached)
            scores += [] if seen.scores is None else [seen.scores]
        return Maps(
            torch.cat(made),
            notes=tuple(_notes(question, i, layers) for i in range(len(question))),
            layer=named(layers),
            reached=torch.cat(reached),
            scores=torch.cat(scores) if scores else None,
        )


def named(layers: Sequence[Target]) -> str:
    return ", ".join(target.address for target in layers)


def features(question: Question, layers: Sequence[Target], some: Sequence[int]) -> list[Tensor]:
    """What layers give at some of the question's pictures, as maps (n, k, h, w) float32; no gradient."""
    with torch.no_grad(), question.net.reading(question.network_seed) as read:
        given = read(question.pictures[list(some)], {target.address for target in layers})
    return [target.grid.maps(given[target.address]).float() for target in layers]


def _chunks(question: Question, layers: Sequence[Target]) -> Iterator[Seen]:
    with question.net.reading(question.network_seed) as read:

        def run(some: Sequence[int]) -> Seen:
            held: dict[str, Tensor] = {}
            changes = {target.address: _holding(held, target.address) for target in layers}
            pictures = question.pictures[some[0] : some[-1] + 1].contiguous(memory_format=torch.channels_last)
            given = read(pictures, question.reads, changes)
            reached = values([question.resolved[i] for i in some], given)
            gradient = _gradient(reached.sum(), held, layers)
            scores = given.get(OUTPUT)
            return Seen(
                tuple(target.grid.maps(held[target.address].detach()).float() for target in layers),
                tuple(target.grid.maps(g).float() for target, g in zip(layers, gradient, strict=True)),
                reached.detach().cpu(),
                None if scores is None else scores.detach().cpu(),
            )

        for _, part in question.parts(range(len(question)), run):
            yield part


def _holding(held: dict[str, Tensor], address: str) -> Change:
    """Keeps what a layer gave as a place to take the gradient at; what the network goes on with is a copy."""

    def hold(given: Tensor) -> Tensor:
        held[address] = given if given.requires_grad else given.detach().requires_grad_(True)
        return held[address].clone()

    return hold


def _gradient(total: Tensor, held: dict[str, Tensor], layers: Sequence[Target]) -> list[Tensor]:
    missing = [target.address for target in layers if target.address not in held]
    found = (
        torch.autograd.grad(total, [held[target.address] for target in layers], allow_unused=True)
        if not missing and total.requires_grad
        else [None] * len(layers)
    )
    for target, gradient in zip(layers, found, strict=True):
        if gradient is None:
            # Used, and yet without a gradient: forward cuts it between the layer and the objective.
            raise RequestError(f"layer {target.address}: {NO_GRADIENT}" if target.used and not missing else no_part(target))
    return [gradient for gradient in found if gradient is not None]


def no_part(target: Target) -> str:
    return f"layer {target.address} has no part in the objective; one that runs before it is needed"


def _notes(question: Question, i: int, layers: Sequence[Target]) -> tuple[str, ...]:
    own = {target.address for target in layers}
    units = [unit for _, unit in question.resolved[i].terms if isinstance(unit, Neuron) and unit.address in own]
    if not units:
        return ()
    return (f"{units[0]} is one place of the layer that the map is of; an earlier layer= tells what drives that place",)
