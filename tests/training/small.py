"""A small network with dropout and batch norm, data whose augmentation draws random numbers, and a loop that trains it."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset

import phosphene as ph
from phosphene.training import Callback, ClassModels, Loop

EPOCHS, BATCH, ACCUMULATED = 3, 6, 2
CLASSES = ["red", "green", "blue/../up"]  # the last would lead out of a folder
SIZE = 8


class Net(nn.Module):
    """Convolution, batch norm, dropout, pooling, linear; the first layer frozen."""

    def __init__(self, classes: int = 3) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 6, 3, padding=1).requires_grad_(False)
        self.norm = nn.BatchNorm2d(6)
        self.drop = nn.Dropout(0.3)
        self.head = nn.Linear(6, classes)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.head(self.drop(F.relu(self.norm(self.stem(x)))).mean((2, 3)))
        return out


class Pictures(Dataset[tuple[Tensor, int]]):
    """Pictures of one colour in noise; all three sources of random numbers augment them."""

    def __init__(self, count: int = 24) -> None:
        self.count = count

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, i: int) -> tuple[Tensor, int]:
        label = i % 3
        picture = torch.rand(3, SIZE, SIZE) * 0.5
        picture[label] += 0.3 + 0.1 * random.random() + 0.1 * float(np.random.rand())
        return picture, label


def network() -> tuple[Net, ph.Network]:
    """The same weights every time."""
    torch.manual_seed(1)
    module = Net()
    module.train()
    module.norm.eval()  # frozen statistics, as fine-tuning has them
    return module, ph.Network(module, ph.Preprocess(size=SIZE, mean=0.5, std=0.25), classes=CLASSES, name="small")


def seed() -> None:
    random.seed(2)
    np.random.seed(2)
    torch.manual_seed(2)


def loader(workers: int = 1) -> DataLoader[tuple[Tensor, int]]:
    return DataLoader(Pictures(), BATCH, shuffle=True, num_workers=workers, persistent_workers=workers > 0)


def watch(net: ph.Network | nn.Module) -> ClassModels:
    """All that is due is drawn."""
    return ClassModels(net, targets=CLASSES if isinstance(net, ph.Network) else None, steps=3).budget(None)


def rng() -> tuple[Any, ...]:
    return random.random(), float(np.random.rand()), float(torch.rand(()))


def by_hand(module: nn.Module, loop: Loop | None, *, workers: int = 1, bfloat: bool = False, poison: int = -1) -> list[float]:
    """Losses of every batch; gradients of two batches make a step. poison: the step whose loss is made NaN."""
    seed()
    optimiser = torch.optim.SGD([p for p in module.parameters() if p.requires_grad], lr=0.1, momentum=0.9)
    data, losses = loader(workers), list[float]()
    for _ in range(EPOCHS):
        for i, (pictures, labels) in enumerate(data):
            with torch.autocast("cpu", torch.bfloat16, enabled=bfloat):
                loss = F.cross_entropy(module((pictures - 0.5) / 0.25), labels)
            if len(losses) == poison:
                loss = loss * float("nan")
            loss.backward()
            losses.append(float(loss.detach()))
            if i % ACCUMULATED == 1:
                optimiser.step()
                optimiser.zero_grad()
                if loop:
                    loop.step()
        if loop:
            loop.epoch()
            loop.val()
    return losses


def assert_same(train: Callable[[nn.Module, Callback | None], list[float]], put: Callable[[ClassModels], Callback]) -> Callback:
    """Losses, weights and random numbers after a training are, to the last bit, those of one without the callback."""
    module, _ = network()
    losses = train(module, None)
    after = rng()
    other, net = network()
    modes = {name: part.training for name, part in other.named_modules()}
    wishes = {name: p.requires_grad for name, p in other.named_parameters()}
    callback = put(watch(net))
    assert train(other, callback) == losses
    assert rng() == after
    assert len(losses) >= 2 * EPOCHS
    for (name, mine), theirs in zip(other.state_dict().items(), module.state_dict().values(), strict=True):
        assert torch.equal(mine, theirs), name
    assert wishes == {name: p.requires_grad for name, p in other.named_parameters()}
    assert set(modes) == {name for name, _ in other.named_modules()}
    assert not any(part._forward_hooks or part._forward_pre_hooks or part._backward_hooks for part in other.modules())
    assert callback.problems == []
    assert callback.drawings >= EPOCHS
    return callback
