"""From a picture of any number of channels to what a screen shows."""

from __future__ import annotations

import hashlib

import numpy as np
from PIL import Image
from torch import Tensor

from ..errors import RequestError
from .tiles import grid

LARGEST_SIDE = 16_383  # pixels, of an enlarged picture: more no WebP holds


def display(picture: Tensor) -> Tensor:
    """A picture (c, h, w) as grey (1, h', w') or RGB (3, h', w').

    1 and 3 channels are shown as they are. Any other number is shown as grey tiles, one a channel, row by row: a network on
    24 bands has no true colours, and invented ones would mislead.
    """
    if picture.ndim != 3:
        raise RequestError(f"picture is {tuple(picture.shape)}; (c, h, w) is needed")
    return picture if picture.shape[0] in (1, 3) else grid(picture.unsqueeze(1), gap=1)


def bytes_of(picture: Tensor) -> np.ndarray:
    """(c, h, w) in [0, 1] -> uint8 (h, w) or (h, w, 3), rounded to the nearest level."""
    shown = display(picture.detach().cpu().float())
    levels = (shown.clamp(0, 1) * 255).round().byte().numpy()
    return np.ascontiguousarray(levels[0] if levels.shape[0] == 1 else levels.transpose(1, 2, 0))


def image_of(picture: Tensor) -> Image.Image:
    """(c, h, w) in [0, 1] -> a Pillow image, pixel for pixel."""
    return Image.fromarray(bytes_of(picture))


def pixels_sha256(image: Image.Image) -> str:
    """Of the size, mode and pixels: what a picture shows, whatever file it is in."""
    head = f"{image.mode} {image.width} {image.height}\n".encode()
    return hashlib.sha256(head + image.tobytes()).hexdigest()


def picture_sha256(picture: Tensor) -> str:
    """Of the shape and the numbers of a picture (1, c, h, w) float32, whatever file it was read from."""
    digest = hashlib.sha256(f"{tuple(picture.shape)}\n".encode())
    digest.update(picture.cpu().contiguous().numpy().data)
    return digest.hexdigest()


def enlarged(image: Image.Image, least: int) -> Image.Image:
    """Each pixel as a square of pixels, so that the shorter side has `least` or more; small pictures are not blurred.

    Less of it where the longer side would pass LARGEST_SIDE.
    """
    factor = max(1, min(-(-least // min(image.size)), LARGEST_SIDE // max(image.size)))
    return image if factor == 1 else image.resize((image.width * factor, image.height * factor), Image.Resampling.NEAREST)
