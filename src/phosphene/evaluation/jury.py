"""Juries: one number for how well pictures are recognised, smooth enough to climb."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor
from torch.nn import functional as F

from ..errors import RequestError, shown
from ..network.network import Network
from ..rendering.projections import Blur
from ..seeding import stream
from .perturbed import STRENGTH, perturbed
from .recognisability import Judgement, recognisability

FLOOR = -10.0  # nats: a class that a judge rules out counts no worse, or one picture would outweigh all others
TURN = 25.0  # degrees
NOISE = 0.1  # standard deviation, in units of [0, 1]


@dataclass(frozen=True)
class Verdict:
    """How well pictures were recognised.

    score       the mean over pictures and judges of ln p of the class that was meant, each no less than −10
    top1, top5  shares of pictures whose class is the judge's first choice, or among its first five
    """

    score: float
    top1: float
    top5: float

    @classmethod
    def of(cls, judgements: Sequence[Judgement]) -> Verdict:
        """Every judge counts alike."""
        scores = [float(said.probabilities.double().log().clamp(min=FLOOR).mean()) for said in judgements]
        shares = [[said.top(k) for said in judgements] for k in (1, 5)]
        mean, top1, top5 = (math.fsum(numbers) / len(judgements) for numbers in (scores, *shares))
        return cls(mean, round(top1, 6), round(top5, 6))  # shares are of float32


class Jury(Protocol):
    """Gives a verdict on pictures (b, c, h, w) of the named classes; `notes` say how far it can be trusted."""

    @property
    def notes(self) -> tuple[str, ...]: ...

    def __call__(self, pictures: Tensor, classes: Sequence[str]) -> Verdict: ...


@dataclass(frozen=True, eq=False)
class Independent:
    """Networks that took no part."""

    judges: tuple[Network, ...]
    notes: tuple[str, ...] = ()

    def __call__(self, pictures: Tensor, classes: Sequence[str]) -> Verdict:
        return Verdict.of(recognisability(pictures, classes, self.judges).judgements)


@dataclass(frozen=True, eq=False)
class Itself:
    """The network that draws, on changed pictures, and a perturbed copy of it, on the pictures as they are.

    twin  the copy, or None where the network cannot be copied
    """

    net: Network
    twin: Network | None
    seed: int
    notes: tuple[str, ...] = ()

    def __call__(self, pictures: Tensor, classes: Sequence[str]) -> Verdict:
        seen = changed(pictures, self.seed)
        said = recognisability(torch.cat(seen), list(classes) * len(seen), [self.net]).judgements
        if self.twin is not None:
            said += recognisability(pictures, classes, [self.twin]).judgements
        return Verdict.of(said)


def jury_of(net: Network, judges: Sequence[Network], seed: int) -> Jury:
    """The judges, or where none is given the network itself as far as it can judge."""
    if single := [one.name for one in (judges or [net]) if len(one.classes) < 2]:
        raise RequestError(f"judge {shown(single[0])} gives one score; recognisability needs two classes or more")
    if judges:
        own = net.sha256()
        same = [judge.name for judge in judges if judge.sha256() == own]
        notes = [f"judge {name} is the network that draws: it recognises nearly everything that it draws" for name in same]
        return Independent(tuple(judges), tuple(notes))
    twin = perturbed(net, seed)
    copied = f" and by a copy whose weights are changed by {STRENGTH:.0%}" if twin else "; it cannot be copied"
    note = (
        "no judge was given: recognisability is measured by the network itself on blurred, coarsened, turned and noisy "
        f"pictures{copied}, which is weaker evidence than a judge that took no part"
    )
    return Itself(net, twin, seed, (note,))


def changed(pictures: Tensor, seed: int) -> list[Tensor]:
    """The pictures (b, c, h, w) blurred, coarsened, turned either way and with noise, in [0, 1].

    The blur has a sigma of 1/64 of the shorter side, the coarse picture half as many pixels, the turns are by 25°, further than
    any recipe of ours turns, the noise has a standard deviation of 0.1 and depends on the seed and the place in the batch.
    """
    h, w = pictures.shape[-2:]
    pictures = pictures.detach().cpu().float()
    coarse = F.interpolate(pictures, size=(max(h // 2, 1), max(w // 2, 1)), mode="bilinear", antialias=True)
    fields = [torch.randn(pictures.shape[1:], generator=stream(seed, "jury", str(i))) for i in range(len(pictures))]
    every = [
        Blur(min(h, w) / 64)(pictures, pictures),
        F.interpolate(coarse, size=(h, w), mode="bilinear", align_corners=False),
        _turned(pictures, TURN),
        _turned(pictures, -TURN),
        pictures + NOISE * torch.stack(fields),
    ]
    return [one.clamp(0, 1) for one in every]


def _turned(pictures: Tensor, degrees: float) -> Tensor:
    """About the centre; what comes in from outside is the reflection."""
    h, w = pictures.shape[-2:]
    c, s = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    theta = pictures.new_tensor([[c, -s * h / w, 0.0], [s * w / h, c, 0.0]]).expand(len(pictures), 2, 3)
    where = F.affine_grid(theta, list(pictures.shape), align_corners=False)
    return F.grid_sample(pictures, where, padding_mode="reflection", align_corners=False)
