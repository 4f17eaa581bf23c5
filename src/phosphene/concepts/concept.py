"""`concept`: the direction of a layer that tells pictures with a concept from others, and how classes depend on it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from .. import checks
from ..ambient import shielded, shielded_methods
from ..errors import RequestError
from ..network.network import Network
from ..objectives.direction import direction
from ..objectives.expression import Objective
from ..objectives.spec import Meant, coerce
from ..pictures.files import write_whole
from ..results import door
from ..seeding import stream
from ..tables import Table
from .layer import gradients_at, maps_at, pictures_of

RUNS = 20  # concept vectors, each against other random pictures; Kim et al. 2018, §3.2, had up to 500
FEWEST = 6  # pictures of each kind
DECAY = 0.01  # of the classifier's weights, features scaled to a root mean square of 1
CHANCE = 0.7  # held-out accuracy below which a direction is hardly one of the concept
PERMUTATIONS = 10_000


@dataclass(frozen=True, eq=False)
class Tcav:
    """How a class depends on a concept.

    score     share of the class's pictures whose score grows along the concept's direction, the mean of all runs
    scores    (runs,) by each run's direction; random: by directions of random pictures against random ones
    p         of such a difference by chance, from a permutation test, two-sided
    notes     what may mislead
    """

    objective: str
    score: float
    scores: Tensor
    random: Tensor
    p: float
    notes: tuple[str, ...] = ()

    def __repr__(self) -> str:
        return f"Tcav({self.objective}: {self.score:.2f}, random {float(self.random.mean()):.2f}, p {self.p:.3g})"


@shielded_methods
@dataclass(frozen=True, eq=False)
class Concept:
    """What `concept` gives.

    vector     (k,) of length 1: the mean of the runs' directions, one number per channel
    vectors    (runs, k); random (runs, k): directions that tell random pictures from random ones
    accuracy   share of held-out pictures that the directions tell apart, the mean of the runs; 0.5 is chance
    direction  the objective ⟨f, v⟩: draw it, explain with it, find its patches
    """

    net: Network
    layer: str
    vector: Tensor
    vectors: Tensor
    random: Tensor
    accuracy: float
    notes: tuple[str, ...] = ()

    @property
    def direction(self) -> Objective:
        return direction(self.layer, self.vector)

    def tcav(self, pictures: Any, objective: Meant) -> Tcav:
        """The TCAV score of a class, or another objective, over pictures of it.

        Source: Kim et al. 2018, equations 1 and 2. Differs: the derivative is along the direction at all positions alike, and
        significance comes from a permutation test over runs instead of a t-test.
        """
        shown = pictures_of(self.net, "pictures", pictures)
        asked = coerce(objective, self.net.index).resolved(self.net.index, self.net.link)
        asked = asked.laid_out(self.net.layouts(asked.reads))
        towards = gradients_at(self.net, shown, self.layer, [asked] * len(shown)).sum((2, 3))
        scores, random = ((towards @ vectors.T > 0).float().mean(0) for vectors in (self.vectors, self.random))
        p = _by_chance(scores, random)
        notes = list(self.notes)
        if p > 0.05:
            notes.append(f"random directions do as well (p {p:.2g}): the score tells nothing of the concept")
        return Tcav(str(asked), float(scores.mean()), scores, random, p, tuple(notes))

    def table(self, pictures: Any, objectives: Sequence[Meant]) -> Table:
        """A row for each class, highest score first."""
        found = sorted((self.tcav(pictures, one) for one in objectives), key=lambda one: -one.score)
        rows = tuple((one.objective, f"{one.score:.2f}", f"{float(one.random.mean()):.2f}", f"{one.p:.2g}") for one in found)
        return Table(
            ("objective", "TCAV", "random", "p"), rows, f"concept at {self.layer}, accuracy {self.accuracy:.2f}", self.notes
        )

    def save(self, path: str | Path) -> Path:
        """Write the vector as .npy, which direction:LAYER:FILE.npy reads."""

        def write(beside: Path) -> None:
            with beside.open("wb") as file:
                np.save(file, self.vector.numpy())

        return write_whole(checks.path("path", path), write)

    def __repr__(self) -> str:
        return f"Concept({self.layer}, accuracy {self.accuracy:.2f}, {len(self.vectors)} runs)"


@shielded
@door.takes(net=door.network, layer=door.layer_or_none)
def concept(
    net: Network, positives: Any, negatives: Any, layer: str, *, runs: int = RUNS, held_out: float = 0.3, seed: int = 0
) -> Concept:
    """The direction of a layer (a concept activation vector) that tells pictures with a concept from others.

    positives  pictures with the concept, 6 or more; negatives: random others, at least as many; as every verb takes pictures
    layer      an address whose channels are averaged over positions
    runs       directions, each from other draws of negatives and held-out pictures
    held_out   share of the pictures that accuracy is measured on
    seed       of the draws

    The direction is the weights of a logistic regression. Notes say where it is hardly better
    than chance.
    Source: Kim et al. 2018, §3.1. Differs: features are averaged over positions, so that the direction has one number per
    channel and can be drawn and explained; the paper flattens them.

    >>> import phosphene as ph
    >>> net = ph.load("demo:robust")
    >>> dark, light = torch.rand(8, 3, 32, 32) / 4, torch.rand(8, 3, 32, 32) / 4 + 0.75
    >>> found = ph.concept(net, light, dark, "stage1.0", runs=3)
    >>> found.accuracy, found.vector.shape
    (1.0, torch.Size([32]))
    """
    if layer is None:
        raise RequestError("layer must be the address of a layer, such as 'layer4.1', got None")
    checks.whole("runs", runs, low=1, high=10_000)
    checks.real("held_out", held_out, low=0.05, high=0.9)
    yes, no = (
        maps_at(net, pictures_of(net, name, given), layer).mean((2, 3)).double()
        for name, given in (("positives", positives), ("negatives", negatives))
    )
    if min(len(yes), len(no)) < FEWEST:
        raise RequestError(f"positives and negatives must be {FEWEST} pictures or more each, got {len(yes)} and {len(no)}")
    found = [_run(yes, no, held_out, seed, f"concept {i}") for i in range(runs)]
    # Random against random: halves of the negatives.
    halves = [no[torch.randperm(len(no), generator=stream(seed, f"halves {i}"))] for i in range(runs)]
    random = [_fit(one[: len(no) // 2], one[len(no) // 2 :]) for one in halves]
    vectors = torch.stack([vector for vector, _ in found])
    accuracy = sum(right for _, right in found) / runs
    low = f"the direction tells held-out pictures apart {accuracy:.0%} of the time, hardly better than chance"
    mean = F.normalize(vectors.mean(0), dim=0)
    return Concept(
        net, layer, mean.float(), vectors.float(), torch.stack(random).float(), accuracy, (low,) if accuracy < CHANCE else ()
    )


def _run(yes: Tensor, no: Tensor, held_out: float, seed: int, name: str) -> tuple[Tensor, float]:
    """A direction from part of the pictures, as many of each kind, and its accuracy on the rest."""
    draw = stream(seed, name)
    count = min(len(yes), len(no))
    kept = max(1, round(count * held_out))
    a, b = (one[torch.randperm(len(one), generator=draw)[:count]] for one in (yes, no))
    vector = _fit(a[kept:], b[kept:])
    middle = (a[kept:].mean(0) + b[kept:].mean(0)) @ vector / 2
    right = ((a[:kept] @ vector > middle).double().mean() + (b[:kept] @ vector < middle).double().mean()) / 2
    return vector, float(right)


def _fit(yes: Tensor, no: Tensor) -> Tensor:
    """(k,) of length 1: weights of a logistic regression.

    All channels are scaled alike: each by its own spread, channels that hardly vary would rule the direction.
    """
    features = torch.cat([yes, no])
    x = features - features.mean(0)
    x = x / x.square().mean().sqrt().clamp(min=1e-12)
    target = torch.cat([torch.ones(len(yes)), torch.zeros(len(no))]).to(x)
    with torch.enable_grad():
        weights = torch.zeros(x.shape[1] + 1, dtype=x.dtype, requires_grad=True)
        optimiser = torch.optim.LBFGS([weights], max_iter=100, line_search_fn="strong_wolfe")

        def loss() -> Tensor:
            optimiser.zero_grad()
            value = (
                F.binary_cross_entropy_with_logits(x @ weights[:-1] + weights[-1], target) + DECAY * weights[:-1].square().sum()
            )
            value.backward()
            return value

        optimiser.step(loss)
    return F.normalize(weights.detach()[:-1], dim=0)


def _by_chance(scores: Tensor, random: Tensor) -> float:
    """The share of ways to deal the scores out to two groups that part their means as much as they are parted."""
    both, count = torch.cat([scores, random]).double(), len(scores)
    apart = abs(float(scores.mean() - random.mean()))
    if apart == 0:
        return 1.0
    orders = torch.stack([torch.randperm(len(both), generator=stream(0, f"deal {i}")) for i in range(min(PERMUTATIONS, 2_000))])
    dealt = both[orders]
    parted = (dealt[:, :count].mean(1) - dealt[:, count:].mean(1)).abs()
    return float(((parted >= apart - 1e-12).sum() + 1) / (len(orders) + 1))
