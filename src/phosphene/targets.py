"""Scores of networks that are no classifiers: what `Network(…, output=…)` picks out of maps, boxes and numbers.

    net = ph.Network(segmenter, preprocess, classes=names, output=ph.targets.mean(mask))
    net = ph.Network(detector, preprocess, classes=["dog"], output=ph.targets.box((20, 30, 180, 200), label=18))

Every verb then works with these scores as with those of a classifier. Source: the targets are those of pytorch-grad-cam's
tutorials; segmentation: Vinogradova, Dibrov & Myers 2020 (Seg-Grad-CAM), equation 2, there a sum.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from . import checks
from .errors import OutputError, RequestError, shown

Pick = Callable[[Any], Tensor]
MAP_KEYS = ("out", "logits", "masks", "pred", "output")  # of torchvision, of transformers, of others


def mean(mask: Tensor | None = None) -> Pick:
    """Scores (b, classes) of maps of classes (b, classes, h, w): their means over positions, or over those of a mask.

    mask  (h, w) of the picture as the network sees it, bool or weights of 0 or more; it is averaged to the size of the maps.
          A mask of a photograph is resized and cropped with it: net.preprocess.fit(mask[None, None])[0, 0]. None: all positions
    The sum over the mask, as pytorch-grad-cam's SemanticSegmentationTarget has it, is the same times the number of positions.

    >>> mean(torch.tensor([[1.0, 0.0]]))(torch.tensor([[[[2.0, 8.0]]]])).item()
    2.0
    """
    weights = None if mask is None else _weights(mask)

    def picked(output: Any) -> Tensor:
        maps = _maps(output)
        if weights is None:
            return maps.mean((2, 3))
        fitted = F.interpolate(weights.to(maps)[None, None], size=maps.shape[2:], mode="area")[0, 0]
        if not bool(fitted.any()):
            raise OutputError(
                f"mask {tuple(weights.shape)} covers no position of maps {tuple(maps.shape[2:])}; a larger one is needed"
            )
        return (maps * fitted).sum((2, 3)) / fitted.sum()

    return picked


def highest(classes: int) -> Pick:
    """Scores (b, classes) of a detector that gives boxes, labels and scores of each picture in a dictionary, as torchvision's.

    classes  how many labels there are, the background's 0 included
    A class's score is that of its surest box, and 0 where there is none.
    """
    checks.whole("classes", classes, low=1, high=1_000_000)

    def picked(output: Any) -> Tensor:
        return torch.stack([_highest(one, classes) for one in _detections(output)])

    return picked


def box(corners: Sequence[float], label: int, iou: float = 0.5) -> Pick:
    """The score (b, 1) of one box that a detector found: how sure it is of the label there.

    corners  (left, top, right, bottom) in pixels of the picture as the network sees it, as the detector gives them
    label    the detector's number of the class
    iou      overlap from which a found box counts as this one
    The score is that of the found box that overlaps most, times the overlap; 0 where none overlaps so much. Gradients pass the
    scores and the coordinates where the detector lets them; occlusion, rise and score_cam need none.
    Source: FasterRCNNBoxScoreTarget of pytorch-grad-cam, which adds overlap and score.
    """
    wanted = torch.tensor(checks.reals("corners", corners))
    if wanted.shape != (4,) or not bool((wanted[:2] < wanted[2:]).all()):
        raise RequestError(
            f"corners must be (left, top, right, bottom) with left < right and top < bottom, got {shown(corners)}"
        )
    checks.whole("label", label, low=0)
    checks.real("iou", iou, low=0, high=1)

    def picked(output: Any) -> Tensor:
        return torch.stack([_of_box(one, wanted, label, iou) for one in _detections(output)])[:, None]

    return picked


def _weights(mask: object) -> Tensor:
    if not isinstance(mask, Tensor) or mask.ndim != 2 or 0 in mask.shape:
        what = tuple(mask.shape) if isinstance(mask, Tensor) else shown(mask)
        raise RequestError(f"mask must be a tensor (h, w), got {what}. ph.read(path)[0, 0] > 0.5 makes one of a picture")
    weights = mask.detach().float()
    if not bool(torch.isfinite(weights).all()) or bool((weights < 0).any()) or not bool(weights.any()):
        raise RequestError("mask must hold numbers of 0 or more, and one above 0 at least")
    return weights


def _maps(output: Any) -> Tensor:
    found = output
    if isinstance(output, Mapping) or not isinstance(output, Tensor):
        named = output if isinstance(output, Mapping) else getattr(output, "__dict__", {})
        found = next((named[key] for key in MAP_KEYS if isinstance(named.get(key), Tensor)), None)
    if not isinstance(found, Tensor) or found.ndim != 4:
        raise OutputError(f"maps (b, classes, h, w) are needed, got {_kind(found if found is not None else output)}")
    return found


def _kind(output: Any) -> str:
    return f"a tensor {tuple(output.shape)}" if isinstance(output, Tensor) else type(output).__name__


def _detections(output: Any) -> Sequence[Mapping[str, Tensor]]:
    good = isinstance(output, list | tuple) and all(
        isinstance(one, Mapping) and {"boxes", "labels", "scores"} <= set(one) for one in output
    )
    if not good:
        raise OutputError(f"a list of dictionaries with boxes, labels and scores is needed, one a picture, got {_kind(output)}")
    found: Sequence[Mapping[str, Tensor]] = output
    return found


def _highest(found: Mapping[str, Tensor], classes: int) -> Tensor:
    scores, labels = found["scores"], found["labels"]
    if len(labels) and int(labels.max()) >= classes:
        raise OutputError(f"the detector gave the label {int(labels.max())}; classes must be more than that, got {classes}")
    return scores.new_zeros(classes).scatter_reduce(0, labels.long(), scores, "amax")


def _of_box(found: Mapping[str, Tensor], wanted: Tensor, label: int, iou: float) -> Tensor:
    boxes, scores = found["boxes"], found["scores"]
    if not len(boxes):
        return scores.sum()
    overlaps = torch.where(found["labels"] == label, _overlap(boxes, wanted.to(boxes)), -1.0)
    best = int(overlaps.argmax())
    return scores[best] * overlaps[best] if float(overlaps[best].detach()) >= max(iou, 1e-9) else scores.sum() * 0


def _overlap(boxes: Tensor, wanted: Tensor) -> Tensor:
    """(n,): intersection over union of boxes (n, 4) with one (4,)."""
    inside = (torch.minimum(boxes[:, 2:], wanted[2:]) - torch.maximum(boxes[:, :2], wanted[:2])).clamp(min=0).prod(1)
    area = (boxes[:, 2:] - boxes[:, :2]).prod(1) + (wanted[2:] - wanted[:2]).prod()
    return inside / (area - inside)
