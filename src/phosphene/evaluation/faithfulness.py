"""Faithfulness: whether what a map points at is what the network's answer depends on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from .. import checks
from ..ambient import shielded
from ..errors import RequestError
from ..network.network import Network
from ..pictures.converting import Pictures
from ..results import door
from ..results.question import Asked
from ..seeding import stream
from . import removal
from .imputation import imputed
from .removal import SMOOTHING, Judged, Map

STEPS = 14  # of a curve: twice as many move the areas by about 0.01, for all methods alike
SHARES = (0.2, 0.5, 0.8)  # of the picture that ROAD takes away; the source takes nine, every tenth
NOISE = 0.01  # standard deviation, in units of [0, 1]: the source's code


@dataclass(frozen=True, eq=False)
class InsertionDeletion:
    """Areas under the curves of one method's maps, mean over shares of the picture.

    deletion   (b,) less is better;  insertion (b,) more is better
    shares     (n + 1,) from 0 to 1;  deleted, inserted (b, n + 1): what is watched after each share
    notes      what may mislead
    """

    method: str
    shares: Tensor
    deleted: Tensor
    inserted: Tensor
    notes: tuple[str, ...] = ()

    @property
    def deletion(self) -> Tensor:
        return torch.trapezoid(self.deleted, self.shares, dim=1)

    @property
    def insertion(self) -> Tensor:
        return torch.trapezoid(self.inserted, self.shares, dim=1)


@dataclass(frozen=True, eq=False)
class AverageDrop:
    """What is left of the probability where only what a map shows is seen.

    drop       (b,) in [0, 1]: max(0, Y − O) / Y, less is better; its mean over pictures is the average drop
    increased  (b,) bool: whether O > Y; its share is the average increase
    shown      (b,) the mean of the mask: a map that shows everything drops nothing
    """

    method: str
    drop: Tensor
    increased: Tensor
    shown: Tensor
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class Road:
    """What is watched after shares of the picture were taken away and imputed.

    most, least  (b, n): the most or the least important first;  shares (n,)
    """

    method: str
    shares: Tensor
    most: Tensor
    least: Tensor
    notes: tuple[str, ...] = ()

    @property
    def score(self) -> Tensor:
        """(b,): mean over the shares of (least − most) / 2. More is better; a map that knows nothing has 0."""
        return (self.least - self.most).mean(1) / 2


@shielded
@door.takes(net=door.network, photo=door.photos, objective=door.objectives_or_none)
def insertion_deletion(
    net: Network,
    photo: Pictures,
    maps: Map,
    objective: Asked = None,
    *,
    steps: int = STEPS,
    smoothing: float = SMOOTHING,
    deleted: str = "mean",
    inserted: str = "blurred",
    seed: int = 0,
    chunk: int | None = None,
    images: Sequence[str] | None = None,
    normalised: bool = False,
) -> InsertionDeletion:
    """How fast the probability of a class falls as a map's largest places go, and rises as they come.

    photo      (b, c, h, w) in [0, 1], or several of different sizes; fitted as `explain` does
    maps       a method by name ("random" is the baseline) or with its settings, a Heatmap of these pictures, or (b, h, w)
    objective  as `explain` takes it. Of a class its probability is watched; another objective is scaled so that the whole
               picture has 1 and the mean picture 0
    steps      points of a curve beyond the first
    smoothing  of the map before, as a share of the shorter side; 0: none, as in the source, where a random map looks best
    deleted, inserted  what stands in a deleted place and what insertion starts from: "mean", the colour that is zero to the
               network, or "blurred", the picture blurred with a sigma of 1/20 of its shorter side

    Source: Petsiuk, Das & Saenko 2018, §3.2 and §4. Differs: all maps are smoothed, see `removal.order`; 14 steps and not 224.
    """
    steps = checks.whole("steps", steps, low=1, high=10_000)
    question = removal.asked(net, photo, objective, images, seed, chunk)
    return curves(removal.judged(question, maps), steps, smoothing, deleted, inserted)


def curves(
    said: Judged, steps: int = STEPS, smoothing: float = SMOOTHING, deleted: str = "mean", inserted: str = "blurred"
) -> InsertionDeletion:
    question, pictures = said.question, said.question.pictures
    first = removal.order(said.values, smoothing, question.seed).to(pictures.device)[:, None]
    nothing, blurred = removal.starts(question, deleted), removal.starts(question, inserted)
    jobs = [(i, k) for i in range(len(question)) for k in range(1, steps + 1)]
    fell = said.watched.at(jobs, lambda i, k: torch.where(first[i] < k / steps, nothing[i], pictures[i]))
    # The whole picture ends insertion and begins deletion.
    rose = said.watched.at(jobs, lambda i, k: torch.where(first[i] < (k - 1) / steps, pictures[i], blurred[i]))
    whole = said.watched.whole[:, None]
    down = torch.cat([whole, fell.view(-1, steps)], 1)
    up = torch.cat([rose.view(-1, steps), whole], 1)
    return InsertionDeletion(said.method, torch.linspace(0, 1, steps + 1), down, up, said.watched.notes)


@shielded
@door.takes(net=door.network, photo=door.photos, objective=door.objectives_or_none)
def average_drop(
    net: Network,
    photo: Pictures,
    maps: Map,
    objective: Asked = None,
    *,
    half: bool = False,
    smoothing: float = SMOOTHING,
    seed: int = 0,
    chunk: int | None = None,
    images: Sequence[str] | None = None,
    normalised: bool = False,
) -> AverageDrop:
    """How much probability is lost where a picture is seen through its map, and whether it grows.

    The mask is the map's positive part divided by its largest value; what it hides is the mean colour.
    half: the mask is the rank of each pixel from 0 to 1, so that every map shows half of the picture. As in the source, a map
    with few large places shows next to nothing, and even a random one, which shows half, does better.
    Source: Chattopadhay et al. 2018, §5.1. The other arguments as in `insertion_deletion`, `smoothing` for `half` alone.
    """
    question = removal.asked(net, photo, objective, images, seed, chunk)
    return drops(removal.judged(question, maps), half, smoothing)


def drops(said: Judged, half: bool = False, smoothing: float = SMOOTHING) -> AverageDrop:
    question, pictures = said.question, said.question.pictures
    if half:
        mask = 1 - removal.order(said.values, smoothing, question.seed)
    else:
        positive = said.values.clamp(min=0)
        mask = positive / positive.amax((1, 2), keepdim=True).clamp(min=torch.finfo(positive.dtype).tiny)
    mask, mean = mask.to(pictures), question.mean_picture()[0]
    left = said.watched.at([(i, 0) for i in range(len(question))], lambda i, k: torch.lerp(mean, pictures[i], mask[i]))
    whole = said.watched.whole
    drop = ((whole - left) / whole.clamp(min=torch.finfo(whole.dtype).tiny)).clamp(0, 1)
    return AverageDrop(said.method, drop, left > whole, mask.mean((1, 2)).cpu(), said.watched.notes)


@shielded
@door.takes(net=door.network, photo=door.photos, objective=door.objectives_or_none)
def road(
    net: Network,
    photo: Pictures,
    maps: Map,
    objective: Asked = None,
    *,
    shares: Sequence[float] = SHARES,
    smoothing: float = SMOOTHING,
    noise: float = NOISE,
    seed: int = 0,
    chunk: int | None = None,
    images: Sequence[str] | None = None,
    normalised: bool = False,
) -> Road:
    """Remove and debias: what the network says where a map's places are taken away and filled in from their surroundings.

    Filled in, a hole does not tell its shape: what falls is what was in it, and not the edge. `score` is half the difference
    between taking the least and the most important first.
    shares  of the picture, each above 0 and below 1;  noise  standard deviation, in units of [0, 1]
    Source: Rong et al. 2022, without training again; see `imputation.imputed`. The other arguments as in `insertion_deletion`.
    """
    question = removal.asked(net, photo, objective, images, seed, chunk)
    return removed(removal.judged(question, maps), shares, smoothing, noise)


def removed(said: Judged, shares: Sequence[float] = SHARES, smoothing: float = SMOOTHING, noise: float = NOISE) -> Road:
    shares = [checks.real("share", share, low=0, high=1) for share in shares]
    if not shares or min(shares) == 0 or max(shares) == 1:
        raise RequestError(f"shares are {shares}; one or more, each above 0 and below 1, are needed")
    noise = checks.real("noise", noise, low=0, high=1)
    question, pictures = said.question, said.question.pictures
    first = removal.order(said.values, smoothing, question.seed).to(pictures.device)
    spread = noise * torch.randn(pictures.shape[1:], generator=stream(question.seed, "road")).to(pictures)
    count, found = len(shares), []
    for i in range(len(question)):
        gone = torch.stack([first[i] < share for share in shares] + [first[i] >= 1 - share for share in shares])
        filled = imputed(pictures[i].expand(2 * count, -1, -1, -1), gone)
        found.append(said.watched.of_picture(i, (filled + spread * gone[:, None]).clamp(0, 1)).view(2, count))
    both = torch.stack(found)
    return Road(said.method, torch.tensor(shares), both[:, 0], both[:, 1], said.watched.notes)
