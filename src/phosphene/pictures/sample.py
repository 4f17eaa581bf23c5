"""`sample`: a picture to try things on, which needs no file and no internet."""

from __future__ import annotations

import io
from importlib import resources

from torch import Tensor

from .reading import decode

FILE = "sample.jpg"


def sample() -> Tensor:
    """A picture of a sailing boat on a lake, (1, 3, 480, 640) float32 in [0, 1].

    It was drawn by `examples/draw_sample.py`, so it is free to use as the package is. Networks take it for what it shows: both
    bundled ones for a ship, ImageNet networks for a yawl.

    >>> sample().shape
    torch.Size([1, 3, 480, 640])
    """
    return decode(io.BytesIO(resources.files(__package__).joinpath(FILE).read_bytes()), FILE)
