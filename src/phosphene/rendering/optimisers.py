"""Optimisers: how far a step goes. Written here, since torch's own bring in its compiler, which takes seconds to import."""

from __future__ import annotations

import math

import torch
from torch import Tensor

FIRST, SECOND, EPSILON = 0.9, 0.999, 1e-8  # Kingma & Ba 2015: decay of the means, least size of a gradient
DECAY = 0.004  # of NAdam's momentum, as torch has it


class Steepest:
    """Along the gradient, so far that each picture's numbers change by `lr` on root-mean-square average."""

    def step(self, numbers: Tensor, uphill: Tensor, lr: float) -> None:
        """In place."""
        length = uphill.flatten(1).square().mean(1).sqrt().clamp(min=torch.finfo(uphill.dtype).tiny)
        numbers.add_(uphill * (lr / length).view(-1, *[1] * (uphill.ndim - 1)))

    def keep(self, rows: Tensor) -> None:
        """Go on with these pictures alone."""


class Adam:
    """Source: Kingma & Ba 2015, algorithm 1."""

    def __init__(self) -> None:
        self._steps = 0
        self._mean: Tensor | None = None
        self._square: Tensor | None = None

    def step(self, numbers: Tensor, uphill: Tensor, lr: float) -> None:
        """In place."""
        mean, size = self._seen(uphill)
        numbers.addcdiv_(mean, size, value=lr / (1 - FIRST**self._steps))

    def keep(self, rows: Tensor) -> None:
        """Go on with these pictures alone."""
        self._mean = None if self._mean is None else self._mean[rows]
        self._square = None if self._square is None else self._square[rows]

    def _seen(self, uphill: Tensor) -> tuple[Tensor, Tensor]:
        """The gradient's running mean, and its root mean square."""
        if self._mean is None or self._square is None:
            self._mean, self._square = torch.zeros_like(uphill), torch.zeros_like(uphill)
        self._steps += 1
        self._mean.lerp_(uphill, 1 - FIRST)
        self._square.mul_(SECOND).addcmul_(uphill, uphill, value=1 - SECOND)
        size = self._square.sqrt().div_(math.sqrt(1 - SECOND**self._steps)).add_(EPSILON)
        return self._mean, size


class NAdam(Adam):
    """Adam that looks ahead. Source: Dozat 2016, algorithm 2; the momentum's schedule is torch's."""

    def __init__(self) -> None:
        super().__init__()
        self._product = 1.0

    def step(self, numbers: Tensor, uphill: Tensor, lr: float) -> None:
        """In place."""
        mean, size = self._seen(uphill)
        now, then = (FIRST * (1 - 0.5 * 0.96 ** (step * DECAY)) for step in (self._steps, self._steps + 1))
        self._product *= now
        numbers.addcdiv_(uphill, size, value=lr * (1 - now) / (1 - self._product))
        numbers.addcdiv_(mean, size, value=lr * then / (1 - self._product * then))


OPTIMISERS: dict[str, type[Steepest | Adam]] = {"sgd": Steepest, "adam": Adam, "nadam": NAdam}
