"""Views: a random change of view per picture and step, so that what is drawn does not hang on single pixels.

Every item draws from streams of its own, (seed, "view", objective), so its views do not depend on its neighbours. Shifts,
turns and scalings of one step are one matrix and one resampling; changes of colour come after it, noise last: a stretch of a
bank of Gaussian numbers that all items share, from a place of the item's own. New ones each time are too slow for a GPU.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from .. import checks
from ..errors import RequestError, shown
from ..seeding import stream

Border = Literal["black", "mean", "reflect"]
BANK = 1 << 22  # Gaussian numbers in the bank, at least
ROOM = 2  # pictures that the bank holds, at least


class View:
    """A random change of view; `draws` uniform numbers in [−1, 1) decide it."""

    draws = 0


@dataclass(frozen=True)
class Move(View):
    """A change of view that is a matrix."""

    def matrix(self, u: Tensor, size: tuple[int, int]) -> Tensor:
        """u (b, draws) -> (b, 3, 3): from places of the view to places of the picture, (x, y, 1) in pixels about the centre."""
        raise NotImplementedError


@dataclass(frozen=True)
class Jitter(Move):
    """See `jitter`."""

    fraction: float
    draws = 2

    def __post_init__(self) -> None:
        checks.real("fraction of jitter", self.fraction, low=0, high=1)

    def matrix(self, u: Tensor, size: tuple[int, int]) -> Tensor:
        h, w = size
        matrix = torch.eye(3).repeat(len(u), 1, 1)
        for row, side in ((0, w), (1, h)):
            most = round(self.fraction * side)  # whole pixels: nothing is resampled, so nothing is blurred
            matrix[:, row, 2] = ((u[:, row] + 1) / 2 * (2 * most + 1)).floor().clamp(max=2 * most) - most
        return matrix


@dataclass(frozen=True)
class Rotate(Move):
    """See `rotate`."""

    degrees: float
    draws = 1

    def __post_init__(self) -> None:
        checks.real("degrees of rotation", self.degrees, low=0, high=180)

    def matrix(self, u: Tensor, size: tuple[int, int]) -> Tensor:
        angle = u[:, 0] * math.radians(self.degrees)
        matrix = torch.eye(3).repeat(len(u), 1, 1)
        matrix[:, 0, 0] = matrix[:, 1, 1] = angle.cos()
        matrix[:, 0, 1], matrix[:, 1, 0] = -angle.sin(), angle.sin()
        return matrix


@dataclass(frozen=True)
class Scale(Move):
    """See `scale`."""

    low: float
    high: float
    draws = 1

    def __post_init__(self) -> None:
        low = checks.real("scale", self.low, low=0.05, high=20)
        checks.real("scale", self.high, low=low, high=20)

    def matrix(self, u: Tensor, size: tuple[int, int]) -> Tensor:
        between = (u[:, 0] + 1) / 2
        factor = torch.exp(math.log(self.low) + between * (math.log(self.high) - math.log(self.low)))
        matrix = torch.eye(3).repeat(len(u), 1, 1)
        matrix[:, 0, 0] = matrix[:, 1, 1] = 1 / factor
        return matrix


@dataclass(frozen=True)
class Shift(Move):
    """See `shift`."""

    fraction: float
    draws = 2

    def __post_init__(self) -> None:
        checks.real("fraction of shift", self.fraction, low=0, high=1)

    def matrix(self, u: Tensor, size: tuple[int, int]) -> Tensor:
        h, w = size
        matrix = torch.eye(3).repeat(len(u), 1, 1)
        matrix[:, :2, 2] = u * self.fraction * torch.tensor([float(w), float(h)])
        return matrix


@dataclass(frozen=True)
class Crop(Move):
    """See `crop`."""

    low: float
    high: float
    spread: float = 0.15
    draws = 3

    def __post_init__(self) -> None:
        low = checks.real("crop", self.low, low=0.01, high=1)
        checks.real("crop", self.high, low=low, high=1)
        checks.real("spread of crop", self.spread, low=0, high=10)

    def matrix(self, u: Tensor, size: tuple[int, int]) -> Tensor:
        h, w = size
        share = self.low + (u[:, 0] + 1) / 2 * (self.high - self.low)
        # From uniform to normal numbers; the crop stays inside the picture.
        centre = self.spread * math.sqrt(2) * torch.erfinv(u[:, 1:].clamp(-1 + 1e-6, 1 - 1e-6))
        room = ((1 - share) / 2).unsqueeze(1)
        matrix = torch.eye(3).repeat(len(u), 1, 1)
        matrix[:, 0, 0] = matrix[:, 1, 1] = share
        matrix[:, :2, 2] = centre.clamp(-room, room) * torch.tensor([float(w), float(h)])
        return matrix


@dataclass(frozen=True)
class Change(View):
    """A change of a picture's values."""

    def changed(self, pictures: Tensor, u: Tensor, mean: Tensor) -> Tensor:
        """pictures (b, c, h, w), u (b, draws) -> (b, c, h, w)."""
        raise NotImplementedError


@dataclass(frozen=True)
class Colour(Change):
    """See `colour`."""

    brightness: float
    contrast: float
    draws = 2

    def __post_init__(self) -> None:
        checks.real("brightness", self.brightness, low=0, high=1)
        checks.real("contrast", self.contrast, low=0, high=3)

    def changed(self, pictures: Tensor, u: Tensor, mean: Tensor) -> Tensor:
        lift, stretch = self.brightness * u[:, 0], torch.exp(self.contrast * u[:, 1])
        return (pictures - mean) * stretch.view(-1, 1, 1, 1) + mean + lift.view(-1, 1, 1, 1)


@dataclass(frozen=True)
class Cutout(Change):
    """See `cutout`."""

    fraction: float
    draws = 2

    def __post_init__(self) -> None:
        checks.real("fraction of cutout", self.fraction, low=0, high=1)

    def changed(self, pictures: Tensor, u: Tensor, mean: Tensor) -> Tensor:
        h, w = pictures.shape[-2:]
        y, x = (torch.linspace(-1, 1, n, device=pictures.device).view(shape) for n, shape in ((h, (1, h, 1)), (w, (1, 1, w))))
        near = ((y - u[:, :1, None]).abs() < self.fraction) & ((x - u[:, 1:, None]).abs() < self.fraction)
        return torch.where(near.unsqueeze(1), mean, pictures)


@dataclass(frozen=True)
class Noise(View):
    """See `noise`."""

    sigma: float

    def __post_init__(self) -> None:
        checks.real("sigma of noise", self.sigma, low=0, high=10)


def jitter(fraction: float) -> Jitter:
    """A shift by whole pixels, uniform up to `fraction` of each side. Source: Mordvintsev, Olah & Tyka 2015 (DeepDream)."""
    return Jitter(fraction)


def shift(fraction: float) -> Shift:
    """A shift by any distance, uniform up to `fraction` of each side; resampled, where `jitter` is not."""
    return Shift(fraction)


def crop(low: float, high: float, spread: float = 0.15) -> Crop:
    """A part of the picture, enlarged to its size: of `low` to `high` of each side, its centre normal about the middle with a
    standard deviation of `spread` of the side, kept inside. Source: Fel et al. 2023 (MACO), the crops of its §3.
    """
    return Crop(low, high, spread)


def colour(brightness: float = 0.1, contrast: float = 0.2) -> Colour:
    """Another exposure: lighter or darker by up to `brightness`, contrast about the mean by a factor up to e^±`contrast`."""
    return Colour(brightness, contrast)


def cutout(fraction: float) -> Cutout:
    """A square of `fraction` of each side, somewhere, replaced by the mean picture. Source: DeVries & Taylor 2017."""
    return Cutout(fraction)


def rotate(degrees: float) -> Rotate:
    """A turn about the centre, uniform up to `degrees` either way."""
    return Rotate(degrees)


def scale(low: float, high: float) -> Scale:
    """A scaling about the centre, log-uniform from `low` to `high`; above 1 shows less of the picture, larger."""
    return Scale(low, high)


def noise(sigma: float) -> Noise:
    """Gaussian noise of standard deviation `sigma`, in units of [0, 1], new at every step."""
    return Noise(sigma)


class Viewer:
    """The views of a batch of items over a whole ascent."""

    def __init__(
        self,
        views: Sequence[View],
        names: Sequence[str],
        seed: int | Sequence[int],
        steps: int,
        border: Border = "reflect",
        samples: int = 1,
    ) -> None:
        self._samples = samples
        seeds = [seed] * len(names) if isinstance(seed, int) else seed  # of every item, or one for all
        seeds = [each for each in seeds for _ in range(samples)]
        # The first view of an item draws from streams of the item's name, the others from streams of their own.
        names = [name if k == 0 else f"{name}\0{k}" for name in names for k in range(samples)]
        self._moves = [view for view in views if isinstance(view, Move)]
        self._changes = [view for view in views if isinstance(view, Change)]
        self._sigma = math.sqrt(sum(view.sigma**2 for view in views if isinstance(view, Noise)))
        if others := [view for view in views if not isinstance(view, Move | Change | Noise)]:
            raise RequestError(f"view {shown(others[0])}; one that ph.jitter, ph.rotate and their like make is needed")
        self._border = border
        draws = sum(view.draws for view in (*self._moves, *self._changes))
        # (steps, b, draws), drawn item by item, so that an item's numbers are the same in any company.
        owners = list(zip(seeds, names, strict=True))
        tables = [torch.rand((steps, draws), generator=stream(each, "view", name)) for each, name in owners]
        self._table = torch.stack(tables, 1) * 2 - 1
        # (steps, b) in [0, 1): where in the bank each field begins.
        self._noise = torch.stack([torch.rand(steps, generator=stream(each, "noise", name)) for each, name in owners], 1)

    def keep(self, items: Tensor) -> None:
        """Go on with these items alone."""
        rows = (items.cpu()[:, None] * self._samples + torch.arange(self._samples)).flatten()
        self._table = self._table[:, rows]
        self._noise = self._noise[:, rows]

    def __call__(self, pictures: Tensor, step: int, mean: Tensor) -> Tensor:
        """The pictures as the network shall see them at this step, `samples` views of each side by side; differentiable."""
        pictures = pictures.repeat_interleave(self._samples, 0) if self._samples > 1 else pictures
        seen = self._moved(pictures, step, mean) if self._moves else pictures
        start = sum(move.draws for move in self._moves)
        for change in self._changes:
            seen = change.changed(seen, self._table[step, :, start : start + change.draws].to(seen), mean)
            start += change.draws
        if self._sigma:
            seen = torch.add(seen, _fields(self._noise[step], seen), alpha=self._sigma)
        return seen

    def _moved(self, pictures: Tensor, step: int, mean: Tensor) -> Tensor:
        h, w = pictures.shape[-2:]
        matrix = torch.eye(3).repeat(len(pictures), 1, 1)
        start = 0
        for move in self._moves:
            u = self._table[step, :, start : start + move.draws]
            matrix = matrix @ move.matrix(u, (h, w))
            start += move.draws
        # grid_sample measures places in half sides from the centre.
        half = torch.tensor([w / 2, h / 2, 1.0])
        theta = (matrix / half.view(1, 3, 1) * half.view(1, 1, 3))[:, :2].to(pictures)
        where = _places(theta, h, w)
        if self._border == "reflect":
            return F.grid_sample(pictures, where, padding_mode="reflection", align_corners=False)
        ground = mean if self._border == "mean" else torch.zeros_like(mean)
        return ground + F.grid_sample(pictures - ground, where, padding_mode="zeros", align_corners=False)


def _places(theta: Tensor, h: int, w: int) -> Tensor:
    """(b, 2, 3) -> (b, h, w, 2). As `affine_grid`, whose product of matrices takes four times as long on a CPU."""
    y, x = (torch.linspace(-1, 1, side, device=theta.device, dtype=theta.dtype) * (side - 1) / side for side in (h, w))
    along, down, middle = theta[:, None, None].unbind(-1)  # each (b, 1, 1, 2)
    return (along * x.view(1, 1, w, 1) + middle) + down * y.view(1, h, 1, 1)


def _fields(places: Tensor, like: Tensor) -> Tensor:
    """Gaussian noise of the shape of `like` (b, …), for each the stretch of the bank that begins at its place in [0, 1)."""
    each = math.prod(like.shape[1:])
    bank = _bank(max(BANK, 1 << (ROOM * each - 1).bit_length()), like.device, like.dtype)
    begins = (places.double() * (len(bank) - each)).long().tolist()
    return torch.stack([bank[begin : begin + each] for begin in begins]).view_as(like)


@lru_cache(maxsize=4)
def _bank(length: int, device: torch.device, dtype: torch.dtype) -> Tensor:
    with torch.inference_mode(False):  # whoever asks first: it is kept
        return torch.randn(length, generator=stream(0, "noise bank")).to(device, dtype)
