"""In which order a map takes a picture's places away, and what is watched meanwhile."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from .. import checks
from ..errors import RequestError, shown
from ..network.network import Network
from ..objectives.expression import Objective
from ..objectives.units import probability
from ..pictures import overlay
from ..pictures.converting import Pictures
from ..rendering.projections import Blur
from ..results.heatmap import Heatmap
from ..results.method import Method, find_method, maps_of
from ..results.question import Asked, Question
from ..seeding import stream
from .baseline import RandomMap

SMOOTHING = 1 / 7  # of the shorter side: a cell of the last maps of most networks. See `order`
ROUNDED = 1e9
BLUR = 1 / 20  # of the shorter side: sigma of the blurred picture that insertion starts from
STARTS = ("mean", "blurred")
LEAST_RISE = 1e-6  # of the objective's size: what rises less from the mean picture has no scale

Map = str | Method | Heatmap | Tensor


@dataclass(frozen=True, eq=False)
class Watched:
    """A question's objectives as numbers of which 1 is the whole picture's at best and 0 is nothing.

    Of a class it is its probability, as it is. Any other objective is scaled so that the picture has 1 and the mean picture 0.

    question  asks what is watched;  whole (b,) at the pictures
    notes     per picture, where the objective is not above its value at the mean picture
    """

    question: Question
    whole: Tensor
    low: Tensor
    rise: Tensor
    notes: tuple[str, ...]

    @classmethod
    def of(cls, question: Question) -> Watched:
        asking = question.asking([_certainty(question, i) for i in range(len(question))])
        every = [(i, k) for i in range(len(question)) for k in range(2)]
        mean = question.mean_picture()[0]
        reached = asking.value_of(every, lambda i, k: mean if k else question.pictures[i]).view(-1, 2)
        low, rise, notes = torch.zeros(len(question)), torch.ones(len(question)), []
        for i, (high, none) in enumerate(reached.tolist()):
            if question.target(i) is not None:
                continue
            low[i], rise[i] = none, high - none
            if rise[i] <= LEAST_RISE * max(abs(high), abs(none)):
                rise[i] = max(abs(high), abs(none)) or 1.0
                notes.append(f"{question.images[i]}: {question.asked[i]} is not above its value at the mean picture")
        return cls(asking, (reached[:, 0] - low) / rise, low, rise, tuple(notes))

    def at(self, jobs: Sequence[tuple[int, int]], seen: Callable[[int, int], Tensor]) -> Tensor:
        """(n,): job (i, k) is what is watched of picture i at `seen(i, k)` (c, h, w)."""
        rows = [i for i, _ in jobs]
        return (self.question.value_of(jobs, seen) - self.low[rows]) / self.rise[rows]

    def of_picture(self, i: int, changed: Tensor) -> Tensor:
        """(n,): what is watched of picture i at changed pictures (n, c, h, w)."""
        return self.at([(i, k) for k in range(len(changed))], lambda _, k: changed[k])


def _certainty(question: Question, i: int) -> Objective:
    """The class's probability."""
    target = question.target(i)
    if target is None:
        return question.resolved[i]
    return probability(target).resolved(question.net.index, question.net.link)


@dataclass(frozen=True, eq=False)
class Judged:
    """A map of each picture, about to be judged.

    values   (b, h, w) float32 on the CPU, in the pictures' size; what is larger is said to matter more
    watched  the objectives as they are measured
    """

    method: str
    values: Tensor
    watched: Watched

    @property
    def question(self) -> Question:
        return self.watched.question


def asked(
    net: Network, photo: Pictures, objective: Asked, images: Sequence[str] | None, seed: int, chunk: int | None
) -> Question:
    """As `explain` asks, no gradient."""
    return Question.of(net, photo, objective, images=images, seed=seed, chunk=chunk)


def judged(question: Question, given: Map, watched: Watched | None = None) -> Judged:
    """A method's maps of the pictures, or maps that are there already: a Heatmap of them, or (b, h, w) of any size."""
    method = method_of(given) if isinstance(given, str | Method) else None
    values: object = worth(question, method) if method else given
    if isinstance(given, Heatmap):
        values = given.values.abs() if given.by_size else given.values
    if not isinstance(values, Tensor) or values.ndim != 3 or len(values) != len(question) or 0 in values.shape:
        what = tuple(values.shape) if isinstance(values, Tensor) else shown(values)
        raise RequestError(f"map is {what}; a method's name, a Heatmap or ({len(question)}, h, w), one per picture, is needed")
    values = values.detach().cpu().float()
    if not bool(torch.isfinite(values).all()):
        raise RequestError("the maps hold NaN or infinite values; finite ones are needed")
    h, w = (int(side) for side in question.pictures.shape[-2:])
    name = method.name if method else given.method if isinstance(given, Heatmap) else "map"
    return Judged(name, overlay.resized(values, (h, w)), watched or Watched.of(question))


def worth(question: Question, method: Method) -> Tensor:
    """(b, h, w) float32 on the CPU: how much each place matters, says a method. What is not finite is 0, as `explain` tells it.

    Signed contributions count with their sign; of gradients, whose sign alternates from pixel to pixel, the size counts.
    """
    maps = maps_of(question, method)
    values = maps.values.detach().cpu().float()
    values = values.masked_fill(~torch.isfinite(values), 0.0)
    return values.abs() if maps.by_size else values


def method_of(given: str | Method) -> Method:
    """By name, "random" too; as it is."""
    return RandomMap() if given == "random" else find_method(given)


def order(values: Tensor, smoothing: float, seed: int) -> Tensor:
    """Which share of the pixels comes before each one, (b, h, w) in [0, 1): the largest first.

    smoothing: sigma of a Gaussian, as a share of the shorter side, that goes over the maps before. What is taken away has a
    shape, and a network minds scattered holes more than the loss of the object: pixel by pixel (smoothing 0) a random map
    deletes faster than most. Smoothed alike, all maps take away patches of one size, and what is left to differ is where.
    Equal places come in a random order of the seed's, the same for every map.
    """
    smoothing = checks.real("smoothing", smoothing, low=0, high=1)
    b, h, w = values.shape
    level = values.double()
    if smoothing:
        blurred = Blur(smoothing * min(h, w))(level[:, None], level[:, None])[:, 0]
        top = blurred.abs().amax((1, 2), keepdim=True).clamp(min=torch.finfo(level.dtype).tiny)
        level = (blurred / top * ROUNDED).round()  # sums of equal numbers differ in their last digits
    chance = torch.randperm(h * w, generator=stream(seed, "ties"))
    first = chance[level.flatten(1)[:, chance].argsort(dim=1, descending=True, stable=True)]
    before = (torch.arange(h * w) / (h * w)).expand(b, -1).contiguous()
    return torch.empty(b, h * w).scatter_(1, first, before).view(b, h, w)


def starts(question: Question, start: str) -> Tensor:
    """(b, c, h, w): what stands where a picture is taken away. mean: the colour that is zero to the network; blurred: the
    picture itself, blurred with a sigma of 1/20 of its shorter side."""
    if start not in STARTS:
        raise RequestError(f"start {shown(start)}; {' or '.join(STARTS)} is needed")
    pictures = question.pictures
    if start == "mean":
        return question.mean_picture().expand_as(pictures)
    return Blur(BLUR * min(pictures.shape[-2:]))(pictures, pictures)


def by_themselves(question: Question, i: int) -> Question:
    """The question about picture i alone."""
    return replace(
        question,
        pictures=question.pictures[i : i + 1],
        asked=question.asked[i : i + 1],
        resolved=question.resolved[i : i + 1],
        images=question.images[i : i + 1],
    )
