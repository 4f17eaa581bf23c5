"""Tiny real networks, one for each habit that has broken tools like this one."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

import phosphene as ph

CLASSES = 5


def plain(channels: int = 3, classes: int = CLASSES) -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(channels, 8, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(8, 12, 3, padding=1),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(12, classes),
    )


def inplace() -> nn.Module:
    """Its rectifiers overwrite what the convolutions gave."""
    return nn.Sequential(
        nn.Conv2d(3, 8, 3), nn.ReLU(inplace=True), nn.Conv2d(8, 8, 3), nn.ReLU6(inplace=True), nn.Flatten(1), nn.LazyLinear(5)
    )


class Functional(nn.Module):
    """Rectifies with functions and one module used twice; batch norm; a shortcut."""

    def __init__(self) -> None:
        super().__init__()
        self.one = nn.Conv2d(3, 8, 3, padding=1)
        self.norm = nn.BatchNorm2d(8)
        self.two = nn.Conv2d(8, 8, 3, padding=1)
        self.relu = nn.ReLU()
        self.head = nn.Linear(8, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.norm(self.one(x)))
        x = self.relu(self.relu(self.two(x)) + x)
        scores: Tensor = self.head(x.mean((2, 3)))
        return scores


class Forked(nn.Module):
    """Gives a dict of a tuple's parts, as training code does."""

    def __init__(self, give: str) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, 8, 3, stride=2), nn.ELU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
        self.head = nn.Linear(8, CLASSES)
        self.give = give

    def forward(self, x: Tensor) -> Any:
        features = self.body(x)
        scores = self.head(features)
        return {"logits": scores, "features": features} if self.give == "dict" else (scores, features)


def random_at_training() -> nn.Module:
    """Dropout and batch norm, left in train mode: what it gives must be as in eval mode."""
    return nn.Sequential(
        nn.Conv2d(3, 8, 3),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.Dropout(0.5),
        nn.AdaptiveAvgPool2d(2),
        nn.Flatten(),
        nn.Linear(32, 5),
    )


def frozen() -> nn.Module:
    return plain().requires_grad_(False)


HABITS: dict[str, Callable[[], nn.Module]] = {
    "plain": plain,
    "inplace": inplace,
    "functional": Functional,
    "dict": lambda: Forked("dict"),
    "tuple": lambda: Forked("tuple"),
    "random at training": random_at_training,
    "frozen": frozen,
}


def made(habit: str, size: int | tuple[int, int] = 12, seed: int = 0) -> nn.Module:
    """The module with seeded weights, lazy ones made, in train mode as users leave them."""
    h, w = (size, size) if isinstance(size, int) else size
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        module = HABITS[habit]()
        with torch.no_grad():
            module(torch.rand(2, 3, h, w))
    return module.train()


def network(habit: str, size: int | tuple[int, int] = 12) -> ph.Network:
    return ph.Network(made(habit, size), ph.Preprocess(size=size, mean=0.5, std=0.25))


@functools.cache
def of_channels(channels: int, size: tuple[int, int] = (12, 16)) -> ph.Network:
    """A network for pictures of that many channels, not square; one for all tests."""
    with torch.random.fork_rng():
        torch.manual_seed(channels)
        module = plain(channels)
    return ph.Network(module, ph.Preprocess(size=size, channels=channels, mean=0.4, std=0.3))
