"""Pictures of any number of bands: NumPy arrays (.npy) and TIFF files, read as arrays (c, h, w) of the file's own numbers."""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path
from tokenize import TokenError
from typing import Any, BinaryIO

import numpy as np
from PIL import Image, TiffImagePlugin

from ..errors import PictureError
from .libtiff import heard

Array = np.ndarray[Any, np.dtype[Any]]
MOST_BANDS = 1024
LARGEST = 512 << 20  # bytes of the values
_DEFLATE = (8, 32946)
_BY_LIBTIFF = (5, 32773)  # LZW, PackBits: streams of bytes whatever their bands, which libtiff unpacks
_KINDS = {1: "u", 2: "i", 3: "f"}  # SampleFormat

# What NumPy raises for damaged files: its heads are Python's own literals.
NPY_DAMAGE = (
    *(OSError, ValueError, EOFError, SyntaxError, TypeError, KeyError, MemoryError, OverflowError, RecursionError),
    *(TokenError, struct.error),
)


def read_npy(file: Path | BinaryIO, name: str, channels: int | None, most_pixels: int) -> Array:
    """A plain array (h, w), (c, h, w) or (h, w, c); objects are never unpickled."""
    try:
        if isinstance(file, Path):
            array = np.load(file, mmap_mode="r", allow_pickle=False)  # the size is known before anything is read
        else:
            array = np.load(file, allow_pickle=False)
    except NPY_DAMAGE as error:
        reason = "it holds Python objects" if "allow_pickle" in str(error) else str(error).strip().split("\n")[0][:120]
        raise PictureError(f"picture {name} cannot be read: {reason}") from error
    if not isinstance(array, np.ndarray) or array.dtype.kind not in "biuf":
        kind = getattr(array, "dtype", type(array).__name__)
        raise PictureError(f"picture {name} holds {str(kind)[:40]}; whole or real numbers are needed")
    if array.ndim == 4 and len(array) == 1:
        array = array[0]
    if array.ndim not in (2, 3) or 0 in array.shape:
        raise PictureError(f"picture {name} is {array.shape}; (h, w), (c, h, w) or (h, w, c) is needed")
    planes = array[None] if array.ndim == 2 else _channels_first(array, name, channels)
    _within(name, planes.shape, array.nbytes, most_pixels)
    return np.array(planes)


def _channels_first(array: Array, name: str, channels: int | None) -> Array:
    first, last = array.shape[0], array.shape[2]
    if channels is not None and (first == channels) != (last == channels):
        return array if first == channels else array.transpose(2, 0, 1)
    small = [first <= 4 or first < min(array.shape[1:]), last <= 4 or last < min(array.shape[:2])]
    if small[0] != small[1]:
        return array if small[0] else array.transpose(2, 0, 1)
    if (first <= 4) != (last <= 4):
        return array if first <= 4 else array.transpose(2, 0, 1)
    raise PictureError(
        f"picture {name} is {array.shape}; it may be (c, h, w) or (h, w, c): save it as (1, c, h, w), or say channels="
        if channels is None
        else f"picture {name} is {array.shape}; {channels} channels, first or last, are needed"
    )


def tiff_bands(file: BinaryIO) -> tuple[int, int]:
    """How many bands a TIFF has, and how many bits each; (0, 0) for what is no TIFF."""
    file.seek(0)
    head = file.read(8)
    file.seek(0)
    if head[:4] not in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"):
        return 0, 0
    try:
        tags = _tags(file)
        return int(tags.get(277, 1)), int(np.max(tags.get(258, 1)))
    except Exception:  # a damaged directory: Pillow is asked, and says what is wrong
        return 0, 0
    finally:
        file.seek(0)


def read_tiff(file: BinaryIO, name: str, most_pixels: int) -> Array:
    """Every band of the first image of a TIFF (c, h, w), as stored: plain, deflated, LZW or PackBits, in strips or tiles."""
    try:
        tags = _tags(file)
        width, height, bands = int(tags[256]), int(tags[257]), int(tags.get(277, 1))
        bits = {int(b) for b in _several(tags.get(258, 1))}
        formats = {int(f) for f in _several(tags.get(339, 1))}
        if len(bits) != 1 or len(formats) != 1 or not formats <= set(_KINDS) or not bits <= {8, 16, 32, 64}:
            raise PictureError(f"picture {name} has bands of {sorted(bits)} bits; 8, 16, 32 or 64, alike in all, are needed")
        compression = int(tags.get(259, 1))
        if compression not in (1, *_DEFLATE, *_BY_LIBTIFF):
            raise PictureError(
                f"picture {name} has {bands} bands in TIFF compression {compression}; none, deflate, LZW or PackBits "
                "is needed: convert it, or save it as .npy"
            )
        size = bits.pop() // 8
        dtype = np.dtype(f"{'<' if tags._endian == '<' else '>'}{_KINDS[formats.pop()]}{size}")
        _within(name, (bands, height, width), bands * height * width * size, most_pixels)
        return _assembled(file, tags, dtype, (bands, height, width), compression)
    except PictureError:
        raise
    except (KeyError, ValueError, TypeError, IndexError, SyntaxError, OSError, EOFError, zlib.error, OverflowError) as error:
        raise PictureError(f"picture {name} cannot be read: {str(error).strip()[:120] or type(error).__name__}") from error


def _tags(file: BinaryIO) -> Any:
    file.seek(0)
    head = file.read(8)
    if head[2] == 43:  # BigTIFF
        head += file.read(8)
    tags = TiffImagePlugin.ImageFileDirectory_v2(head)
    file.seek(tags.next)
    tags.load(file)
    return tags


def _assembled(file: BinaryIO, tags: Any, dtype: np.dtype[Any], shape: tuple[int, int, int], compression: int) -> Array:
    bands, height, width = shape
    separate = int(tags.get(284, 1)) == 2
    tiled = 322 in tags
    tall, wide = (int(tags[323]), int(tags[322])) if tiled else (min(int(tags.get(278, height)), height), width)
    if tall < 1 or wide < 1 or tall * wide > 4 * max(height * width, 1 << 20):
        raise ValueError(f"strips of {wide}×{tall}")
    offsets, counts = (_several(tags[324 if tiled else 273]), _several(tags[325 if tiled else 279]))
    down, across = -(-height // tall), -(-width // wide)
    each = 1 if separate else bands
    if len(offsets) != down * across * (bands if separate else 1) or len(counts) != len(offsets):
        raise ValueError(f"{len(offsets)} strips or tiles")
    out = np.zeros((bands, height, width), dtype.newbyteorder("="))
    for place, (offset, count) in enumerate(zip(offsets, counts, strict=True)):
        plane, row, column = place // (down * across), place // across % down, place % across
        top, left = row * tall, column * wide
        rows = tall if tiled else min(tall, height - top)
        need = rows * wide * each * dtype.itemsize
        file.seek(int(offset))
        content = file.read(min(int(count), LARGEST))
        if compression in _DEFLATE:
            content = zlib.decompressobj().decompress(content, need)
        elif compression in _BY_LIBTIFF:
            content = _unpacked(content, compression, rows, need // rows)
        if len(content) < need:
            raise ValueError("it is cut off")
        part = np.frombuffer(content[:need], dtype).reshape(rows, wide, each)
        predictor = int(tags.get(317, 1))
        if predictor == 2 and dtype.kind != "f":
            part = np.cumsum(part, axis=1, dtype=dtype.newbyteorder("="))
        elif predictor == 3 and dtype.kind == "f":
            part = _summed(content[:need], dtype, part.shape)
        elif predictor != 1:
            raise PictureError(f"it has TIFF predictor {predictor}; none, 2 of whole numbers or 3 of real ones is needed")
        h, w = min(rows, height - top), min(wide, width - left)
        target = slice(plane, plane + 1) if separate else slice(None)
        out[target, top : top + h, left : left + w] = part[:h, :w].transpose(2, 0, 1)
    return out


def _unpacked(content: bytes, compression: int, rows: int, width: int) -> bytes:
    """`rows` × `width` bytes out of a strip or tile, which is given to libtiff as a grey picture of its own."""
    values = {256: width, 257: rows, 258: 8, 259: compression, 262: 1, 273: 8, 277: 1, 278: rows, 279: len(content)}
    entries = [struct.pack("<HHII", tag, 4, 1, value) for tag, value in values.items()]
    directory = struct.pack("<H", len(entries)) + b"".join(entries) + bytes(4)
    padded = content + bytes(len(content) % 2)
    file = io.BytesIO(struct.pack("<2sHI", b"II", 42, 8 + len(padded)) + padded + directory)
    with heard() as errors, Image.open(file, formats=["TIFF"]) as image:
        unpacked = image.tobytes()
    if errors:
        raise ValueError("it is damaged: libtiff found errors")
    return unpacked


def _summed(content: bytes, dtype: np.dtype[Any], shape: tuple[int, ...]) -> Array:
    """Undoes predictor 3: differences of bytes, of which the first of all numbers of a row come first, then the second …"""
    rows, wide, each = shape
    planes = np.frombuffer(content, np.uint8).reshape(rows, -1, each).cumsum(1, dtype=np.uint8)
    numbers = planes.reshape(rows, dtype.itemsize, wide * each).transpose(0, 2, 1)
    return np.ascontiguousarray(numbers).view(f">f{dtype.itemsize}").reshape(shape)


def raw(image: Image.Image) -> Array:
    """The bands of an opened image of two or more (c, h, w) as they stand: nothing is laid over white."""
    return np.array(np.asarray(image).transpose(2, 0, 1))


def _several(value: Any) -> tuple[Any, ...]:
    return tuple(value) if isinstance(value, tuple | list) else (value,)


def _within(name: str, shape: tuple[int, ...], size: int, most_pixels: int) -> None:
    bands, height, width = shape
    if height * width > most_pixels or height < 1 or width < 1:
        raise PictureError(f"picture {name} has {width}×{height} pixels; up to {most_pixels:,} are read")
    if bands > MOST_BANDS or bands < 1:
        raise PictureError(f"picture {name} has {bands} bands; 1 to {MOST_BANDS} are read")
    if size > LARGEST:
        raise PictureError(f"picture {name} has over {LARGEST >> 20} MiB of values")
