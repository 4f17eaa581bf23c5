"""Observers: told of every step of an ascent, without a part in it."""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor

FRAMES = 48  # of an animation: 12 a second for four seconds
FRAME_BYTES = 256 << 20  # of all frames of one call; fewer frames are kept where that would be passed


class Observer(Protocol):
    """done of items pictures are finished; this batch has made `step` of `steps` steps.

    pictures (b, c, h, w) after the step, values (b,) of the objectives as the network saw the pictures in it.
    """

    def on_step(self, done: int, items: int, step: int, steps: int, pictures: Tensor, values: Tensor) -> None: ...


class Frames:
    """Keeps the pictures as bytes at steps spread evenly over the ascent, the start and the end among them."""

    def __init__(self, count: int, steps: int) -> None:
        self.steps = frame_steps(count, steps)
        self._kept: list[Tensor] = []

    def take(self, step: int, pictures: Tensor) -> None:
        """step 0 is the start."""
        if step in self.steps:
            self._kept.append((pictures.detach().clamp(0, 1) * 255).round().to(torch.uint8).cpu())

    def fill(self, pictures: Tensor) -> None:
        """The pictures for all steps that are not reached."""
        for step in self.steps[len(self._kept) :]:
            self.take(step, pictures)

    def stacked(self, pictures: Tensor) -> Tensor:
        """(n, b, c, h, w) uint8"""
        return torch.stack(self._kept) if self._kept else pictures.new_empty((0, *pictures.shape), dtype=torch.uint8).cpu()


def frame_steps(count: int, steps: int) -> tuple[int, ...]:
    """
    >>> frame_steps(5, 128), frame_steps(0, 128), frame_steps(48, 3)
    ((0, 32, 64, 96, 128), (), (0, 1, 2, 3))
    """
    count = min(count, steps + 1)
    if count < 2:
        return (steps,) if count else ()
    return tuple(round(i * steps / (count - 1)) for i in range(count))


def affordable(wanted: int, numbers: int) -> int:
    """How many frames of so many numbers each are kept."""
    return max(0, min(wanted, FRAME_BYTES // max(numbers, 1)))
