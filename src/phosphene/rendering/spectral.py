"""Canvases of frequencies: a picture as the sum of waves, in decorrelated colours."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from .. import checks
from ..pictures.statistics import NATURAL, falling, frequencies, statistics
from ..seeding import stream
from .canvases import beginning, check_start, fields, start_files
from .waves import Waves, a_picture, both, counted, cubic, opposite, spread

EDGE = 1e-3  # pictures are kept this far from 0 and 1 where their numbers are wanted: the sigmoid never reaches either
FALLING = "1/f"
PACE = 0.1  # of the numbers of contrast beside phases, which are radians


class Colours:
    """From decorrelated channels to pictures: sigmoid(contrast · basis @ z + logit of the mean picture), and back."""

    def __init__(self, mean: Tensor, source: str = NATURAL, contrast: float = 1.0) -> None:
        self.basis = contrast * statistics(source).colours(mean.shape[1]).to(mean)
        self.inverse = torch.linalg.inv(self.basis)
        self.middle = mean.clamp(0.02, 0.98).logit()

    def picture(self, z: Tensor) -> Tensor:
        b, c, h, w = z.shape
        middle = self.middle.expand(b, c, h, w).flatten(2)
        return torch.baddbmm(middle, self.basis.expand(b, c, c), z.flatten(2)).sigmoid_().view(z.shape)

    def z(self, pictures: Tensor) -> Tensor:
        raised = pictures.clamp(EDGE, 1 - EDGE).logit() - self.middle
        return torch.einsum("zc,bchw->bzhw", self.inverse, raised)


@dataclass(frozen=True)
class Fourier:
    """See `fourier`."""

    decay: float = 1.0
    start_from: str = "noise"
    spread: float = 0.01
    fixed = ""

    def __post_init__(self) -> None:
        checks.real("decay power", self.decay, low=0, high=4)
        checks.real("spread", self.spread, low=0, high=10)
        check_start(self.start_from)

    @property
    def files(self) -> tuple[str, ...]:
        return start_files(self.start_from)

    def surface(self, mean: Tensor) -> FourierSurface:
        return FourierSurface(self, mean)


class FourierSurface:
    """numbers (b, c, h, w // 2 + 1, 2): real and imaginary parts, in units of what natural pictures have there."""

    def __init__(self, canvas: Fourier, mean: Tensor) -> None:
        self.canvas = canvas
        self.size = (mean.shape[2], mean.shape[3])
        self.colours = Colours(mean)
        y, x = (f.to(mean) for f in frequencies(self.size))
        scale: Tensor = torch.hypot(y, x).clamp(min=1 / max(self.size)) ** -canvas.decay
        # /4: so that numbers of order 1 make a picture of about full contrast.
        self.scale = scale * math.sqrt(math.prod(self.size)) / 4
        self.first = self.numbers(beginning(canvas.start_from, mean))

    def start(self, names: Sequence[str], seed: int, attempt: int) -> Tensor:
        spread = self.canvas.spread * 4.0**attempt if attempt or self.canvas.start_from == "noise" else 0.0
        first = self.first.repeat(len(names), 1, 1, 1, 1)
        return first + spread * fields(names, seed, attempt, self.first) if spread else first

    def picture(self, numbers: Tensor) -> Tensor:
        waves = torch.view_as_complex(numbers) * self.scale
        return self.colours.picture(torch.fft.irfft2(waves, s=self.size))

    def numbers(self, pictures: Tensor) -> Tensor:
        return torch.view_as_real(torch.fft.rfft2(self.colours.z(pictures)) / self.scale).contiguous()

    def settled(self, numbers: Tensor) -> Tensor:
        return numbers


@dataclass(frozen=True)
class Phase:
    """See `phase`."""

    magnitude: str = NATURAL
    contrast: float = 1.0
    freedom: float = 0.0
    start_from: str = "noise"
    grid: int = 1
    falloff: float = 0.0
    fixed = "the magnitude of its frequencies"

    def __post_init__(self) -> None:
        checks.real("contrast", self.contrast, low=0.01, high=10)
        checks.real("freedom of contrast", self.freedom, low=0, high=3)
        checks.whole("grid of contrast", self.grid, low=1, high=64)
        checks.real("falloff", self.falloff, low=-1, high=2)
        check_start(self.start_from)

    @property
    def files(self) -> tuple[str, ...]:
        own = () if self.magnitude in (NATURAL, FALLING) else (self.magnitude,)
        return own + start_files(self.start_from)

    def surface(self, mean: Tensor) -> PhaseSurface:
        return PhaseSurface(self, mean)


class PhaseSurface:
    """numbers (b, c·h·(w // 2 + 1) + grid²): the phases in radians, and those that move the contrast."""

    def __init__(self, canvas: Phase, mean: Tensor) -> None:
        self.canvas, self.mean = canvas, mean
        _, c, h, w = mean.shape
        self.size, self.shape = (h, w), (c, h, w // 2 + 1)
        source = NATURAL if canvas.magnitude == FALLING else canvas.magnitude
        found = falling(c, self.size) if canvas.magnitude == FALLING else statistics(source).magnitude(c, self.size)
        found = found * a_picture(self.size).clamp(min=1) ** -canvas.falloff
        self.waves = Waves((found * _standard(found, self.size)).to(mean), self.size)
        self.colours = Colours(mean, source, canvas.contrast)  # a spectrum is of the colours in which it was measured
        self._places = [cubic(canvas.grid, side).to(mean) for side in self.size]

    def start(self, names: Sequence[str], seed: int, attempt: int) -> Tensor:
        """Uniform phases. Differs from Fel et al. 2023, whose normal ones add up to a spike in the corner."""
        if self.canvas.start_from not in ("noise", "mean", "zeros") and attempt == 0:
            return self.numbers(beginning(self.canvas.start_from, self.mean)).repeat(len(names), 1)
        drawn = [
            torch.rand(self.shape, generator=stream(seed, "start", str(attempt), name)).mul(2).sub(1).mul(math.pi)
            for name in names
        ]
        return self._with_contrast(_mirrored(torch.stack(drawn), self.size[1]).to(self.mean))

    def picture(self, numbers: Tensor) -> Tensor:
        phases = numbers[:, : -(self.canvas.grid**2)].unflatten(1, self.shape)
        whole, coarse = self.waves.added(phases)
        if self.canvas.grid == 1:
            return self.colours.picture(whole * self.contrast(numbers))
        return self.colours.picture(torch.lerp(coarse, whole, self.local(numbers)))

    def contrast(self, numbers: Tensor) -> Tensor:
        """(b, 1, 1, 1), of a grid of 1: by what the canvas's is multiplied, within e^±freedom."""
        return self._free(numbers).exp()

    def local(self, numbers: Tensor) -> Tensor:
        """(b, 1, h, w): by what the fine waves are multiplied at each place; its mean square is 1."""
        wide = spread(self._free(numbers), *self._places)
        wide = wide.clamp(-self.canvas.freedom, self.canvas.freedom).exp()  # cubics go a little beyond
        return wide / wide.square().mean((2, 3), keepdim=True).sqrt()

    def _free(self, numbers: Tensor) -> Tensor:
        """(b, 1, grid, grid) in ±freedom: the logarithms of what contrast is multiplied by."""
        moved: Tensor = numbers[:, -(self.canvas.grid**2) :].unflatten(1, (1, self.canvas.grid, self.canvas.grid))
        return self.canvas.freedom * (PACE * moved).tanh()

    def numbers(self, pictures: Tensor) -> Tensor:
        return self._with_contrast(torch.fft.rfft2(self.colours.z(pictures)).angle())

    def settled(self, numbers: Tensor) -> Tensor:
        return numbers

    def _with_contrast(self, phases: Tensor) -> Tensor:
        return torch.cat([phases.flatten(1), phases.new_zeros(len(phases), self.canvas.grid**2)], 1)


def fourier(decay: float = 1.0, start: str = "noise", spread: float = 0.01) -> Fourier:
    """The canvas of waves: free complex numbers, each scaled by 1 / f^decay, colours decorrelated, a sigmoid at the end.

    start "noise" (Gaussian numbers of standard deviation `spread`), "mean", "zeros" (black) or the path of a picture.
    Source: Olah, Mordvintsev & Schubert 2017, on preconditioning. Differs: any size, and zero is the mean picture of the
    network, not mid-grey.
    """
    return Fourier(decay, start, spread)


def phase(
    magnitude: str = NATURAL,
    contrast: float = 1.0,
    freedom: float = 0.0,
    start: str = "noise",
    *,
    grid: int = 1,
    falloff: float = 0.0,
) -> Phase:
    """The canvas of phases: every frequency has the strength it has in natural pictures, only where waves lie is free.

    magnitude "natural" (the shipped statistics), "1/f", or a file of `phosphene statistics`
    contrast  standard deviation of the picture before the sigmoid; learnable within a factor e^freedom
    start     "noise": uniform phases; or the path of a picture, whose phases are taken
    grid      above 1: learnable is how strong the finer waves are at each of grid × grid places, within e^±freedom, and not the
              contrast of the whole. Photographs are not as busy everywhere, and what surrounds a thing need not be
    falloff   the magnitude is further divided by f^falloff: above 0 softer, below 0 crisper
    Source: Fel et al. 2023 (MACO), §3. Differs: uniform phases, any size, per-channel colour statistics; grid and falloff are
    ours.
    """
    return Phase(magnitude, contrast, freedom, start, grid, falloff)


def _mirrored(phases: Tensor, width: int) -> Tensor:
    """Phases drawn at random as a real picture has them: one half follows the other, so that each stays uniform."""
    columns = phases[..., both(width)]
    rows = torch.arange(phases.shape[-2])[:, None] > phases.shape[-2] // 2
    columns.copy_(torch.where(rows, -opposite(columns), columns))
    return phases


def _standard(magnitude: Tensor, size: tuple[int, int]) -> float:
    """What makes the picture's standard deviation 1 over all channels, whatever the phases (Parseval)."""
    h, w = size
    energy = float((magnitude.double().square() * counted(w)).sum()) / (h * w) ** 2 / len(magnitude)
    return 1 / math.sqrt(energy)
