"""Networks whose maps are known in closed form."""

from __future__ import annotations

import torch
from torch import Tensor, nn

import phosphene as ph

STD = (0.25, 0.5, 0.125)


def linear(size: tuple[int, int] = (6, 9), channels: int = 3, bias: float = 0.7) -> tuple[ph.Network, Tensor]:
    """S_c = Σ w_c · (I − 0.5) / std + bias, and ∂S/∂I = w / std as (2, c, h, w)."""
    h, w = size
    head = nn.Linear(channels * h * w, 2)
    weight = torch.randn(2, channels * h * w, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        head.weight.copy_(weight)
        head.bias.fill_(bias)
    std = STD if channels == 3 else (0.25,) * channels
    preprocess = ph.Preprocess(size=size, channels=channels, mean=0.5, std=std)
    gradient = weight.view(2, channels, h, w) / torch.tensor(std).view(1, -1, 1, 1)
    return ph.Network(nn.Sequential(nn.Flatten(), head), preprocess, ["one", "two"]), gradient


def pictures(count: int, size: tuple[int, int] = (6, 9), channels: int = 3, seed: int = 1) -> Tensor:
    return torch.rand(count, channels, *size, generator=torch.Generator().manual_seed(seed))
