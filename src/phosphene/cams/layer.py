"""Which layer a map is of: the last one with places before the head, found from what ran."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor

from ..errors import RequestError
from ..network import addresses
from ..network.grid import Grid
from ..network.network import Network
from ..network.probe import Change
from ..network.receptive import Pair
from ..seeding import stream

# Nodes of the autograd graph that only hand numbers on; their names are private to torch, and a test pins them.
_HANDING_ON = ("Clone", "View", "UnsafeView", "ReshapeAlias", "Alias", "Permute", "Transpose", "Unsqueeze", "Squeeze", "ToCopy")
# It is the network's structure that is looked at, which costs a forward and a backward pass and does not change.
_KEPT: WeakKeyDictionary[Network, dict[Any, tuple[Target, ...]]] = WeakKeyDictionary()


_FIRST_ASKED = 8  # layers from the end whose gradients are asked for first; it is mostly one of them
_SAME = 1e-5  # of the largest value: below it two outcomes are the same up to rounding


@dataclass(frozen=True)
class Target:
    """A layer with places: its address, and where they are in what it gives.

    used: False where what is asked for is not computed from the layer
    """

    address: str
    grid: Grid
    used: bool = True


@dataclass(frozen=True, eq=False)
class _Seen:
    target: Target
    given: Tensor
    made_by: Any  # the autograd node
    pools: bool = False  # the module is one that pools

    @property
    def pooled(self) -> bool:
        if self.pools:
            return True
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
        named = [_named(seen, layer) for layer in layers]
        used = _used(named, total) if total is not None else [_by_change(net, reads, one, leaf)[0] for one in named]
        return tuple(replace(one.target, used=part) for one, part in zip(named, used, strict=True))
    found = _last(seen, total, leaf) if total is not None else _last_without_gradient(net, reads, seen, leaf)
    if found is None:
        raise RequestError(
            f"{net.name} has no layer with places, maps (b, k, h, w) or tokens (b, n, k), before {_said(reads)}; "
            "explain asks for the pixels themselves"
        )
    return (found.target,)


def _last(seen: Sequence[_Seen], total: Tensor, leaf: Tensor) -> _Seen | None:
    """The last that all goes through; else one that is pooled, else one on some of the ways, else the last at all."""
    if not seen:
        return None
    pooled = partly = None
    for one in _with_gradient(seen, total):
        if (one.pooled and pooled) or (partly and _passes_by(total, one.made_by, leaf)):
            continue
        if _passes_by(total, one.made_by, leaf):
            partly = one
        elif one.pooled:
            pooled = one
        else:
            return one
    return pooled or partly or seen[-1]


def _with_gradient(seen: Sequence[_Seen], total: Tensor) -> Iterator[_Seen]:
    """From the last on those with a gradient at a place: of the last block's tokens only the class token may have one."""
    able = [one for one in reversed(seen) if one.given.requires_grad]
    for some in (able[:_FIRST_ASKED], able[_FIRST_ASKED:]):
        if some:
            given = [one.given for one in some]
            gradients = torch.autograd.grad(total, given, retain_graph=True, allow_unused=True)
            pairs = zip(some, gradients, strict=True)
            yield from [one for one, g in pairs if g is not None and bool(one.target.grid.maps(g).any())]


def _used(seen: Sequence[_Seen], total: Tensor) -> list[bool]:
    able = [one.given for one in seen if one.given.requires_grad]
    found = iter(torch.autograd.grad(total, able, retain_graph=True, allow_unused=True) if able else ())
    return [one.given.requires_grad and next(found) is not None for one in seen]


def _last_without_gradient(net: Network, reads: Collection[str], seen: Sequence[_Seen], leaf: Tensor) -> _Seen | None:
    """As `_last`, found by what changes: for networks that no gradient passes."""
    pooled = partly = None
    for one in reversed(seen):
        if one.pooled and pooled:
            continue
        used, alone = _by_change(net, reads, one, leaf)
        if used and not alone:
            partly = partly or one
        elif used and one.pooled:
            pooled = one
        elif used:
            return one
    return pooled or partly or (seen[-1] if seen else None)


def _by_change(net: Network, reads: Collection[str], one: _Seen, leaf: Tensor) -> tuple[bool, bool]:
    """Whether other numbers at the layer's places change what is read, and whether nothing else of the picture does."""
    noise = torch.randn(one.given.shape, generator=stream(0, "layer", one.target.address))

    def other(given: Tensor) -> Tensor:
        changed = given.dequantize() if given.is_quantized else given.clone()
        maps = one.target.grid.maps(changed)
        maps.add_(one.target.grid.maps(noise.to(changed)) * maps.abs().mean().clamp(min=1e-3) * 4)
        if given.is_quantized:
            return torch.quantize_per_tensor(changed, given.q_scale(), given.q_zero_point(), given.dtype)
        return changed

    def outcome(picture: Tensor, change: Change) -> Tensor:
        given = read(picture, reads, {one.target.address: change})
        return torch.cat([given[address].float().flatten() for address in sorted(reads)])

    with torch.inference_mode(False), torch.no_grad(), net.reading() as read:
        plain = outcome(leaf.detach(), lambda _: one.given)
        moved = outcome(leaf.detach(), other)
        elsewhere = outcome(leaf.detach().flip(2, 3), lambda _: one.given)
    rounding = _SAME * float(plain.abs().max())
    return bool((moved - plain).abs().max() > rounding), bool((elsewhere - plain).abs().max() <= rounding)


def _look(net: Network, reads: Collection[str], size: Pair, layers: Sequence[str]) -> tuple[list[_Seen], Tensor | None, Tensor]:
    """What ran and has places, in the order in which it was done, for a picture of noise; a number that hangs on all read."""
    seen: list[_Seen] = []
    asked = tuple(dict.fromkeys((*net.calls, *layers)))
    layouts = net.layouts(asked, size, every=False)

    def pools(address: str, given: Tensor) -> bool:
        """By the module's kind, where the graph does not tell; a container gives what the last in it gave."""
        module = net.module.get_submodule(addresses.split(address, net.calls)[0])
        inner = seen[-1] if seen else None
        return "Pool" in type(module).__name__ or (inner is not None and inner.pools and torch.equal(inner.given, given))

    def looking(address: str) -> Any:
        grid = layouts[address].grid if address in layouts else None

        def look(given: Tensor) -> Tensor:
            if grid is None or grid.size == (1, 1):
                return given
            # The copy is what the network goes on with. Other tensors that the module returned beside this one, such as a
            # pooled output, are made from `given` and not from the copy, so the question is whether the copy is used.
            copy = given.clone()
            seen.append(_Seen(Target(address, grid), copy, copy.grad_fn, not given.requires_grad and pools(address, given)))
            return copy.clone()  # may be overwritten in place

        return look

    draws = stream(0, "layer")
    leaf = torch.rand((1, net.preprocess.channels, *size), generator=draws).to(net.device)
    leaf.requires_grad_(not net.reentrant)
    with torch.inference_mode(False), torch.enable_grad(), net.reading() as read:
        given = read(leaf, reads, {address: looking(address) for address in asked})
        parts = [given[address].float() for address in sorted(reads)]
        weighted = [(part * torch.randn(part.shape, generator=draws).to(part)).sum() for part in parts if part.requires_grad]
    return seen, torch.stack(weighted).sum() if weighted else None, leaf


def _named(seen: Sequence[_Seen], layer: str) -> _Seen:
    for one in seen:
        if one.target.address == layer:
            return one
    places = [one.target.address for one in seen]
    few = f"{', '.join(places[-3:])} have" if places else "no layer has"
    raise RequestError(f"layer {layer} has no places (or runs after what is asked for); maps or tokens are needed: {few} them")


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
