"""Canvases: how a picture is written as free numbers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

import torch
from torch import Tensor

from .. import checks
from ..errors import RequestError, shown
from ..seeding import stream

Start = Literal["mean", "zeros", "noise"]


class Canvas(Protocol):
    """Free numbers (b, …) and the pictures (b, c, h, w) in [0, 1] that they stand for."""

    def start(self, names: Sequence[str], seed: int, mean: Tensor, attempt: int) -> Tensor:
        """The numbers to begin with, item by item; a later attempt begins elsewhere. mean (1, c, h, w)."""
        ...

    def picture(self, numbers: Tensor) -> Tensor:
        """Differentiable."""
        ...

    def numbers(self, pictures: Tensor) -> Tensor:
        """The numbers of given pictures, as near as the canvas can come: for projections."""
        ...


@dataclass(frozen=True)
class Pixels:
    """The picture itself, kept in [0, 1].

    start: "mean", the mean picture (the zero-centred zero image of Simonyan et al. 2013); "zeros", black; "noise", the mean
    picture plus Gaussian noise of standard deviation `spread`, for every item its own.
    """

    start_from: Start = "mean"
    spread: float = 0.05

    def __post_init__(self) -> None:
        if self.start_from not in ("mean", "zeros", "noise"):
            raise RequestError(f"start {shown(self.start_from)}; mean, zeros or noise is needed")
        checks.real("spread", self.spread, low=0, high=1)

    def start(self, names: Sequence[str], seed: int, mean: Tensor, attempt: int) -> Tensor:
        if attempt == 0 and self.start_from != "noise":
            one = torch.zeros_like(mean) if self.start_from == "zeros" else mean
            return one.repeat(len(names), 1, 1, 1)
        # Later attempts go further and further from the mean: a dead unit may wake on stronger contrast.
        spread = self.spread if attempt == 0 else 0.05 * 2.0 ** (attempt - 1)
        fields = [torch.randn(mean.shape[1:], generator=stream(seed, "start", str(attempt), n)) for n in names]
        return (mean + spread * torch.stack(fields).to(mean)).clamp(0, 1)

    def picture(self, numbers: Tensor) -> Tensor:
        return numbers

    def numbers(self, pictures: Tensor) -> Tensor:
        return pictures.clamp(0, 1)


def pixels(start: Start = "mean", spread: float = 0.05) -> Pixels:
    """The canvas whose free numbers are the pixels, kept in [0, 1] after every step.

    start "mean", "zeros" (black) or "noise" (mean picture + spread · Gaussian noise).
    Source: Simonyan, Vedaldi & Zisserman 2013, §2. Differs: clipped to what a picture can show, so that the network never
    scores a picture that cannot be saved.
    """
    return Pixels(start, spread)
