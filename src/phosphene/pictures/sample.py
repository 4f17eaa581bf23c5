"""`sample`: a picture to try things on, which needs no file and no internet."""

from __future__ import annotations

from torch import Tensor

from ..ambient import shielded
from .reading import SAMPLE_FILE, read_file


@shielded
def sample() -> Tensor:
    """A picture of a sailing boat on a lake, (1, 3, 480, 640) float32 in [0, 1].

    It was drawn by `examples/draw_sample.py`, so it is free to use as the package is. Networks take it for what it shows: both
    bundled ones for a ship, ImageNet networks for a yawl. Where a picture is named by its path, "sample" means it too.

    >>> sample().shape
    torch.Size([1, 3, 480, 640])
    """
    return read_file(SAMPLE_FILE)
