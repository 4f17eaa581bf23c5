"""Boxes and outlines drawn into a photograph, to be seen on any ground."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

BOX = (1.0, 0.85, 0.0)  # yellow, edged in black
OUTLINE = (0.0, 0.9, 1.0)  # cyan, likewise
OTHER = (1.0, 0.45, 0.0)  # further boxes: orange
_LEAST_SIDE = 160  # pixels: smaller pictures are enlarged, a line of one pixel would hide them
_LARGEST_SIDE = 2048  # larger ones are made smaller


def drawn(picture: Tensor, boxes: Tensor, mask: Tensor | None = None) -> Tensor:
    """A picture (c, h, w) in [0, 1] with boxes (n, 4), the first in yellow, and the outline of a mask (h, w): (3, h', w').

    Small pictures are enlarged by a whole number, large ones made smaller; lines grow with the picture.
    """
    picture, boxes, mask = _reduced(picture, boxes, mask)
    factor = -(-_LEAST_SIDE // min(picture.shape[-2:]))
    shown = _rgb(picture).repeat_interleave(factor, 1).repeat_interleave(factor, 2)
    h, w = int(shown.shape[1]), int(shown.shape[2])
    thick = max(1, round(min(h, w) / 160))
    if mask is not None:
        wide = mask.repeat_interleave(factor, 0).repeat_interleave(factor, 1)
        _inked(shown, _outline(wide, thick), OUTLINE, thick)
    for k in reversed(range(len(boxes))):
        _inked(shown, frame(boxes[k] * factor, (h, w), thick), BOX if k == 0 else OTHER, thick)
    return shown


def _reduced(picture: Tensor, boxes: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor, Tensor | None]:
    share = _LARGEST_SIDE / max(picture.shape[-2:])
    if share >= 1:
        return picture, boxes, mask
    h, w = (max(1, round(side * share)) for side in picture.shape[-2:])
    smaller = F.interpolate(picture[None].float(), size=(h, w), mode="bilinear", antialias=True)[0].clamp(0, 1)
    coarse = None if mask is None else F.interpolate(mask[None, None].float(), size=(h, w), mode="nearest")[0, 0] > 0
    return smaller, boxes * share, coarse


def frame(box: Tensor, size: tuple[int, int], thick: int) -> Tensor:
    """The pixels (h, w) of a box's frame, `thick` wide, inside the box and inside the picture."""
    h, w = size
    left, top, right, bottom = (round(side) for side in box.tolist())
    left, top, right, bottom = max(left, 0), max(top, 0), min(right, w), min(bottom, h)
    inside = torch.zeros(h, w, dtype=torch.bool)
    inside[top:bottom, left:right] = True
    inside[top + thick : max(bottom - thick, 0), left + thick : max(right - thick, 0)] = False
    return inside


def _outline(mask: Tensor, thick: int) -> Tensor:
    """The pixels of a mask at most `thick` from its outside, or from the picture's edge."""
    outside = F.pad((~mask)[None, None].float(), [thick] * 4)
    return mask & (F.max_pool2d(outside, 2 * thick + 1, 1)[0, 0] > 0)


def _inked(shown: Tensor, line: Tensor, colour: tuple[float, float, float], thick: int) -> None:
    grown = F.max_pool2d(line[None, None].float(), 2 * thick + 1, 1, thick)[0, 0] > 0
    shown[:, grown] *= 0.25
    shown[:, line] = torch.tensor(colour).view(3, 1)


def _rgb(picture: Tensor) -> Tensor:
    """Three channels; of a number that no screen shows, their mean as grey."""
    picture = picture.detach().cpu().float()
    channels = len(picture)
    one = picture if channels in (1, 3) else picture.mean(0, keepdim=True)
    return one.expand(3, -1, -1).clone()
