"""Methods that change the picture and watch the objective: no gradient is needed, and any network can be asked."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor
from torch.nn import functional as F

from .. import checks
from ..errors import RequestError
from ..results.method import Maps, Method, Sampled
from ..results.question import Question
from ..seeding import stream

RISE_CELLS, RISE_SHARE = 7, 0.5  # Petsiuk, Das & Saenko 2018, §4.1
AT_ONCE = 64  # masks that are held: thousands would fill the memory
RISE_MASKS = 1000  # a quarter of theirs for VGG-16: on a MobileNetV2 the map of the next 1000 looks the same


@dataclass(frozen=True)
class Occlusion(Method):
    """How far the objective falls when a window is painted over with the mean colour, averaged over the windows on a pixel.

    window, stride  in pixels; None: an eighth of each side, and half the window. The last window of a row ends at the border.
    Source: Zeiler & Fergus 2014, §4.2.
    """

    window: int | None = None
    stride: int | None = None

    def __post_init__(self) -> None:
        for name, value in (("window", self.window), ("stride", self.stride)):
            if value is not None:
                checks.whole(name, value, low=1, high=checks.LARGEST_SIDE)

    @property
    def name(self) -> str:
        return "occlusion"

    def __call__(self, question: Question) -> Maps:
        h, w = (int(side) for side in question.pictures.shape[-2:])
        boxes = self._boxes(h, w)
        pictures, mean = question.pictures, question.mean_picture()[0]

        def seen(i: int, k: int) -> Tensor:
            covered = pictures[i].clone()
            covered[boxes[k]] = mean[boxes[k]]
            return covered

        jobs = [(i, k) for i in range(len(question)) for k in range(len(boxes))]
        reached, scores = question.said()
        falls = reached[:, None] - question.value_of(jobs, seen).view(len(question), -1)
        total, count = torch.zeros(len(question), h, w, dtype=torch.float64), torch.zeros(h, w)
        for k, box in enumerate(boxes):
            total[box] += falls[:, k, None, None]
            count[box[1:]] += 1
        return Maps((total / count).float(), has_sign=True, reached=reached, scores=scores)

    def _boxes(self, h: int, w: int) -> list[tuple[slice, slice, slice]]:
        rows, columns = (self._spans("window", side) for side in (h, w))
        return [(slice(None), row, column) for row in rows for column in columns]

    def _spans(self, name: str, side: int) -> list[slice]:
        window = self.window or max(1, round(side / 8))
        if window > side:
            raise RequestError(f"{name} is {window}; up to {side}, the side of the picture, is needed")
        stride = self.stride or max(1, window // 2)
        starts = [*range(0, side - window, stride), side - window]
        return [slice(start, start + window) for start in starts]


@dataclass(frozen=True)
class Rise(Sampled):
    """What a pixel is worth when it is seen: the mean value over random masks, weighted by how far each lets it through,
    minus the plain mean over the masks.

    cells  of the coarse random grid, enlarged smoothly and shifted; seen: the share of cells let through
    Masks are the same for every picture and objective. What is hidden has the mean colour.
    Source: Petsiuk, Das & Saenko 2018, eq. 6. Differs: weights are divided by their sum at each pixel instead of by their
    expectation, and the mean is taken off: a raw score has no zero, and the map would mostly be its level.
    """

    samples: int = field(default=RISE_MASKS)
    cells: int = RISE_CELLS
    seen: float = RISE_SHARE

    def __post_init__(self) -> None:
        super().__post_init__()
        checks.whole("cells", self.cells, low=2, high=1024)
        checks.real("seen", self.seen, low=0.01, high=0.99)

    @property
    def name(self) -> str:
        return "rise"

    def __call__(self, question: Question) -> Maps:
        h, w = (int(side) for side in question.pictures.shape[-2:])
        weighted, weight = torch.zeros(len(question), h, w, dtype=torch.float64), torch.zeros(h, w, dtype=torch.float64)
        level = torch.zeros(len(question), dtype=torch.float64)
        base = level[:, None]
        for first in range(0, self.samples, AT_ONCE):
            numbers = range(first, min(first + AT_ONCE, self.samples))
            masks = torch.stack([self.mask(question.seed, k, h, w) for k in numbers])
            worth = _worth(question, masks)
            base = worth[:, :1] if first == 0 else base  # drops out; without it equal values leave a map of rounding errors
            worth = worth - base
            weighted += torch.einsum("bk,khw->bhw", worth, masks.double())
            weight += masks.double().sum(0)
            level += worth.sum(1)
        return Maps((weighted / weight.clamp(min=1e-12) - (level / self.samples)[:, None, None]).float(), has_sign=True)

    def mask(self, seed: int, k: int, h: int, w: int) -> Tensor:
        """Mask k, (h, w) in [0, 1]."""
        draws = stream(seed, "rise", str(k))
        grid = (torch.rand((1, 1, self.cells, self.cells), generator=draws) < self.seen).float()
        ch, cw = -(-h // self.cells), -(-w // self.cells)
        large = F.interpolate(grid, size=((self.cells + 1) * ch, (self.cells + 1) * cw), mode="bilinear", align_corners=False)
        top, left = (int(torch.randint(0, cell, (1,), generator=draws)) for cell in (ch, cw))
        return large[0, 0, top : top + h, left : left + w].clamp(0, 1)  # which rounding leaves


def _worth(question: Question, masks: Tensor) -> Tensor:
    """The objectives' values (b, masks) where a mask hides each picture."""
    pictures, mean, there = question.pictures, question.mean_picture()[0], masks.to(question.pictures)
    jobs = [(i, k) for i in range(len(question)) for k in range(len(masks))]
    worth = question.value_of(jobs, lambda i, k: mean + there[k] * (pictures[i] - mean))
    return worth.double().view(len(question), -1)
