"""Canvases: how a picture is written as free numbers, and the plainest one, pixels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from .. import checks
from ..errors import RequestError, shown
from ..network.preprocess import Preprocess
from ..pictures.converting import read
from ..seeding import stream

STARTS = ("mean", "zeros", "noise")


class Surface(Protocol):
    """A canvas cut to one size, on one device: free numbers (b, …) and the pictures (b, c, h, w) they stand for."""

    def start(self, names: Sequence[str], seed: int, attempt: int) -> Tensor:
        """The numbers to begin with, item by item; a later attempt begins elsewhere."""
        ...

    def picture(self, numbers: Tensor) -> Tensor:
        """In [0, 1]; differentiable."""
        ...

    def numbers(self, pictures: Tensor) -> Tensor:
        """The numbers of given pictures, as near as the canvas can come: for projections."""
        ...

    def settled(self, numbers: Tensor) -> Tensor:
        """The nearest numbers that are allowed, after a step."""
        ...


class Canvas(Protocol):
    """A frozen description of a surface."""

    @property
    def fixed(self) -> str:
        """What no projection may change, in words; "" where all make sense."""
        ...

    @property
    def files(self) -> tuple[str, ...]:
        """The files that it reads."""
        ...

    def surface(self, mean: Tensor) -> Surface:
        """For pictures of the shape and device of the mean picture (1, c, h, w)."""
        ...


@dataclass(frozen=True)
class Pixels:
    """See `pixels`."""

    start_from: str = "mean"
    spread: float = 0.05
    fixed = ""

    def __post_init__(self) -> None:
        check_start(self.start_from)
        checks.real("spread", self.spread, low=0, high=1)

    @property
    def files(self) -> tuple[str, ...]:
        return start_files(self.start_from)

    def surface(self, mean: Tensor) -> PixelSurface:
        return PixelSurface(self, mean, beginning(self.start_from, mean))


@dataclass(frozen=True)
class PixelSurface:
    """The picture itself, kept in [0, 1]."""

    canvas: Pixels
    mean: Tensor
    first: Tensor

    def start(self, names: Sequence[str], seed: int, attempt: int) -> Tensor:
        if attempt == 0 and self.canvas.start_from != "noise":
            return self.first.repeat(len(names), 1, 1, 1)
        # Later attempts go further and further from the beginning: a dead unit may wake on stronger contrast.
        spread = self.canvas.spread if attempt == 0 else 0.05 * 2.0 ** (attempt - 1)
        return (self.first + spread * fields(names, seed, attempt, self.mean)).clamp(0, 1)

    def picture(self, numbers: Tensor) -> Tensor:
        return numbers

    def numbers(self, pictures: Tensor) -> Tensor:
        return pictures.clamp(0, 1)

    def settled(self, numbers: Tensor) -> Tensor:
        return numbers.clamp(0, 1)


def pixels(start: str = "mean", spread: float = 0.05) -> Pixels:
    """The canvas whose free numbers are the pixels, kept in [0, 1] after every step.

    start "mean", "zeros" (black), "noise" (mean picture + spread · Gaussian noise), or the path of a picture.
    Source: Simonyan, Vedaldi & Zisserman 2013, §2. Differs: clipped to what a picture can show, so that the network never
    scores a picture that cannot be saved.
    """
    return Pixels(start, spread)


def check_start(start: str) -> None:
    """A word of STARTS, or a picture's path: something with a suffix."""
    if not isinstance(start, str) or (start not in STARTS and "." not in start):
        raise RequestError(f"start {shown(start)}; mean, zeros, noise or the path of a picture is needed")


def start_files(start: str) -> tuple[str, ...]:
    return () if start in STARTS else (start,)


def beginning(start: str, mean: Tensor) -> Tensor:
    """The picture (1, c, h, w) from which an ascent begins, before any noise."""
    if start == "zeros":
        return torch.zeros_like(mean)
    if start in STARTS:
        return mean
    _, c, h, w = mean.shape
    # Scaled to cover the size, its middle: what a photograph undergoes before a network that crops.
    fitting = Preprocess(size=(h, w), channels=c, resize=min(h, w))
    return fitting.fit(read(start, channels=fitting.bands)).to(mean)


def fields(names: Sequence[str], seed: int, attempt: int, like: Tensor) -> Tensor:
    """Gaussian noise (b, …) of the shape of `like` (1, …), for every item its own."""
    shape = tuple(like.shape[1:])
    return torch.stack([torch.randn(shape, generator=stream(seed, "start", str(attempt), n)) for n in names]).to(like)
