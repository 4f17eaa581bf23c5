"""Batch norms that can be folded into the convolution before them, found from what ran, and folded."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from . import probe

Node = Any  # of the autograd graph


@dataclass(frozen=True)
class Folds:
    """pairs: (address of the convolution, address of the batch norm); changed: the addresses that then give something else."""

    pairs: tuple[tuple[str, str], ...] = ()
    changed: frozenset[str] = frozenset()


def foldable(module: nn.Module, inputs: Tensor, calls: Mapping[str, int]) -> Folds:
    """The pairs that one forward pass shows: nothing but the batch norm uses what the convolution gives.

    Read off the autograd graph, so that a forward method may be written in any way; inputs require a gradient, the module is
    in eval mode. Source: Markuš 2018, "Fusing batch normalization and convolution in runtime", the usual identity.
    """
    made: dict[str, Node] = {}

    def keep(path: str, _run: int, given: Any) -> None:
        tensor = probe.first_tensor(given, strict=False)
        made[path] = None if tensor is None else tensor.grad_fn

    with torch.enable_grad(), probe.watching(module, {path for path in calls if path}, keep):
        output = module(inputs)
    users = _users(_nodes(output))
    own = Counter(id(p) for part in module.modules() for p in part.parameters(recurse=False))
    parts = {path: module.get_submodule(path) for path, runs in calls.items() if path and runs == 1 and made.get(path)}
    convolutions = {
        made[path]: path for path, part in parts.items() if _convolves(part, made[path]) and own[id(part.weight)] == 1
    }
    pairs = []
    for path, part in parts.items():
        before = _input_of(made[path]) if plain(part, nn.BatchNorm2d) and part.running_mean is not None else None
        if before in convolutions and users[before] == 1:
            pairs.append((convolutions[before], path))
    folded = {made[convolution] for convolution, _ in pairs}
    return Folds(tuple(pairs), frozenset(path for path, node in made.items() if node in folded))


def fold(module: nn.Module, pairs: Collection[tuple[str, str]]) -> None:
    """In place: convolutions with the batch norms in them, and nothing where the norms were."""
    with torch.no_grad():
        for convolution, norm in pairs:
            _fold(module.get_submodule(convolution), module.get_submodule(norm))
            parent, _, name = norm.rpartition(".")
            module.get_submodule(parent)._modules[name] = nn.Identity()


def _fold(convolution: Any, norm: Any) -> None:
    """γ (w·x + b − μ) / √(σ² + ε) + β, as one convolution; reckoned in float64."""
    kept = convolution.weight
    scale = (norm.running_var.double() + norm.eps).rsqrt()
    if norm.weight is not None:
        scale = scale * norm.weight.double()
    bias = -norm.running_mean.double() if convolution.bias is None else convolution.bias.double() - norm.running_mean.double()
    bias = bias * scale + (0 if norm.bias is None else norm.bias.double())
    weight = kept.double() * scale.view(-1, 1, 1, 1)
    convolution.weight = nn.Parameter(weight.to(kept.dtype), requires_grad=False)
    convolution.bias = nn.Parameter(bias.to(kept.dtype), requires_grad=False)


def plain(part: nn.Module, kind: type[nn.Module]) -> bool:
    """Of this kind and no subclass, which may do more, without hooks or parametrisations, which may do so too."""
    return type(part) is kind and _bare(part)


def _bare(part: nn.Module) -> bool:
    hooks = part._forward_hooks or part._forward_pre_hooks or part._backward_hooks or part._backward_pre_hooks
    return not hooks and not hasattr(part, "parametrizations")


def _convolves(part: nn.Module, node: Node) -> bool:
    """Whether that node convolved with this module's own weights as they are, whatever was done to the input before."""
    if not isinstance(part, nn.Conv2d) or not _bare(part) or "Convolution" not in node.name():
        return False
    used = node._saved_weight
    return bool(used.data_ptr() == part.weight.data_ptr() and used.shape == part.weight.shape)


def _input_of(node: Node) -> Node:
    """The node that made what a batch norm was given."""
    return node.next_functions[0][0] if "BatchNorm" in node.name() else None


def _nodes(given: Any) -> list[Node]:
    if isinstance(given, Tensor):
        return [] if given.grad_fn is None else [given.grad_fn]
    if isinstance(given, Mapping):
        given = list(given.values())
    return [node for value in given for node in _nodes(value)] if isinstance(given, tuple | list) else []


def _users(roots: Collection[Node]) -> Counter[Node]:
    """How often each node's result is used."""
    users: Counter[Node] = Counter(roots)
    seen, left = set(roots), list(roots)
    while left:
        for node, _ in left.pop().next_functions:
            if node is not None:
                users[node] += 1
                if node not in seen:
                    seen.add(node)
                    left.append(node)
    return users
