"""A map over its picture, for the eye. What is done to the numbers here is done to nothing else.

A map by itself is scaled so that 1 is the 99th percentile of its sizes: a few extreme pixels then do not darken all others.
Smoothed and laid over a picture there are no such pixels, and 1 is the largest size: nothing is cut off. Zero stays zero.
What has a sign is shown with the diverging colours, any other with the sequential ones; where nobody says whether it has one
(`has_sign` is None), negative values of some size tell.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from . import colourmap

FAINT = 0.1  # of the largest size: what is negative by less is shown as zero; class activation maps mostly have such places
PERCENTILE = 99.0  # of |values|: what is shown as full colour of a map by itself
SMOOTHING = 1 / 64  # of the shorter side: σ of the blur of a map of single pixels laid over a photograph
BAR, _BAR_GAP = 8, 4  # pixels: height of the bar of colours, and of the white between it and the picture
_STRONGEST = 0.85  # how far the colour covers the photograph at 1
_LUMA = (0.299, 0.587, 0.114)  # ITU-R BT.601


def scaled(values: Tensor, percentile: float = PERCENTILE) -> Tensor:
    """Values (h, w) -> [−1, 1]: divided by the percentile of |values|, or by their maximum where that is zero."""
    top = scale(values, percentile)
    return (values.double() / top).clamp(-1, 1).float() if top > 0 else torch.zeros_like(values)


def scale(values: Tensor, percentile: float = PERCENTILE) -> float:
    """The number that is shown as full colour."""
    size = values.detach().abs().double().flatten()
    place = min(int(len(size) * percentile / 100), len(size) - 1)
    top = float(size.sort().values[place])
    return top if top > 0 else float(size.max())


def coloured(values: Tensor, has_sign: bool | None = None, percentile: float = PERCENTILE) -> Tensor:
    """Values (h, w) as colours (3, h, w) in [0, 1]."""
    return _colours(scaled(values, percentile), signed(values, has_sign))


def signed(values: Tensor, has_sign: bool | None = None) -> bool:
    """Whether they are shown with the colours that have a sign: if nobody says, where a negative one can be told from zero."""
    return bool(-values.min() > FAINT * values.abs().max()) if has_sign is None else has_sign


def overlay(picture: Tensor, values: Tensor, has_sign: bool | None = None, *, smoothing: float = SMOOTHING) -> Tensor:
    """A picture (c, h, w) in [0, 1] in grey under the colours of values (h', w'): (3, h, w).

    The colour covers more the larger |value| is. smoothing: σ of a blur as a share of the shorter side, 0 for none; it is
    left out for maps coarser than the picture, which are enlarged smoothly.
    """
    level = scaled(_fine(values, picture, smoothing)[0], 100)
    if signed(values, has_sign):
        # From half colour on: what is pale in the table would whiten a dark ground and be lost on a light one.
        colours, cover = _colours(0.5 * level.sign() + 0.5 * level, True), level.abs()
    else:
        colours, cover = _colours(level, False), level.clamp(min=0) ** 0.7  # small values are seen too
    return (1 - _STRONGEST * cover) * _grey(picture) + _STRONGEST * cover * colours


def overlay_scale(picture: Tensor, values: Tensor, *, smoothing: float = SMOOTHING) -> float:
    """The number that `overlay` shows as full colour: the largest size of the map as it is smoothed."""
    fine, unit = _fine(values, picture, smoothing)
    return scale(fine, 100) * unit


def smooths(picture: Tensor, values: Tensor, smoothing: float = SMOOTHING) -> bool:
    """Whether `overlay` smooths the map: one with a value for each pixel, of more than a few pixels."""
    size = (int(picture.shape[-2]), int(picture.shape[-1]))
    return tuple(values.shape) == size and smoothing * min(size) >= 0.5


def contour(picture: Tensor, values: Tensor, levels: Sequence[float] = (0.25, 0.5, 0.75)) -> Tensor:
    """The picture (c, h, w) with lines where values (h', w') pass these shares of the largest shown one: (3, h, w).

    Lines of positive values are of the colours of the sequential map, edged in black to be seen on any ground.
    """
    level = scaled(_fine(values, picture, SMOOTHING)[0], 100)
    shown = _rgb(picture).clone()
    for share in sorted(levels):
        line = _edge(level >= share)
        shown[:, _grown(line)] = 0.0
        shown[:, line] = colourmap.sequential()[int((0.4 + 0.6 * share) * 255)].view(3, 1)
    return shown


def with_bar(shown: Tensor, has_sign: bool) -> Tensor:
    """The picture (3, h, w) with a bar of the colours below it, from the lowest value to the highest."""
    w = shown.shape[-1]
    level = torch.linspace(-1 if has_sign else 0, 1, w).expand(BAR, w)
    return torch.cat([shown, torch.ones(3, _BAR_GAP, w), _colours(level, has_sign)], 1)


def resized(values: Tensor, size: tuple[int, int]) -> Tensor:
    """Values (b, h, w) in another size, bilinear between the centres of pixels; averaged where it becomes smaller."""
    if tuple(values.shape[-2:]) == size:
        return values
    smaller = size[0] < values.shape[-2] or size[1] < values.shape[-1]
    return F.interpolate(values[:, None], size=size, mode="bilinear", align_corners=False, antialias=smaller)[:, 0]


def signed_colour(values: Tensor) -> Tensor:
    """Signed numbers per channel (c, h, w) as a picture about mid-grey, in [0, 1]: how guided backpropagation is shown."""
    top = scale(values)
    return (0.5 + 0.5 * values.double() / top).clamp(0, 1).float() if top > 0 else torch.full_like(values, 0.5)


def _fine(values: Tensor, picture: Tensor, smoothing: float) -> tuple[Tensor, float]:
    """Values in the picture's size, smoothed, and their unit: sums of tiny or huge numbers stay finite in it."""
    h, w = int(picture.shape[-2]), int(picture.shape[-1])
    values = values.detach().cpu().double()
    unit = float(values.abs().max()) or 1.0
    values = (values / unit).float()
    fine = resized(values[None], (h, w))[0]
    return blurred(fine, smoothing * min(h, w)) if smooths(picture, values, smoothing) else fine, unit


def blurred(values: Tensor, sigma: float) -> Tensor:
    radius = min(round(3 * sigma), *(side - 1 for side in values.shape))
    offsets = torch.arange(-radius, radius + 1, dtype=torch.float32)
    kernel = torch.exp(-0.5 * (offsets / sigma) ** 2)
    kernel /= kernel.sum()
    padded = F.pad(values[None, None], [radius] * 4, mode="reflect")
    return F.conv2d(F.conv2d(padded, kernel.view(1, 1, -1, 1)), kernel.view(1, 1, 1, -1))[0, 0]


def _colours(level: Tensor, has_sign: bool) -> Tensor:
    if has_sign:
        return colourmap.applied(0.5 + 0.5 * level, colourmap.diverging())
    return colourmap.applied(level, colourmap.sequential())


def _rgb(picture: Tensor) -> Tensor:
    """Three channels of the picture's own size; of a number that no screen shows, their mean as grey."""
    picture = picture.detach().cpu().float()
    channels = picture.shape[0]
    return picture if channels == 3 else (picture if channels == 1 else picture.mean(0, keepdim=True)).expand(3, -1, -1)


def _grey(picture: Tensor) -> Tensor:
    luma = (_rgb(picture) * torch.tensor(_LUMA).view(3, 1, 1)).sum(0, keepdim=True)
    return luma.expand(3, -1, -1)


def _edge(inside: Tensor) -> Tensor:
    """The pixels inside that have a neighbour outside."""
    outside = F.pad((~inside)[None, None].float(), [1] * 4)
    return inside & (F.max_pool2d(outside, 3, 1)[0, 0] > 0)


def _grown(line: Tensor) -> Tensor:
    return F.max_pool2d(line[None, None].float(), 3, 1, 1)[0, 0] > 0
