"""Which layer a map is of: the last one with places before the head, found from what ran."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor

from ..errors import RequestError
from ..network.grid import Grid
from ..network.network import Network
from ..network.receptive import Pair
from ..seeding import stream

# Nodes of the autograd graph that only hand numbers on; their names are private to torch, and a test pins them.
_HANDING_ON = ("Clone", "View", "UnsafeView", "ReshapeAlias", "Alias", "Permute", "Transpose", "Unsqueeze", "Squeeze", "ToCopy")
# It is the network's structure that is looked at, which costs a forward and a backward pass and does not change.
_KEPT: WeakKeyDictionary[Network, dict[Any, tuple[Target, ...]]] = WeakKeyDictionary()


@dataclass(frozen=True)
class Target:
    """A layer with places: its address, and where they are in what it gives."""

    address: str
    grid: Grid


@dataclass(frozen=True, eq=False)
class _Seen:
    target: Target
    given: Tensor
    made_by: Any  # the autograd node

    @property
    def pooled(self) -> bool:
        node = self.made_by
        while node is not None and node.name().startswith(_HANDING_ON):
            node = node.next_functions[0][0]
        return node is not None and "Pool" in node.name()


def targets(net: Network, reads: Collection[str], size: Pair, layers: Sequence[str] = ()) -> tuple[Target, ...]:
    """The layers of these addresses, or the last with places that all of what is read depends on, for pictures of (h, w).

    That is: everything the picture does to what is read goes through the layer, and its places have a gradient. The last
    block of a vision transformer is none, since the class token alone is read after it. Pooling that still leaves places
    counts to the head, as with VGG's.
    """
    kept = _KEPT.setdefault(net, {})
    key = (frozenset(reads), size, tuple(layers))
    if key not in kept:
        net.check_addresses(layers)
        kept[key] = _found(net, reads, size, layers)
    return kept[key]


def _found(net: Network, reads: Collection[str], size: Pair, layers: Sequence[str]) -> tuple[Target, ...]:
    seen, total, leaf = _look(net, reads, size, layers)
    if layers:
        return tuple(_named(net, seen, layer) for layer in layers)
    found = _last(seen, total, leaf)
    if found is None:
        raise RequestError(
            f"{net.name} has no layer with places, maps (b, k, h, w) or tokens (b, n, k), before {_said(reads)}; "
            "explain asks for the pixels themselves"
        )
    return (found.target,)


def _last(seen: Sequence[_Seen], total: Tensor | None, leaf: Tensor) -> _Seen | None:
    """The last that all goes through; else one that is pooled, else one on some of the ways, else the last at all."""
    if total is None or not seen:
        return seen[-1] if seen else None
    pooled = partly = None
    for one in reversed(seen):  # the costly question last: a gradient each
        if (one.pooled and pooled) or (partly and _passes_by(total, one.made_by, leaf)) or not _has_gradient(one, total):
            continue
        if _passes_by(total, one.made_by, leaf):
            partly = one
        elif one.pooled:
            pooled = one
        else:
            return one
    return pooled or partly or seen[-1]


def _look(net: Network, reads: Collection[str], size: Pair, layers: Sequence[str]) -> tuple[list[_Seen], Tensor | None, Tensor]:
    """What ran and has places, in the order in which it was done, for a picture of noise; a number that hangs on all read."""
    seen: list[_Seen] = []
    asked = tuple(dict.fromkeys((*net.calls, *layers)))
    layouts = net.layouts(asked, size, every=False)

    def looking(address: str) -> Any:
        grid = layouts[address].grid if address in layouts else None

        def look(given: Tensor) -> Tensor:
            if grid is None or grid.size == (1, 1):
                return given
            # The copy is what the network goes on with. Other tensors that the module returned beside this one, such as a
            # pooled output, are made from `given` and not from the copy, so the question is whether the copy is used.
            copy = given.clone()
            seen.append(_Seen(Target(address, grid), copy, copy.grad_fn))
            return copy.clone()  # may be overwritten in place

        return look

    draws = stream(0, "layer")
    leaf = torch.rand((1, net.preprocess.channels, *size), generator=draws).to(net.device)
    leaf.requires_grad_(not (layers and net.reentrant))  # layers that are named are found without a gradient
    with torch.inference_mode(False), torch.enable_grad(), net.reading() as read:
        given = read(leaf, reads, {address: looking(address) for address in asked})
        parts = [given[address].float() for address in sorted(reads)]
        weighted = [(part * torch.randn(part.shape, generator=draws).to(part)).sum() for part in parts if part.requires_grad]
    return seen, torch.stack(weighted).sum() if weighted else None, leaf


def _named(net: Network, seen: Sequence[_Seen], layer: str) -> Target:
    for one in seen:
        if one.target.address == layer:
            return one.target
    places = [one.target.address for one in seen]
    few = f"{', '.join(places[-3:])} have" if places else "no layer has"
    raise RequestError(f"layer {layer} has no places (or runs after what is asked for); maps or tokens are needed: {few} them")


def _has_gradient(one: _Seen, total: Tensor) -> bool:
    """At a place: of the last block's tokens only the class token may have one."""
    if not one.given.requires_grad:
        return False
    (gradient,) = torch.autograd.grad(total, one.given, retain_graph=True, allow_unused=True)
    return gradient is not None and bool(one.target.grid.maps(gradient).any())


def _passes_by(total: Tensor, node: Any, leaf: Tensor) -> bool:
    """Whether the picture reaches the total on a way that does not lead through the node."""
    return any(getattr(one, "variable", None) is leaf for one in _before(total, node))


def _before(total: Tensor, end: Any) -> Iterator[Any]:
    left: list[Any] = [total.grad_fn]
    met = {end}
    while left:
        node = left.pop()
        if node is not None and node not in met:
            met.add(node)
            yield node
            left += [before for before, _ in node.next_functions]


def _said(reads: Collection[str]) -> str:
    return "the scores" if "" in reads else ", ".join(sorted(reads))
