"""Pictures side by side as one picture."""

from __future__ import annotations

import math

import torch
from torch import Tensor


def columns_for(count: int, height: int = 1, width: int = 1) -> int:
    """As many columns as make a sheet of `count` tiles about 3:2, without a nearly empty last row."""
    wanted = max(1, min(count, round(math.sqrt(count * 1.5 * height / width))))
    if (count, wanted) == (3, 2):
        return 3  # in one row, not two and one
    rows = -(-count // wanted)
    return -(-count // rows)


def grid(pictures: Tensor, columns: int | None = None, gap: int = 2, background: float = 1.0) -> Tensor:
    """(n, c, h, w) -> (c, H, W), row by row, `gap` pixels of background between the tiles.

    >>> grid(torch.zeros(5, 1, 4, 4), columns=3, gap=2).shape
    torch.Size([1, 10, 16])
    """
    n, c, h, w = pictures.shape
    columns = columns or columns_for(n, h, w)
    rows = -(-n // columns)
    sheet = torch.full((c, rows * (h + gap) - gap, columns * (w + gap) - gap), background, dtype=pictures.dtype)
    for i, picture in enumerate(pictures.detach().cpu()):
        top, left = (i // columns) * (h + gap), (i % columns) * (w + gap)
        sheet[:, top : top + h, left : left + w] = picture
    return sheet
