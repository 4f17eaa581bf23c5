"""The table of ways to locate: how the boxes of each agree with those that people drew, on the same photographs."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import torch
from torch import Tensor

from ..ambient import shielded
from ..errors import RequestError
from ..localisation.boxes import centre_box, to_fitted
from ..localisation.locate import Way, locate, places
from ..localisation.threshold import SWEEP
from ..network.network import Network
from ..objectives.units import logit
from ..results import door
from ..results.method import answer, find_method
from ..results.question import Question, fitted
from .boxes import IOUS, best_ious, box_accuracy, met, pointed

GUESSES = 5  # classes whose boxes are looked at: the top-5 error


@dataclass(frozen=True, eq=False)
class Case:
    """A photograph (1, c, h, w), the index of a class, and the true boxes (n, 4) of that class in the photograph's pixels."""

    name: str
    photo: Tensor
    label: int
    boxes: Tensor


@dataclass(frozen=True)
class Locating:
    """One way to locate, in the words of `locate`. map: a method of `explain`; None: the middle, without looking."""

    name: str
    map: str | None
    method: Way = "consensus"
    threshold: float | str = "otsu"


WAYS = (
    Locating("centre", None),
    Locating("saliency at 20 %", "saliency", "threshold", 0.2),
    Locating("cam at 20 %", "cam", "threshold", 0.2),
    Locating("cam", "cam", "threshold"),
    Locating("cam, graphcut", "cam", "graphcut"),
    Locating("fine_cam", "fine_cam", "threshold"),
    Locating("fine_cam, consensus", "fine_cam", "consensus"),
)


@dataclass(frozen=True)
class BoxRow:
    """What one way achieves, in shares of the photographs.

    class_known    of the true class's boxes, those with an intersection over union of 0.5 or more
    top1, top5     localisation error with the likeliest class, or the five, each with its own box
    max_box_acc    of the largest component at the best of all thresholds, and that threshold
    max_box_acc_v2 of all components, the mean over overlaps of 0.3, 0.5 and 0.7, each at its best threshold
    pointing       of the true class's largest places, those in a true box or 15 px of 500 about it
    """

    name: str
    class_known: float
    top1: float
    top5: float
    max_box_acc: float
    threshold: float
    max_box_acc_v2: float
    pointing: float


@dataclass(frozen=True)
class BoxTable:
    """rows, one a way; count of photographs; top1 and top5, the share of them that are classified right."""

    rows: tuple[BoxRow, ...]
    count: int
    top1: float
    top5: float

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(eq=False)
class _Found:
    """What one way found on the photographs so far."""

    way: Locating
    known: list[bool] = field(default_factory=list)
    right: list[Tensor] = field(default_factory=list)
    points: list[bool] = field(default_factory=list)
    largest: list[Tensor] = field(default_factory=list)
    components: list[Tensor] = field(default_factory=list)

    def row(self, top: int) -> BoxRow:
        right = torch.stack(self.right)
        best, threshold = box_accuracy(torch.stack(self.largest), ious=(0.5,)).best()
        return BoxRow(
            self.way.name,
            _share(self.known),
            1 - float(right[:, 0].double().mean()),
            1 - float(right[:, :top].any(1).double().mean()),
            best,
            threshold,
            box_accuracy(torch.stack(self.components), ious=IOUS).mean,
            _share(self.points),
        )


@shielded
@door.takes(net=door.network)
def localised(
    net: Network,
    cases: Iterable[Case],
    ways: Sequence[Locating] = WAYS,
    *,
    chunk: int | None = None,
    each: Callable[[Case], None] = lambda case: None,
) -> BoxTable:
    """How well each way locates the classes of photographs whose boxes are known.

    A stream: of each photograph a few numbers are kept. each: called with every case that is done.
    """
    found = [_Found(way) for way in door.all_of(Locating, "ways", ways)]
    if not found:
        raise RequestError("no ways to locate; at least one is needed")
    known: list[Tensor] = []
    top = min(GUESSES, len(net.classes))
    for case in door.all_of(Case, "cases", cases):
        picture = fitted(net, case.photo)
        guesses = net.scores(picture)[0].topk(top).indices.cpu()
        known.append(guesses == case.label)
        _look(net, case, picture, guesses, found, chunk)
        each(case)
    if not known:
        raise RequestError("no photographs; at least one with a true box is needed")
    right = torch.stack(known)
    rows = tuple(one.row(top) for one in found)
    return BoxTable(rows, len(known), float(right[:, 0].double().mean()), float(right.any(1).double().mean()))


def _look(net: Network, case: Case, picture: Tensor, guesses: Tensor, found: Sequence[_Found], chunk: int | None) -> None:
    """A guess of another class is wrong whatever its box, so that the true class's is all that is looked for."""
    h, w = (int(side) for side in case.photo.shape[-2:])
    true = to_fitted(case.boxes, net.preprocess, (h, w))
    for name in dict.fromkeys(one.way.map for one in found):
        same = [one for one in found if one.way.map == name]
        if name is None:
            heatmap, values = None, centred(net.preprocess.sides)
        else:
            question = Question.of(net, picture, logit(case.label), images=[case.name], chunk=chunk)
            heatmap = answer(question, find_method(name))
            values = places(heatmap)[0]
        largest, components = best_ious(values, true, SWEEP)
        for one in same:
            if heatmap is None:
                box, point = centre_box((h, w))[None], torch.tensor([[w / 2, h / 2]])
            else:
                located = locate(heatmap, one.way.method, picture=case.photo, threshold=one.way.threshold)
                box, point = located.boxes, located.points
            good = bool(met(box, [case.boxes])[0, 0])
            one.known.append(good)
            one.right.append((guesses == case.label) & good)
            one.points.append(bool(pointed(point, [case.boxes], [(h, w)])[0]))
            one.largest.append(largest)
            one.components.append(components)


def centred(size: tuple[int, int]) -> Tensor:
    """A map (h, w) in (0, 1] whose boxes at all thresholds are the centred ones of the picture's aspect."""
    y, x = (1 - ((torch.arange(side) + 0.5) / side * 2 - 1).abs() for side in size)
    return torch.minimum(y[:, None], x[None])


def _share(these: Sequence[bool]) -> float:
    return sum(these) / len(these)
