"""A map that knows nothing: what every other has to beat."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import torch
from torch import Tensor

from ..results.method import Maps, Method
from ..results.question import Question
from ..seeding import stream


@dataclass(frozen=True)
class RandomMap(Method):
    """Independent uniform numbers in [0, 1), one a pixel: a seeded baseline.

    They belong to the seed and to what the picture shows, rounded to 8 bits: not to its place in a batch, nor to the network or
    the objective.
    """

    @property
    def name(self) -> str:
        return "random"

    def __call__(self, question: Question) -> Maps:
        return Maps(torch.stack([_drawn(question.seed, picture) for picture in question.pictures]))


def _drawn(seed: int, picture: Tensor) -> Tensor:
    shown = (picture.clamp(0, 1) * 255).round().byte().cpu().contiguous()
    whose = hashlib.blake2b(shown.numpy().tobytes(), digest_size=16).hexdigest()
    return torch.rand(picture.shape[1:], generator=stream(seed, "random map", whose))
