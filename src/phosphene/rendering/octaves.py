"""Octaves: a photograph at several sizes, and the way from one size up to the next."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from ..errors import RequestError

Sides = tuple[int, int]  # height, width


def octave_sizes(size: Sides, octaves: int, scale: float) -> list[Sides]:
    """(height, width) of each octave, smallest first; the last is the size itself.

    >>> octave_sizes((300, 400), 3, 2.0)
    [(75, 100), (150, 200), (300, 400)]
    """
    h, w = size
    sizes = [(round(h / scale**k), round(w / scale**k)) for k in reversed(range(octaves))]
    if min(sizes[0]) < 1:
        raise RequestError(f"{octaves} octaves of scale {scale:g} shrink {w}×{h} pixels to nothing; fewer are needed")
    return sizes


def resized(picture: Tensor, size: Sides) -> Tensor:
    """(1, c, h, w) at another size, without aliasing; the very same tensor at its own."""
    if tuple(picture.shape[2:]) == size:
        return picture
    return F.interpolate(picture, size=size, mode="bilinear", antialias=True, align_corners=False)


def within(picture: Tensor, longest: int) -> Tensor:
    """(1, c, h, w) shrunk, if need be, so that its longer side is `longest` pixels."""
    h, w = picture.shape[2:]
    scale = min(1, longest / max(h, w))
    return resized(picture, (max(1, round(h * scale)), max(1, round(w * scale))))


def regrown(picture: Tensor, before: Tensor, base: Tensor, detail: float) -> Tensor:
    """A dreamt octave at the size of the next, with the photograph's detail put back that the smaller size had lost.

    up(picture) + detail · (base − up(before)), in [0, 1]; before, base: the photograph at the old and the new size.
    With detail 1 what was not dreamt is the photograph itself, bit for bit; 0 leaves it blurred.
    Source: Mordvintsev, Olah & Tyka 2015, the notebook, where detail is 1.
    """
    size = (base.shape[2], base.shape[3])
    # up is linear, so one picture goes up and not two.
    return resized(picture - detail * before, size).add(base, alpha=detail).clamp_(0, 1)


def zoomed(picture: Tensor, factor: float) -> Tensor:
    """The middle of a picture (1, c, h, w), enlarged by the factor to the same size."""
    middle = torch.tensor([[[1 / factor, 0, 0], [0, 1 / factor, 0]]], dtype=picture.dtype, device=picture.device)
    places = F.affine_grid(middle, list(picture.shape), align_corners=False)
    # Cubic: a hundred frames of linear interpolation would blur the middle away.
    return F.grid_sample(picture, places, mode="bicubic", padding_mode="reflection", align_corners=False).clamp_(0, 1)
