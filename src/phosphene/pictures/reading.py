"""`read`: a picture file that anyone may have made, as a picture."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps, UnidentifiedImageError
from torch import Tensor

from ..errors import PictureError, first_line, shown

LARGEST_PIXELS = 200_000_000  # 14,000 × 14,000; a decompression bomb says more
LARGEST_BYTES = 512 << 20


def read(path: str | Path) -> Tensor:
    """A picture file as (1, c, h, w) float32 in [0, 1]: c is 1 for greyscale, else 3.

    The orientation in EXIF is obeyed, transparency is laid over white, 16 bits keep their depth, of an animation the first
    frame is taken. PictureError for what is no picture, is cut off, or is larger than 200 megapixels or 512 MiB.
    """
    file = Path(path)
    try:
        if not file.is_file():
            raise PictureError(
                f"picture {shown(str(path))} is {'a folder' if file.is_dir() else 'not there'}; a file is needed"
            )
        if file.stat().st_size > LARGEST_BYTES:
            raise PictureError(f"picture {shown(str(path))} has over {LARGEST_BYTES >> 20} MiB")
        with warnings.catch_warnings():
            # Pillow's own guard warns at half the size at which it raises; ours is checked before decoding.
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            with Image.open(file) as image:
                return _decoded(image, shown(str(path)))
    except UnidentifiedImageError:
        raise PictureError(f"{shown(str(path))} is not a picture that can be read") from None
    except Image.DecompressionBombError as error:
        raise PictureError(f"picture {shown(str(path))} is too large: {first_line(error)}") from error
    except (OSError, SyntaxError, ValueError, EOFError) as error:
        raise PictureError(f"picture {shown(str(path))} cannot be read: {first_line(error)}") from error


def _decoded(image: Image.Image, name: str) -> Tensor:
    if image.width * image.height > LARGEST_PIXELS:
        raise PictureError(f"picture {name} has {image.width}×{image.height} pixels; up to {LARGEST_PIXELS:,} are read")
    image = ImageOps.exif_transpose(image)
    if image.mode.startswith(("I", "F")):
        return _deep(image, name)
    if "A" in image.getbands() or "transparency" in image.info:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    image = image.convert("L" if image.mode in ("1", "L", "LA") else "RGB")
    array = np.asarray(image, dtype=np.float32) / 255
    return torch.from_numpy(array[None] if array.ndim == 2 else array.transpose(2, 0, 1)).unsqueeze(0).contiguous()


def _deep(image: Image.Image, name: str) -> Tensor:
    """16 and 32 bits: whole numbers are over 65535, real ones must lie in [0, 1] already."""
    array = np.asarray(image).astype(np.float32)
    if not image.mode.startswith("F"):
        array /= 65535
    if not np.isfinite(array).all() or array.min() < 0 or array.max() > 1:
        raise PictureError(f"picture {name} of mode {image.mode} leaves [0, 1]; scale it first")
    return torch.from_numpy(array)[None, None]
