"""Boxes: (left, top, right, bottom) in pixels, right and bottom outside, so that a box is right − left wide."""

from __future__ import annotations

import torch
from torch import Tensor

from ..errors import RequestError, shown
from ..network.preprocess import Preprocess
from .components import components


def boxes_of(mask: Tensor, most: int = 1, least: float = 0.0) -> Tensor:
    """Boxes (n, 4) of the largest components of a mask (h, w), the largest first, n of 0 to `most`.

    least: of a further component, its size as a share of the largest one's
    """
    found = components(mask)
    if not len(found):
        return found.boxes
    large = found.sizes >= least * float(found.sizes[0])
    return found.boxes[large][:most]


def area(boxes: Tensor) -> Tensor:
    """(…, 4) -> (…): width times height, 0 of what is turned inside out."""
    return (boxes[..., 2] - boxes[..., 0]).clamp(min=0) * (boxes[..., 3] - boxes[..., 1]).clamp(min=0)


def iou(a: Tensor, b: Tensor) -> Tensor:
    """Intersection over union of every box (n, 4) with every box (m, 4): (n, m) in [0, 1]; 0 where both are empty.

    >>> iou(torch.tensor([[0.0, 0, 2, 2]]), torch.tensor([[0.0, 0, 2, 2], [1, 0, 3, 2], [5, 5, 6, 6]]))[0].tolist()
    [1.0, 0.3333333333333333, 0.0]
    """
    a, b = checked(a).double(), checked(b).double()
    both = torch.cat([torch.maximum(a[:, None, :2], b[None, :, :2]), torch.minimum(a[:, None, 2:], b[None, :, 2:])], 2)
    shared = area(both)
    union = area(a)[:, None] + area(b)[None] - shared
    return torch.where(union > 0, shared / union.clamp(min=torch.finfo(torch.double).tiny), 0.0)


def checked(boxes: Tensor) -> Tensor:
    """Boxes (n, 4), finite, none turned inside out."""
    if not isinstance(boxes, Tensor) or boxes.ndim != 2 or boxes.shape[1] != 4:
        what = tuple(boxes.shape) if isinstance(boxes, Tensor) else shown(boxes)
        raise RequestError(f"boxes are {what}; (n, 4) with left, top, right, bottom is needed")
    wrong = ~torch.isfinite(boxes).all(1) | (boxes[:, 2] < boxes[:, 0]) | (boxes[:, 3] < boxes[:, 1])
    if bool(wrong.any()):
        raise RequestError(f"box {boxes[wrong][0].tolist()}; finite left ≤ right and top ≤ bottom are needed")
    return boxes


def centre_box(size: tuple[int, int], share: float = 0.75) -> Tensor:
    """The middle of a picture (h, w), `share` of its sides, as a box (4,): what a guess without looking is worth.

    >>> centre_box((80, 160)).tolist()
    [20.0, 10.0, 140.0, 70.0]
    """
    h, w = size
    edge = (1 - share) / 2
    return torch.tensor([edge * w, edge * h, (1 - edge) * w, (1 - edge) * h])


def to_photo(boxes: Tensor, preprocess: Preprocess, size: tuple[int, int]) -> Tensor:
    """Boxes (n, 4) in a fitted picture as boxes in the photograph (h, w) that it was fitted from.

    A box never reaches what was cropped away.
    """
    scale, offset = fitting(preprocess, size)
    return ((boxes.double() + offset) / scale).to(boxes)


def to_fitted(boxes: Tensor, preprocess: Preprocess, size: tuple[int, int]) -> Tensor:
    """The other way; what was cropped away is cut off the boxes."""
    scale, offset = fitting(preprocess, size)
    inside = torch.tensor([preprocess.width, preprocess.height] * 2, dtype=torch.double)
    return torch.minimum((boxes.double() * scale - offset).clamp(min=0), inside).to(boxes)


def fitting(preprocess: Preprocess, size: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """Scale and offset (4,), by which a place of a photograph (h, w) is moved when it is fitted: scale · place − offset."""
    h, w = size
    place = preprocess.placing((h, w))
    scale = torch.tensor([place.size[1] / w, place.size[0] / h] * 2, dtype=torch.double)
    return scale, torch.tensor([place.left, place.top] * 2, dtype=torch.double)
