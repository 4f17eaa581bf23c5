"""A held-back copy of a network: nearly the same one, that did not take part in the drawing."""

from __future__ import annotations

import copy

import torch
from torch import nn

from ..network.network import Network
from ..network.probe import tensors
from ..seeding import stream

STRENGTH = 0.1  # standard deviation of what weights are multiplied by


def perturbed(net: Network, seed: int = 0, strength: float = STRENGTH) -> Network | None:
    """A copy whose weights are each multiplied by 1 + strength · a Gaussian number; None where the module cannot be copied.

    The numbers of a weight are of its own stream, (seed, "perturbed", its name). Buffers are kept, batch norm's statistics
    among them. The network itself is left as it was.
    """
    twin = copied(net.module)
    if twin is None:
        return None
    with torch.inference_mode(False), torch.no_grad():
        for name, weight in twin.named_parameters():
            drawn = torch.randn(weight.shape, generator=stream(seed, "perturbed", name))
            weight.copy_(weight * (1 + strength * drawn).to(weight))
    return with_module(net, twin, "perturbed")


def with_module(net: Network, module: nn.Module, word: str) -> Network:
    """As `net` in everything else, what picks its scores included."""
    name = f"{net.name}, {word}"
    return Network(module, net.preprocess, net.classes, output=net._output, name=name, batch=net.batch, notes=net.notes)


def copied(module: nn.Module) -> nn.Module | None:
    """A copy that shares no memory with the module."""
    with torch.inference_mode(False), torch.no_grad():
        try:
            twin = copy.deepcopy(module)
        except Exception:  # whatever a module's own __deepcopy__ or members raise
            return None
    ours = {tensor.data_ptr() for tensor in tensors(twin).values() if tensor.numel()}
    theirs = {tensor.data_ptr() for tensor in tensors(module).values() if tensor.numel()}
    return None if ours & theirs else twin
