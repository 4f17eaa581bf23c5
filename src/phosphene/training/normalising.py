"""The two ways of a normalisation: from a picture to the network, and back to what is shown."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from ..seeding import stream

Transform = Callable[[Tensor], Tensor]
_CLOSE = 1e-4


def ways(
    inward: Transform | None, outward: Transform | None, size: Sequence[int]
) -> tuple[Transform, Transform, tuple[str, ...]]:
    """How a picture (c, h, w) in [0, 1] goes to the network, how it is shown, and what is to be said of it.

    inward is the user's normalisation, outward what the user would have done to the picture before it is shown.
    """
    if outward is None:
        return inward or _same, _same, ()
    picture = torch.rand(tuple(size), generator=stream(0, "ways"))
    if inward is not None:
        if _alike(outward, inward(picture.clone()), picture):
            return inward, _same, ("transform undoes in_transform: the picture is shown as it is",)
        return inward, outward, ()
    scaling = _scaling(outward, picture)
    if scaling is None:
        return _same, outward, ()
    std, mean = scaling

    def normalised(picture: Tensor) -> Tensor:
        return (picture - mean.to(picture)) / std.to(picture)

    return normalised, _same, ("transform is the inverse of a normalisation: the network is shown normalised pictures",)


def _scaling(transform: Transform, picture: Tensor) -> tuple[Tensor, Tensor] | None:
    """std and mean, each (c, 1, 1), where the transform is x·std + mean per channel, with 0 < std < 1 and 0 ≤ mean ≤ 1."""
    black, white = torch.zeros_like(picture), torch.ones_like(picture)
    try:
        low, high = transform(black.clone()), transform(white)
        if low.shape != picture.shape or high.shape != picture.shape:
            return None
    except Exception:  # a transform of Pillow images, for one
        return None
    mean, std = low.mean((1, 2), keepdim=True), (high - low).mean((1, 2), keepdim=True)
    scales = bool(((std > 0) & (std < 1) & (mean >= 0) & (mean <= 1)).all())
    return (std, mean) if scales and _alike(transform, picture.clone(), picture * std + mean) else None


def _alike(transform: Transform, given: Tensor, expected: Tensor) -> bool:
    try:
        found = transform(given)
        return found.shape == expected.shape and torch.allclose(found, expected, atol=_CLOSE)
    except Exception:  # whatever a user's transform raises: then it is not this one
        return False


def _same(picture: Tensor) -> Tensor:
    return picture
