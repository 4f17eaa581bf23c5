"""Waves of given strength added up to pictures: only where each of them lies is free."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from ..pictures.statistics import frequencies

COARSE = 3.0  # waves a picture: about up to where they are coarse
COARSEST = 12  # waves a picture: beyond, nothing is


class Waves:
    """magnitude (c, h, w // 2 + 1): of the half spectrum of pictures of the size (h, w)."""

    def __init__(self, magnitude: Tensor, size: tuple[int, int]) -> None:
        self.magnitude, self.size = magnitude, size
        most = [min(COARSEST * side // max(size), (side - 1) // 2) for side in size]
        self.few = tuple(2 * each + 1 for each in most)  # sides of a picture that has room for the coarse waves
        self.rows = torch.arange(-most[0], most[0] + 1).roll(-most[0]).to(magnitude.device) % size[0]
        self.columns = most[1] + 1
        soft = torch.exp(-((self.low(a_picture(size)) / COARSE) ** 2) / 2) / math.prod(size)
        self.soft = soft.to(magnitude)
        self._widened = [_widening(few, side).to(magnitude) for few, side in zip(self.few, size, strict=True)]
        self.times = counted(size[1]).to(magnitude)

    def added(self, phases: Tensor) -> tuple[Tensor, Tensor]:
        """phases (b, c, h, w // 2 + 1) in radians -> the picture (b, c, h, w), and the coarse part of it."""
        whole, few = _Sum.apply(phases, self)
        return whole, spread(few, *self._widened)

    def low(self, spectrum: Tensor) -> Tensor:
        """What may be coarse of a half spectrum: the half spectrum of a picture of the sides `few`."""
        return spectrum[..., : self.columns].index_select(-2, self.rows)


class _Sum(torch.autograd.Function):
    """The gradient goes to phases alone: a few passes, where that towards complex numbers takes a dozen."""

    @staticmethod
    def forward(ctx: Any, phases: Tensor, waves: Waves) -> tuple[Tensor, Tensor]:
        own = both(waves.size[1])
        spectrum = _polar(waves.magnitude, phases)
        spectrum[..., own] = _polar(waves.magnitude[..., own], odd(phases[..., own]))
        ctx.waves = waves
        ctx.save_for_backward(spectrum)
        few = torch.fft.irfft2(waves.low(spectrum) * waves.soft, s=waves.few, norm="forward")
        return torch.fft.irfft2(spectrum, s=waves.size), few

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, whole: Tensor, few: Tensor) -> tuple[Tensor, None]:
        waves, (spectrum,) = ctx.waves, ctx.saved_tensors
        above = torch.fft.rfft2(whole, norm="forward")
        above[..., : waves.columns].index_add_(-2, waves.rows, torch.fft.rfft2(few) * waves.soft)
        # Along the tangent of the circle that a phase turns on.
        below = (above * spectrum.conj()).imag * waves.times
        own = both(waves.size[1])
        below[..., own] = odd(below[..., own])  # a projection: its own adjoint
        return below, None


def a_picture(size: tuple[int, int]) -> Tensor:
    """(h, w // 2 + 1): how many of each wave fit the longer side."""
    y, x = frequencies(size)
    return torch.hypot(y, x) * max(size)


def spread(few: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """(…, n, m) by matrices (h, n) and (w, m) -> (…, h, w)."""
    wide: Tensor = rows @ few @ columns.T
    return wide


def _polar(magnitude: Tensor, phases: Tensor) -> Tensor:
    """As `torch.polar`, which takes three times as long on a CPU."""
    return torch.complex(phases.cos().mul_(magnitude), phases.sin().mul_(magnitude))


def cubic(few: int, side: int) -> Tensor:
    """(side, few): between points in the middle of equal parts of a side, by cubics."""
    points = torch.eye(few).view(1, few, few, 1)
    return F.interpolate(points, size=(side, 1), mode="bicubic", align_corners=False)[0, :, :, 0].T


def both(width: int) -> slice:
    """The columns of a half spectrum that hold k and −k: the first, and the last of an even width."""
    return slice(None, None, width // 2) if width % 2 == 0 else slice(1)


def counted(width: int) -> Tensor:
    """How often each column of a half spectrum counts: twice where it stands for what mirrors it as well."""
    times = torch.full((width // 2 + 1,), 2.0)
    times[both(width)] = 1
    return times


def odd(columns: Tensor) -> Tensor:
    """Phases of those columns as a real picture has them: at −k minus that at k."""
    return (columns - opposite(columns)) / 2


def opposite(phases: Tensor) -> Tensor:
    """At row k what stands at row −k."""
    turned: Tensor = phases.flip(-2).roll(1, -2)
    return turned


def _widening(few: int, side: int) -> Tensor:
    """(side, few): between points from the beginning of a side on, by the waves that they can hold."""
    points = torch.fft.rfft(torch.eye(few), dim=0, norm="forward")
    wide: Tensor = torch.fft.irfft(points, n=side, dim=0, norm="forward")
    return wide
