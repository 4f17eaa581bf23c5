"""How well neighbours agree in their labels: the features against the pixels."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

from .. import checks
from ..seeding import stream_seed
from .feature_index import FeatureIndex

MOST = 2000  # pictures that are asked for; each is compared with all


@dataclass(frozen=True)
class Retrieval:
    """Shares over labelled pictures whose label stands at least twice, each asked against all others.

    top1       the nearest has the same label;  precision: share of the k nearest that have it
    pixels_…   the same of pixels
    chance     precision of neighbours drawn at random
    queries    how many were asked, at most 2,000 that their ids choose
    """

    k: int
    queries: int
    top1: float
    precision: float
    pixels_top1: float
    pixels_precision: float
    chance: float

    def to_dict(self) -> dict[str, Any]:
        return {name: round(v, 6) if isinstance(v, float) else v for name, v in asdict(self).items()}

    def __str__(self) -> str:
        return (
            f"nearest of the same label {self.top1:.0%} (pixels {self.pixels_top1:.0%}), of {self.k} nearest "
            f"{self.precision:.0%} (pixels {self.pixels_precision:.0%}, chance {self.chance:.0%}); {self.queries} asked"
        )


def retrieval(index: FeatureIndex, k: int = 5) -> Retrieval | None:
    """How often the nearest pictures of an index have the same label; None where no label stands twice."""
    checks.whole("k", k, low=1)
    names, labels = _labels(index)
    counts = Counter(label for label in labels if label is not None)
    able = [i for i, label in enumerate(labels) if label is not None and counts[label] > 1]
    if not able:
        return None
    chosen = sorted(sorted(able, key=lambda i: stream_seed(0, "retrieval", names[i]))[:MOST])
    codes = {label: code for code, label in enumerate(counts)}
    said = torch.tensor([-1 if label is None else codes[label] for label in labels])  # of those without a label no one is right
    k = min(k, len(names) - 1)
    near = _nearest(index, "vector", torch.tensor(chosen), k, index.about["metric"])
    far = _nearest(index, "pixels", torch.tensor(chosen), k, "l2")
    own = said[chosen][:, None]
    right, plain = (said[near] == own).double(), (said[far] == own).double()
    chance = sum((counts[str(labels[i])] - 1) / (len(names) - 1) for i in chosen) / len(chosen)
    return Retrieval(
        k=k,
        queries=len(chosen),
        top1=float(right[:, 0].mean()),
        precision=float(right.mean()),
        pixels_top1=float(plain[:, 0].mean()),
        pixels_precision=float(plain.mean()),
        chance=chance,
    )


def _labels(index: FeatureIndex) -> tuple[list[str], list[str | None]]:
    names: list[str] = []
    labels: list[str | None] = []
    for rows in index.rows(("id", "label")):
        names += rows["id"]
        labels += rows["label"]
    return names, labels


def _nearest(index: FeatureIndex, column: str, chosen: Tensor, k: int, metric: str) -> Tensor:
    """(q, k) places of the nearest rows to the chosen ones, themselves left out, in a stream that keeps k."""
    queries = torch.cat([values[_inside(chosen, start, len(values))] for start, values in _streamed(index, column, metric)])
    best = torch.full((len(chosen), 0), 0.0)
    place = torch.zeros((len(chosen), 0), dtype=torch.long)
    for start, values in _streamed(index, column, metric):
        away = -(queries @ values.T) if metric == "cosine" else torch.cdist(queries, values)
        at = torch.arange(start, start + len(values)).expand(len(chosen), -1)
        away = away.masked_fill(at == chosen[:, None], torch.inf)
        both, where = torch.cat([best, away], 1), torch.cat([place, at], 1)
        order = both.argsort(dim=1, stable=True)[:, :k]
        best, place = both.gather(1, order), where.gather(1, order)
    return place


def _inside(chosen: Tensor, start: int, count: int) -> Tensor:
    return chosen[(chosen >= start) & (chosen < start + count)] - start


def _streamed(index: FeatureIndex, column: str, metric: str) -> Any:
    start = 0
    for rows in index.rows((column,)):
        values = torch.from_numpy(rows[column].copy()).float()
        yield start, torch.nn.functional.normalize(values, dim=1) if metric == "cosine" else values
        start += len(values)
