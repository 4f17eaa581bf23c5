"""How well boxes and maps agree with boxes that people drew.

Boxes are (left, top, right, bottom) in pixels, right and bottom outside. A picture can have several true ones: meeting any of
them counts. `truth` is one tensor (n, 4) per picture, n of 1 or more.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from .. import checks
from ..ambient import shielded
from ..errors import RequestError, shown
from ..localisation.boxes import checked, iou
from ..localisation.components import components
from ..localisation.threshold import SWEEP, mask_of

IOU = 0.5  # from which on a box counts; Russakovsky et al. 2015
IOUS = (0.3, 0.5, 0.7)  # of MaxBoxAccV2; Choe et al. 2020
TOLERANCE, SIDE = 15.0, 500.0  # pixels about a box, of a picture of that longer side; Zhang et al. 2016


@shielded
def localisation_error(
    boxes: Tensor,
    truth: Sequence[Tensor],
    *,
    classes: Tensor | None = None,
    labels: Tensor | None = None,
    least: float = IOU,
) -> float:
    """The share of b pictures of which no guess is right, in [0, 1]: that of ILSVRC's localisation task.

    boxes    (b, 4), or (b, k, 4) for k guesses a picture
    classes  (b, k) or (b,) the class of each guess, labels (b,) the true ones: a guess is right if its class is and its box
             has an intersection over union of `least` or more with any true box. None: the class is known, the box alone counts
    With the k likeliest classes, each with a box of its own, this is the top-k localisation error.
    Source: Russakovsky et al. 2015, §4.2.

    >>> localisation_error(torch.tensor([[0.0, 0, 2, 2], [0, 0, 2, 2]]), [torch.tensor([[0.0, 0, 2, 3]])] * 2)
    0.0
    """
    good = met(boxes, truth, least)
    if (classes is None) != (labels is None):
        raise RequestError("classes and labels belong together; both, or neither, are needed")
    if classes is not None and labels is not None:
        guessed = classes.view(len(classes), -1)
        if guessed.shape != good.shape or labels.shape != guessed.shape[:1]:
            raise RequestError(
                f"classes {tuple(classes.shape)} and labels {tuple(labels.shape)} for boxes {tuple(boxes.shape)}; "
                "a class per box and a label per picture are needed"
            )
        good = good & (guessed == labels[:, None])
    return 1 - float(good.any(1).double().mean())


def met(boxes: Tensor, truth: Sequence[Tensor], least: float = IOU) -> Tensor:
    """Whether each box (b, 4) or (b, k, 4) meets a true one, (b, k): intersection over union of `least` or more with any."""
    checks.real("least", least, low=0, high=1)
    if not isinstance(boxes, Tensor) or boxes.ndim not in (2, 3) or boxes.shape[-1] != 4:
        raise RequestError(f"boxes are {_what(boxes)}; (b, 4) or (b, k, 4) is needed")
    _check(truth, len(boxes))
    several = boxes.view(len(boxes), -1, 4)
    return torch.stack([iou(some, true).amax(1) >= least for some, true in zip(several, truth, strict=True)])


@dataclass(frozen=True, eq=False)
class BoxAccuracy:
    """Shares of pictures whose box is right, (t, n): at each of t thresholds and n overlaps.

    thresholds  shares of each map's maximum;  ious  the overlaps
    """

    accuracy: Tensor
    thresholds: tuple[float, ...]
    ious: tuple[float, ...]

    def best(self, overlap: float = IOU) -> tuple[float, float]:
        """The largest share and the first threshold that has it. It is chosen with the boxes seen: an upper bound."""
        if overlap not in self.ious:
            raise RequestError(f"overlap is {shown(overlap)}; one of {', '.join(map(str, self.ious))} is needed")
        column = self.accuracy[:, self.ious.index(overlap)]
        return float(column.max()), self.thresholds[int(column.argmax())]

    @property
    def mean(self) -> float:
        """The mean over the overlaps of the best share of each."""
        return float(self.accuracy.amax(0).mean())


@shielded
def max_box_acc(
    values: Tensor | Sequence[Tensor],
    truth: Sequence[Tensor],
    *,
    thresholds: Sequence[float] = SWEEP,
    ious: Sequence[float] = IOUS,
    all_components: bool = True,
) -> BoxAccuracy:
    """How well the boxes of maps (b, h, w) can do at all: the best threshold, which is the same for all pictures.

    values  of the size of the pictures that the true boxes are of; negative ones count as 0
    With the defaults `mean` is MaxBoxAccV2: of all components the best counts. With all_components=False and ious=(0.5,) it is
    MaxBoxAcc, of the largest component alone.
    Source: Choe et al. 2020, §4.1; 2022 (V2).
    """
    several = list(values) if isinstance(values, list | tuple | Tensor) and len(values) else []
    if not several or not all(isinstance(one, Tensor) and one.ndim == 2 and one.is_floating_point() for one in several):
        raise RequestError(f"values must be maps, a float tensor (b, h, w) or a list of (h, w), got {_what(values)}")
    _check(truth, len(several))
    shares = tuple(checks.real("thresholds", share, low=0, high=1) for share in thresholds)
    overlaps = tuple(checks.real("ious", share, low=0, high=1) for share in ious)
    if not shares or not overlaps or not len(truth):
        raise RequestError("no thresholds, no ious or no maps; at least one each is needed")
    found = [best_ious(one, true, shares) for one, true in zip(several, truth, strict=True)]
    return box_accuracy(torch.stack([of_all if all_components else largest for largest, of_all in found]), shares, overlaps)


def box_accuracy(best: Tensor, thresholds: Sequence[float] = SWEEP, ious: Sequence[float] = IOUS) -> BoxAccuracy:
    """Of overlaps (b, t) as `best_ious` gives them."""
    right = torch.stack([(best >= share).double().mean(0) for share in ious], 1)
    return BoxAccuracy(right, tuple(thresholds), tuple(ious))


def best_ious(values: Tensor, true: Tensor, thresholds: Sequence[float] = SWEEP) -> tuple[Tensor, Tensor]:
    """(t,) each: at each threshold the overlap of a map's (h, w) largest component with a true box (n, 4), the best of them;
    and that of the best of all components; 0 without a box."""
    largest, of_all = [], []
    for share in thresholds:
        boxes = components(mask_of(values, share)).boxes
        overlaps = iou(boxes, true).amax(1) if len(boxes) else torch.zeros(1)
        largest.append(float(overlaps[0]))
        of_all.append(float(overlaps.max()))
    return torch.tensor(largest, dtype=torch.double), torch.tensor(of_all, dtype=torch.double)


@shielded
def pointing_game(
    points: Tensor, truth: Sequence[Tensor], sizes: Sequence[tuple[int, int]], *, tolerance: float = TOLERANCE
) -> float:
    """The share of pictures whose point, x and y (b, 2), lies in a true box or near it, in [0, 1].

    sizes      (height, width) of each picture
    tolerance  distance in pixels of a picture whose longer side is 500; it is scaled to each picture's
    Source: Zhang et al. 2016, §4.1.
    """
    return float(pointed(points, truth, sizes, tolerance=tolerance).double().mean())


def pointed(
    points: Tensor, truth: Sequence[Tensor], sizes: Sequence[tuple[int, int]], *, tolerance: float = TOLERANCE
) -> Tensor:
    """Which points (b, 2) lie in a true box or near it, (b,)."""
    checks.real("tolerance", tolerance, low=0)
    if not isinstance(points, Tensor) or points.ndim != 2 or points.shape[1] != 2:
        raise RequestError(f"points are {_what(points)}; (b, 2), x and y, is needed")
    _check(truth, len(points))
    if not isinstance(sizes, list | tuple):
        raise RequestError(f"sizes must be a list of (height, width), got {shown(sizes)}")
    if len(sizes) != len(points):
        raise RequestError(f"{len(sizes)} sizes for {len(points)} points; one each is needed")
    sizes = [checks.size(size) for size in sizes]
    hits = []
    for point, true, size in zip(points.double(), truth, sizes, strict=True):
        boxes = true.double()
        away = torch.maximum(boxes[:, :2] - point, point - boxes[:, 2:]).clamp(min=0)
        hits.append(bool((away.square().sum(1).sqrt() <= tolerance * max(size) / SIDE).any()))
    return torch.tensor(hits)


def _check(truth: Sequence[Tensor], count: int) -> None:
    if not isinstance(truth, list | tuple | Tensor):
        raise RequestError(f"truth must be a list of true boxes, one tensor (n, 4) per picture, got {shown(truth)}")
    if len(truth) != count:
        raise RequestError(f"true boxes of {len(truth)} pictures for {count}; one tensor (n, 4) per picture is needed")
    for true in truth:
        if not len(checked(true)):
            raise RequestError("a picture has no true box; one or more are needed")


def _what(value: object) -> object:
    return tuple(value.shape) if isinstance(value, Tensor) else shown(value)
