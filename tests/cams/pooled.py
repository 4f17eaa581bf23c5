"""Networks whose class activation maps are known in closed form."""

from __future__ import annotations

import torch
from torch import Tensor, nn

import phosphene as ph

SIZE = (8, 12)


def weights(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def module(*between: nn.Module, bias: bool = True) -> nn.Sequential:
    """Maps, global average pooling, five scores. "0" has no bias, so that dark maps are zero."""
    made = nn.Sequential(
        nn.Conv2d(3, 6, 3, padding=1, bias=False), *between, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, 5, bias=bias)
    )
    with torch.no_grad():
        for i, parameter in enumerate(made.parameters()):
            parameter.copy_(weights(*parameter.shape, seed=i))
    return made


def net(*between: nn.Module, bias: bool = True, size: tuple[int, int] = SIZE) -> ph.Network:
    return ph.Network(module(*between, bias=bias), ph.Preprocess(size=size, mean=0.5, std=0.25), list("abcde"))


def pictures(count: int = 2, size: tuple[int, int] = SIZE, seed: int = 1) -> Tensor:
    return torch.rand(count, 3, *size, generator=torch.Generator().manual_seed(seed))


def last(of: ph.Network) -> nn.Linear:
    """The layer that makes the scores."""
    *_, found = (part for part in of.module.modules() if isinstance(part, nn.Linear))
    return found


def zhou(of: ph.Network, shown: Tensor, c: int, layer: str) -> Tensor:
    """Σ_k w_ck f_kp / hw, by hand."""
    f = of.features(shown, layer)
    return torch.einsum("k,bkhw->bhw", last(of).weight.detach()[c], f) / f[0, 0].numel()


def close(a: Tensor, b: Tensor, tolerance: float = 1e-5) -> bool:
    return a.shape == b.shape and float((a - b).abs().max()) <= tolerance * float(b.abs().max())
