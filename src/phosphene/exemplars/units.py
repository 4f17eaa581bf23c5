"""Which units a scan ranks, and what a network gives for them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from ..errors import RequestError
from ..network.layout import Layout
from ..network.network import Network
from ..objectives import units as kinds
from ..objectives.expression import Objective
from ..objectives.spec import Meant, coerce, listed, several
from ..results.question import fitted


@dataclass(frozen=True)
class Group:
    """Units that are ranked together: channels of one layer at all their places, or objectives, one number a picture.

    rows: their places in the order in which they were asked for; picked: the channels, None where all in their order
    """

    rows: tuple[int, ...]
    address: str | None = None
    picked: tuple[int, ...] | None = None
    objectives: tuple[Objective, ...] = ()
    axis: int = 1  # of the layer's channels

    def values(self, given: Mapping[str, Tensor]) -> Tensor:
        """(b, units, places), float32"""
        if self.address is None:
            return torch.stack([objective(given) for objective in self.objectives], 1).float()[:, :, None]
        tensor = given[self.address].movedim(self.axis, 1)
        if self.picked is not None:
            tensor = tensor[:, list(self.picked)]
        return tensor.flatten(2).float() if tensor.ndim > 2 else tensor[:, :, None].float()


@dataclass(frozen=True)
class Asked:
    """The objectives in the order asked for, in groups, and how their layers are laid out."""

    objectives: tuple[Objective, ...]
    groups: tuple[Group, ...]
    layouts: Mapping[str, Layout]

    @cached_property
    def reads(self) -> frozenset[str]:
        return frozenset().union(*(objective.reads for objective in self.objectives))

    def place(self, row: int, place: int) -> tuple[str, int, int] | None:
        """The address and the (y, x) that the entry of an objective stands for; None if it is of the whole picture."""
        unit = self.objectives[row].only
        if not isinstance(unit, kinds.Neuron | kinds.Channel) or (grid := self.layouts[unit.address].grid) is None:
            return None
        at = grid.position(*(unit.place[1:] if isinstance(unit, kinds.Neuron) else (place,)))
        return None if at is None else (unit.address, *at)


def asked(net: Network, objectives: Meant | Sequence[Meant]) -> Asked:
    """What is to be ranked, checked against the network. Texts may name many units: channel:stage3.0:*."""
    wanted: list[Objective] = []
    for one in listed(objectives):
        wanted += several(one, net.channels, net.index) if isinstance(one, str) else [coerce(one, net.index)]
    if not wanted:
        raise RequestError("no objectives; at least one is needed, such as channel:LAYER:*")
    resolved = dict.fromkeys(one.resolved(net.index, net.link) for one in wanted)
    bound = tuple(one.bound(lambda photo, address: _features(net, photo, address)) for one in resolved)
    layouts = net.layouts(frozenset().union(*(one.reads for one in bound)))
    bound = tuple(one.laid_out(layouts) for one in bound)
    return Asked(bound, _groups(bound, layouts), layouts)


def _groups(objectives: Sequence[Objective], layouts: Mapping[str, Layout]) -> tuple[Group, ...]:
    layers: dict[str, list[tuple[int, int]]] = {}
    others: list[int] = []
    for row, objective in enumerate(objectives):
        unit = objective.only
        if isinstance(unit, kinds.Channel):
            layers.setdefault(unit.address, []).append((row, unit.index))
        else:
            others.append(row)
    found = []
    for address, pairs in layers.items():
        picked = tuple(index for _, index in pairs)
        every = picked == tuple(range(layouts[address].channels_first[0]))
        found.append(Group(tuple(row for row, _ in pairs), address, None if every else picked, axis=layouts[address].axis or 1))
    if others:
        found.append(Group(tuple(others), objectives=tuple(objectives[row] for row in others)))
    return tuple(found)


def _features(net: Network, photo: Tensor | str, address: str) -> Tensor:
    from ..objectives.likeness import file_of
    from ..pictures.converting import read

    picture = photo if isinstance(photo, Tensor) else read(file_of(photo), channels=net.preprocess.bands)
    return net.features(fitted(net, picture), address)
