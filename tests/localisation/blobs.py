"""Maps whose boxes are known, as Heatmaps."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

import phosphene as ph
from phosphene.results.heatmap import MapItem

SIZE = (24, 32)


def heatmap(values: Tensor, pictures: Tensor | None = None, *, preprocess: ph.Preprocess | None = None) -> ph.Heatmap:
    """Of maps (b, h, w); pictures of their size, grey, where none are given."""
    b, h, w = values.shape
    shown = torch.full((b, 3, h, w), 0.5) if pictures is None else pictures
    side = (int(shown.shape[2]), int(shown.shape[3]))
    record = ph.Record(
        model={"ref": "demo:robust", "sha256": ""},
        preprocess=(preprocess or ph.Preprocess(size=side)).to_dict(),
        recipe={"name": "given"},
        size=side,
        seed=0,
        batch=("logit:0",) * b,
        position=0,
        environment={"device": "cpu"},
    )
    items = tuple(MapItem(f"{i}.png", "logit:0", "a", 0, 1.0, 0.5, "given") for i in range(b))
    return ph.Heatmap(values, shown, items, record)


def blob(*boxes: Sequence[int], size: tuple[int, int] = SIZE, height: float = 1.0) -> Tensor:
    """A map (h, w) that is `height` in boxes (left, top, right, bottom) and 0 elsewhere."""
    values = torch.zeros(size)
    for left, top, right, bottom in boxes:
        values[top:bottom, left:right] = height
    return values
