"""Recognisability: what networks that took no part make of class models."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from ..ambient import shielded
from ..errors import RequestError, shown
from ..network.network import Network
from ..pictures.statistics import SIDE, statistics
from ..rendering.judges import BATCH, scores_by
from ..results import door


@dataclass(frozen=True, eq=False)
class Judgement:
    """What one judge says of b pictures of known classes.

    scores, probabilities  (b,) of the class that was meant;  ranks (b,), 1 is the judge's first choice
    choices                (b,) the index of the judge's first choice;  `chosen` its name
    """

    judge: str
    scores: Tensor
    probabilities: Tensor
    ranks: Tensor
    choices: Tensor
    chosen: tuple[str, ...]

    def top(self, k: int = 1) -> float:
        """The share of pictures whose class is among the judge's k first choices."""
        return float((self.ranks <= k).double().mean())


@dataclass(frozen=True, eq=False)
class Recognisability:
    """judgements, one a judge, in their order; classes, the names that were meant.

    spectrum   (b,) how far the strength of frequencies is from natural pictures': root mean square over bands of the natural
               logarithm of the ratio; 0 is natural, 0.7 a factor of 2 everywhere
    agreement  among pictures of one class, the share on which the judges' most frequent choice falls, mean over classes that
               have several pictures (seeds) and over judges; None where no class has
    nearest    (b,) the index of the nearest of the real pictures that were given, by the first judge's last map; or None
    """

    classes: tuple[str, ...]
    judgements: tuple[Judgement, ...]
    spectrum: Tensor
    agreement: float | None
    nearest: Tensor | None

    def to_dict(self) -> dict[str, Any]:
        """Plain numbers: the shares of each judge, and a row a picture."""
        return {
            "judges": [{"judge": j.judge, "top1": j.top(1), "top5": j.top(5)} for j in self.judgements],
            "spectrum": float(self.spectrum.mean()),
            "agreement": self.agreement,
            "pictures": [self._row(i) for i in range(len(self.classes))],
        }

    def _row(self, i: int) -> dict[str, Any]:
        said = [
            {
                "judge": j.judge,
                "score": float(j.scores[i]),
                "probability": float(j.probabilities[i]),
                "rank": int(j.ranks[i]),
                "chosen": j.chosen[i],
            }
            for j in self.judgements
        ]
        nearest = None if self.nearest is None else int(self.nearest[i])
        return {"class": self.classes[i], "spectrum": float(self.spectrum[i]), "nearest": nearest, "judgements": said}


@shielded
@door.takes(pictures=door.photos, classes=door.names, judges=door.networks)
def recognisability(
    pictures: Tensor, classes: Sequence[str], judges: Sequence[Network], *, real: Tensor | None = None
) -> Recognisability:
    """How networks classify pictures (b, c, h, w) in [0, 1] that were drawn for the named classes.

    A judge that did not take part in the drawing is what counts; the network that drew recognises nearly everything it draws.
    Pictures are rounded to 8 bits, as they would be saved, and fitted to each judge as its photographs are.

    classes  one name a picture, or its index where judges number their classes alike
    real     real pictures (n, c, h, w), for `nearest`
    """
    if pictures.ndim != 4 or not len(pictures):
        raise RequestError(f"pictures are {tuple(pictures.shape)}; (b, c, h, w) with b of 1 or more is needed")
    if len(classes) != len(pictures):
        raise RequestError(f"{len(classes)} classes for {len(pictures)} pictures; one each is needed")
    if not judges:
        raise RequestError("no judges; at least one network is needed")
    pictures = (pictures.detach().cpu().float().clamp(0, 1) * 255).round() / 255
    judgements = tuple(_judged(judge, pictures, classes) for judge in judges)
    return Recognisability(
        tuple(str(name) for name in classes),
        judgements,
        spectrum_distance(pictures),
        _agreement(classes, judgements),
        None if real is None else _nearest(judges[0], pictures, real),
    )


def spectrum_distance(pictures: Tensor) -> Tensor:
    """(b,) how far the strength of each frequency is from natural pictures'; overall contrast does not count.

    Root mean square over bands of equal frequency of ln(ours / natural) less its mean, on lightness, at 256 px.
    """
    grey = pictures.mean(1, keepdim=True)
    sized = F.interpolate(grey, size=(SIDE, SIDE), mode="bilinear", antialias=True, align_corners=False)[:, 0]
    ours = torch.fft.rfft2(sized - sized.mean((1, 2), keepdim=True)).abs()
    # Bands up to what a picture of this size can hold: an enlarged one has nothing above.
    most = min(SIDE, *pictures.shape[-2:]) // 2
    ratio = torch.log(_bands(ours, most) + 1e-8) - torch.log(_bands(statistics().spectrum[:1].float(), most))
    return (ratio - ratio.mean(1, keepdim=True)).square().mean(1).sqrt()


def _bands(spectrum: Tensor, most: int) -> Tensor:
    """(b, 256, 129) -> (b, bands): the mean magnitude at 1, 2, 3, … cycles."""
    y, x = torch.fft.fftfreq(SIDE)[:, None] * SIDE, torch.arange(SIDE // 2 + 1)[None]
    band = torch.hypot(y, x.float()).round().long().clamp(max=most + 1).flatten()
    count = torch.zeros(most + 2).index_add(0, band, torch.ones(band.numel()))
    total = torch.zeros(len(spectrum), most + 2).index_add(1, band, spectrum.flatten(1).float())
    return (total / count)[:, 1 : most + 1]


def _judged(judge: Network, pictures: Tensor, classes: Sequence[str]) -> Judgement:
    scores, target = scores_by(judge, pictures, classes)
    meant = scores.gather(1, target)
    certain = judge.probabilities(scores).gather(1, target)[:, 0]
    choices = scores.argmax(1)
    chosen = tuple(judge.classes[i] for i in choices.tolist())
    return Judgement(judge.name, meant[:, 0], certain, 1 + (scores > meant).sum(1), choices, chosen)


def _agreement(classes: Sequence[str], judgements: Sequence[Judgement]) -> float | None:
    places = [[i for i, other in enumerate(classes) if other == name] for name in dict.fromkeys(classes)]
    several = [group for group in places if len(group) > 1]
    if not several:
        return None
    shares = [int(torch.bincount(judgement.choices[group]).max()) / len(group) for judgement in judgements for group in several]
    return sum(shares) / len(shares)


def _nearest(judge: Network, pictures: Tensor, real: Tensor) -> Tensor:
    maps = [layer.address for layer in judge.layers() if layer.by_image and len(layer.shape) == 3]
    if not maps:
        raise RequestError(f"judge {shown(judge.name)} has no layer with maps to compare pictures by")
    ours, theirs = (_features(judge, maps[-1], some) for some in (pictures, real))
    return (ours @ theirs.T).argmax(1)


def _features(judge: Network, address: str, pictures: Tensor) -> Tensor:
    with torch.no_grad(), judge.reading() as read:
        found = [read(judge.preprocess.fit(some), {address})[address].mean((2, 3)).cpu() for some in pictures.split(BATCH)]
    return F.normalize(torch.cat(found).float(), dim=1)
