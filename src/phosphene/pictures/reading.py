"""`read`: a picture file that anyone may have made, as a picture."""

from __future__ import annotations

import struct
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import numpy as np
import torch
from PIL import ExifTags, Image, ImageOps, UnidentifiedImageError
from torch import Tensor

from ..errors import PictureError, first_line, shown

LARGEST_PIXELS = 178_000_000  # 13,300 × 13,300; a decompression bomb says more, and just above it Pillow itself refuses
# Those that hold pictures and are decoded in this process: EPS, for one, would be handed to another program.
FORMATS = ("AVIF", "BMP", "GIF", "JPEG", "JPEG2000", "PNG", "PPM", "TIFF", "WEBP")
LARGEST_BYTES = 512 << 20
# What Pillow raises for damaged files: AVIF's and DDS's decoders RuntimeErrors, JPEG 2000's a MemoryError, EXIF a struct.error.
DAMAGE = (OSError, SyntaxError, ValueError, EOFError, RuntimeError, MemoryError, struct.error)


def read(path: str | Path) -> Tensor:
    """A picture file as (1, c, h, w) float32 in [0, 1]: c is 1 for greyscale, else 3.

    The orientation in EXIF is obeyed, transparency is laid over white, 16 bits keep their depth, of an animation the first
    frame is taken. PictureError for what is no picture, is cut off, or is larger than 178 megapixels or 512 MiB.
    """
    with quiet():
        return read_file(path)


@contextmanager
def quiet() -> Iterator[None]:
    """Pillow warns of damage that it then repairs or raises for, and of sizes below our limit. For one thread alone."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def read_file(path: str | Path) -> Tensor:
    """As `read`, outside of `quiet`, which belongs to the whole process: for threads."""
    file, name = Path(path), shown(str(path))
    try:
        there, size = file.is_file(), file.stat().st_size if file.is_file() else 0
    except (OSError, ValueError) as error:
        raise PictureError(f"picture {name} cannot be read: {first_line(error)}") from error
    if not there:
        raise PictureError(f"picture {name} is {'a folder' if file.is_dir() else 'not there'}; a file is needed")
    if size > LARGEST_BYTES:
        raise PictureError(f"picture {name} has over {LARGEST_BYTES >> 20} MiB")
    return decode(file, name)


def decode(file: Path | BinaryIO, name: str) -> Tensor:
    """As `read_file`, of an open file too; `name` is what errors call it."""
    try:
        with Image.open(file, formats=_formats()) as image:
            return decoded(image, name)
    except (PictureError, Warning):  # the latter where warnings are errors
        raise
    except UnidentifiedImageError:
        raise PictureError(f"{name} is not a picture that can be read") from None
    except Image.DecompressionBombError as error:
        raise PictureError(f"picture {name} is too large: {first_line(error)}") from error
    except DAMAGE as error:
        raise PictureError(f"picture {name} cannot be read: {first_line(error)}") from error


def _formats() -> list[str]:
    """Those of FORMATS that this Pillow was built with."""
    Image.init()
    return [name for name in FORMATS if name in Image.OPEN]


def decoded(image: Image.Image, name: str) -> Tensor:
    """An opened image as a picture (1, c, h, w) in [0, 1]."""
    if image.width * image.height > LARGEST_PIXELS:
        raise PictureError(f"picture {name} has {image.width}×{image.height} pixels; up to {LARGEST_PIXELS:,} are read")
    if image.getexif().get(ExifTags.Base.Orientation, 1) != 1:  # else it would be copied
        image = ImageOps.exif_transpose(image)
    grey = image.mode in ("1", "L", "LA")
    if image.mode.startswith(("I", "F")):
        return _deep(image, name)
    if "A" in image.getbands() or "transparency" in image.info:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    mode = "L" if grey else "RGB"
    array = np.asarray(image if image.mode == mode else image.convert(mode))
    # Planes of bytes first: of a large photograph every copy in float32 costs more than its decoding.
    planes = np.ascontiguousarray(array[None] if array.ndim == 2 else array.transpose(2, 0, 1))
    return torch.div(torch.from_numpy(planes), 255).unsqueeze(0)


def _deep(image: Image.Image, name: str) -> Tensor:
    """16 and 32 bits: whole numbers are over 65535, real ones must lie in [0, 1] already."""
    array = np.asarray(image).astype(np.float32)
    if not image.mode.startswith("F"):
        array /= 65535
    if not np.isfinite(array).all() or array.min() < 0 or array.max() > 1:
        raise PictureError(f"picture {name} of mode {image.mode} leaves [0, 1]; scale it first")
    return torch.from_numpy(array)[None, None]
