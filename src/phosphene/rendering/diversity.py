"""Diversity: pictures of one objective, kept apart by their styles."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from ..errors import RequestError


def style(maps: Tensor, samples: int = 1) -> Tensor:
    """(b, c·c) of length 1: which channels are active together, the Gram matrix, averaged over a picture's samples.

    maps (b·samples, c, h, w), or tokens (b·samples, n, c).
    Source: Gatys, Ecker & Bethge 2015, as Olah, Mordvintsev & Schubert 2017 use it.
    """
    if maps.ndim not in (3, 4):
        raise RequestError(f"diversity at a layer that gives {tuple(maps.shape[1:])}; one with maps is needed")
    rows = maps.flatten(2) if maps.ndim == 4 else maps.transpose(1, 2)
    gram = torch.einsum("bcn,bdn->bcd", rows, rows).flatten(1)
    averaged: Tensor = F.normalize(gram, dim=1).unflatten(0, (-1, samples)).mean(1)
    return F.normalize(averaged, dim=1)


def likeness_within(styles: Tensor, together: int) -> Tensor:
    """(b,) the mean cosine of each picture's style with those of the others of its group, `together` neighbours a group."""
    groups = styles.unflatten(0, (-1, together))
    cosines = groups @ groups.transpose(1, 2)
    others = cosines.sum(2) - cosines.diagonal(dim1=1, dim2=2)
    shared: Tensor = (others / (together - 1)).flatten()
    return shared
