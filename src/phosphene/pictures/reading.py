"""`read`: a picture file that anyone may have made, as a picture."""

from __future__ import annotations

import struct
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import torch
from PIL import ExifTags, Image, ImageOps, UnidentifiedImageError
from torch import Tensor

from .. import checks
from ..errors import PictureError, RequestError, first_line, shown
from . import bands
from .libtiff import heard

LARGEST_PIXELS = 178_000_000  # 13,300 × 13,300; a decompression bomb says more, and just above it Pillow itself refuses
# Those that hold pictures and are decoded in this process: EPS, for one, would be handed to another program.
FORMATS = ("AVIF", "BMP", "GIF", "JPEG", "JPEG2000", "PNG", "PPM", "TIFF", "WEBP")
LARGEST_BYTES = 512 << 20
SAMPLE = "sample"  # what names the picture in the package, where no file is called so
SAMPLE_FILE = Path(__file__).with_name("sample.jpg")
# What Pillow raises for damaged files: AVIF's and DDS's decoders RuntimeErrors, JPEG 2000's a MemoryError, EXIF a struct.error.
DAMAGE = (OSError, SyntaxError, ValueError, EOFError, RuntimeError, MemoryError, struct.error)


Range = tuple[float, float]
Undo = Callable[[Tensor], Tensor]  # a network's input -> pictures (b, c, h, w)
DIM = 0.1  # a deep picture that uses less of its range is hardly meant so: 12 bits in 16 reach 0.062
# What files of other kinds begin with, from a byte on.
_OTHERS = (
    (4, b"ftyphei", "HEIC"),
    (4, b"ftyphev", "HEIC"),
    (4, b"ftypmif1", "HEIC"),
    (4, b"ftypmsf1", "HEIC"),
    (4, b"ftypcrx", "a raw photograph (CR3)"),
    (4, b"ftyp", "a film (MP4, MOV)"),
    (128, b"DICM", "DICOM"),
    (0, b"8BPS", "Photoshop"),
    (0, b"%PDF", "PDF"),
    (0, b"%!PS", "PostScript"),
    (0, b"\xff\x0a", "JPEG XL"),
    (4, b"JXL ", "JPEG XL"),
    (0, b"\x76\x2f\x31\x01", "OpenEXR"),
    (0, b"#?RADIANCE", "Radiance HDR"),
    (0, b"SIMPLE  =", "FITS"),
    (0, b"\x89HDF", "HDF5"),
    (0, b"DDS ", "DDS"),
    (0, b"<svg", "SVG"),
    (344, b"n+1\0", "NIfTI"),
    (0, b"PK", "a zip archive (.npz, .docx)"),
)


@contextmanager
def quiet() -> Iterator[None]:
    """Pillow warns of damage that it then repairs or raises for, and of sizes below our limit. For one thread alone."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


@dataclass(frozen=True)
class Reader:
    """Reads many pictures in one way; range and channels are those of `read`. What may mislead goes into `notes`.

    undo  what takes normalised tensors of a data set back to pictures (b, c, h, w)
    """

    range: Range | None = None
    channels: int | None = None
    undo: Undo | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "range", _limits(self.range))

    def file(self, path: str, notes: list[str]) -> Tensor:
        return read_file(path, range=self.range, channels=self.channels, notes=notes)

    def stream(self, file: BinaryIO, name: str, notes: list[str]) -> Tensor:
        return decode(file, name, range=self.range, channels=self.channels, notes=notes)

    def image(self, image: Image.Image, name: str, notes: list[str]) -> Tensor:
        return decoded(image, name, self.range, notes)

    def array(self, array: bands.Array, name: str, notes: list[str]) -> Tensor:
        """Whole or real numbers (c, h, w)."""
        return _scaled(array, name, self.range, notes)


def read_file(
    path: str | Path, *, range: Range | None = None, channels: int | None = None, notes: list[str] | None = None
) -> Tensor:
    """As `read`, for threads: outside of `quiet`, which belongs to the whole process. Warnings go into `notes`."""
    if not isinstance(path, str | Path):
        raise RequestError(f"path must be a text or a Path, got {shown(path)}")
    file, name = Path(path), shown(str(path))
    try:
        there, size = file.is_file(), file.stat().st_size if file.is_file() else 0
    except (OSError, ValueError) as error:
        raise PictureError(f"picture {name} cannot be read: {first_line(error)}") from error
    if str(path) == SAMPLE and not file.exists():
        file = SAMPLE_FILE
    elif not there:
        raise PictureError(f"picture {name} is {'a folder' if file.is_dir() else 'not there'}; a file is needed")
    if size > LARGEST_BYTES:
        raise PictureError(f"picture {name} has over {LARGEST_BYTES >> 20} MiB")
    return decode(file, name, range=range, channels=channels, notes=notes)


def decode(
    file: Path | BinaryIO,
    name: str,
    *,
    range: Range | None = None,
    channels: int | None = None,
    notes: list[str] | None = None,
) -> Tensor:
    """As `read_file`, of an open file too; `name` is what errors call it."""
    limits = _limits(range)
    if channels is not None:
        checks.whole("channels", channels, low=1, high=bands.MOST_BANDS)
    try:
        array = _array(file, name, channels)
        if array is not None:
            return _scaled(array, name, limits, notes)
        with heard() as errors, Image.open(file, formats=_formats()) as image:
            if channels is not None and len(image.getbands()) == channels and channels not in (1, 3):
                if image.width * image.height > LARGEST_PIXELS:
                    raise PictureError(
                        f"picture {name} has {image.width}×{image.height} pixels; up to {LARGEST_PIXELS:,} are read"
                    )
                picture = _scaled(bands.raw(ImageOps.exif_transpose(image)), name, limits, notes)
            else:
                picture = decoded(image, name, limits, notes)
            if errors:  # which libtiff passes over, with lines that are not what was written
                raise PictureError(f"picture {name} is damaged: {', '.join(sorted(errors))} of libtiff found errors")
    except (PictureError, Warning):  # the latter where warnings are errors
        raise
    except UnidentifiedImageError:
        kind = _other_kind(file)
        raise PictureError(f"{name} is not a picture that can be read{kind}") from None
    except Image.DecompressionBombError as error:
        raise PictureError(f"picture {name} is too large: {first_line(error)}") from error
    except DAMAGE as error:
        raise PictureError(f"picture {name} cannot be read: {first_line(error)}") from error
    if channels is not None and picture.shape[1] != channels:
        raise PictureError(f"picture {name} has {picture.shape[1]} channels; {channels} are needed")
    return picture


def _limits(range: object) -> Range | None:
    if range is None:
        return None
    low_high = checks.reals("range", range)
    if len(low_high) != 2 or not low_high[0] < low_high[1]:
        raise RequestError(f"range must be (low, high) with low < high, got {shown(range)}")
    return low_high[0], low_high[1]


def _array(file: Path | BinaryIO, name: str, channels: int | None) -> bands.Array | None:
    """What Pillow does not read: .npy, and a TIFF of more than four bands or of several deep ones."""
    if isinstance(file, Path):
        with file.open("rb") as stream:
            if stream.read(6) == b"\x93NUMPY":
                return bands.read_npy(file, name, channels, LARGEST_PIXELS)
            return _tiff(stream, name, channels)
    start = file.read(6)
    file.seek(0)
    return bands.read_npy(file, name, channels, LARGEST_PIXELS) if start == b"\x93NUMPY" else _tiff(file, name, channels)


def _tiff(stream: BinaryIO, name: str, channels: int | None) -> bands.Array | None:
    count, bits = bands.tiff_bands(stream)
    if not (count > 4 or (count > 1 and bits > 8)):
        return None
    array = bands.read_tiff(stream, name, LARGEST_PIXELS)
    if channels is not None and len(array) != channels:
        raise PictureError(f"picture {name} has {len(array)} channels; {channels} are needed")
    return array


def _other_kind(file: Path | BinaryIO) -> str:
    """What a file that is no picture of ours is, where its first bytes tell."""
    try:
        if isinstance(file, Path):
            with file.open("rb") as stream:
                start = stream.read(400)
        else:
            file.seek(0)
            start = file.read(400)
    except OSError:
        return ""
    kind = next((kind for place, magic, kind in _OTHERS if start[place : place + len(magic)] == magic), "")
    return f": it is {kind}; convert it to PNG, JPEG, TIFF or .npy" if kind else ""


def _formats() -> list[str]:
    """Those of FORMATS that this Pillow was built with."""
    Image.init()
    return [name for name in FORMATS if name in Image.OPEN]


def recognised(path: Path) -> bool:
    """Whether a file looks like a picture of ours, by its suffix or its first bytes; it may still be damaged."""
    Image.init()
    known = {suffix for suffix, kind in Image.registered_extensions().items() if kind in FORMATS}
    if path.suffix.lower() in known or path.suffix.lower() == ".npy":
        return True
    try:
        with quiet(), heard(), Image.open(path, formats=_formats()):
            return True
    except (*DAMAGE, Image.DecompressionBombError):
        return False


def decoded(image: Image.Image, name: str, range: Range | None = None, notes: list[str] | None = None) -> Tensor:
    """An opened image as a picture (1, c, h, w) in [0, 1]."""
    if image.width * image.height > LARGEST_PIXELS:
        raise PictureError(f"picture {name} has {image.width}×{image.height} pixels; up to {LARGEST_PIXELS:,} are read")
    if image.getexif().get(ExifTags.Base.Orientation, 1) != 1:  # else it would be copied
        image = ImageOps.exif_transpose(image)
    grey = image.mode in ("1", "L", "LA")
    if image.mode.startswith(("I", "F")):
        return _scaled(np.asarray(image)[None], name, range, notes, f" of mode {image.mode}")
    if range is not None:
        raise PictureError(f"picture {name} has 8 bits, whose range is known; range= is for 16 and 32 bits and arrays")
    if "A" in image.getbands() or "transparency" in image.info:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    mode = "L" if grey else "RGB"
    array = np.asarray(image if image.mode == mode else image.convert(mode))
    # Planes of bytes first: of a large photograph every copy in float32 costs more than its decoding.
    planes = np.ascontiguousarray(array[None] if array.ndim == 2 else array.transpose(2, 0, 1))
    return torch.div(torch.from_numpy(planes), 255).unsqueeze(0)


def _scaled(array: bands.Array, name: str, range: Range | None, notes: list[str] | None, mode: str = "") -> Tensor:
    """(c, h, w) of any kind of number as a picture (1, c, h, w): `range` is what stands for 0 and 1."""
    deep, most = array.dtype.itemsize > 1, 1.0
    if array.dtype.kind in "iu":
        most = 255.0 if array.dtype.itemsize == 1 else 65535.0
    values: np.ndarray[Any, np.dtype[np.floating[Any]]] = array.astype(np.float64 if array.dtype.itemsize > 4 else np.float32)
    low, high = (0.0, most) if range is None else range
    least, largest = float(values.min()), float(values.max())
    if not np.isfinite(values).all():
        raise PictureError(f"picture {name}{mode} leaves [0, 1]: it holds NaN or infinite values")
    if least < low or largest > high:
        needed = "[0, 1]" if range is None and most == 1 else f"[{low:g}, {high:g}]"
        raise PictureError(
            f"picture {name}{mode} leaves {needed}: its values reach from {least:g} to {largest:g}. "
            "Say what stands for black and white: range=(low, high) of ph.read"
        )
    if (low, high) != (0, 1):
        values = (values - low) / (high - low)
    if deep and range is None and notes is not None and 0 < float(values.max()) < DIM:
        notes.append(
            f"picture {name} uses less than a tenth of its range (0 to {largest:g} of {most:g}) and is nearly black; "
            f"range=(0, {largest:g}), or what its scale is, makes it as bright as it is meant"
        )
    return torch.from_numpy(np.ascontiguousarray(values, dtype=np.float32))[None]
