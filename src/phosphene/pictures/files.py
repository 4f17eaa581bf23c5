"""Writing files: whole or not at all, and a PNG that carries its Record."""

from __future__ import annotations

import hashlib
import os
import re
import secrets
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path

from PIL import Image, UnidentifiedImageError
from PIL.PngImagePlugin import PngInfo
from safetensors import SafetensorError

from .. import checks
from ..errors import FolderError, RecordError, first_line, shown
from .reading import DAMAGE, LARGEST_BYTES, LARGEST_PIXELS

CHUNK = "phosphene"  # keyword of the text chunk
SHEET = "phosphene-sheet"  # the keyword of a text chunk
LARGEST_RECORD = 4 << 20  # characters
LONGEST_NAME = 200  # bytes; file systems take 255, and a number and a suffix come after


def folder(path: str | Path) -> Path:
    """The folder, made if need be and known to be writable; FolderError otherwise."""
    try:
        place = checks.path("folder", path).expanduser()
        place.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=place):
            pass
    except (OSError, ValueError, RuntimeError) as error:  # a ValueError for a null in a name, a RuntimeError for no home
        raise FolderError.of(shown(str(path)), error) from error
    return place


def write_whole(path: Path, write: Callable[[Path], None]) -> Path:
    """Write to a file beside, then put it in place, so that a reader never sees half of it."""
    try:
        beside = path.with_name(f".{secrets.token_hex(6)}{path.suffix}")
        try:
            write(beside)
            with beside.open("rb+") as file:  # on the disk before it has the name: a power cut leaves the old or the new
                os.fsync(file.fileno())
            beside.replace(path)
        finally:
            beside.unlink(missing_ok=True)
    except (OSError, SafetensorError) as error:
        raise FolderError.of(shown(str(path)), error) from error
    return path


def sha256(path: Path) -> str:
    """The hash of a file's contents."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_text(path: Path, text: str) -> Path:
    def write(beside: Path) -> None:
        # File names that are no UTF-8 are held as lone surrogates; written so, they are escapes of JSON.
        beside.write_text(text, "utf-8", "backslashreplace")

    return write_whole(path, write)


def write_png(path: Path, image: Image.Image, record: str | None = None) -> Path:
    """A PNG; the record stands in a compressed UTF-8 text chunk of the keyword "phosphene"."""
    info = PngInfo()
    if record is not None:
        info.add_itxt(CHUNK, record, zip=True)
    return write_whole(path, lambda beside: image.save(beside, format="PNG", pnginfo=info))


def write_sheet(path: Path, image: Image.Image) -> Path:
    """A PNG that says that it is a sheet of Phosphene's, so that a folder's sheet is not taken for a photograph."""
    info = PngInfo()
    info.add_itxt(SHEET, "contact sheet")
    return write_whole(path, lambda beside: image.save(beside, format="PNG", pnginfo=info))


def is_sheet(path: str | Path) -> bool:
    """Whether a file is a sheet that `write_sheet` wrote."""
    if not Path(path).name.startswith("contact_sheet"):
        return False
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(path, formats=["PNG"]) as image:
                return SHEET in image.info
    except (*DAMAGE, Image.DecompressionBombError, UnidentifiedImageError):
        return False


def read_png(path: str | Path) -> tuple[Image.Image, str]:
    """The image and the record in a PNG that anyone may have made."""
    file, name = Path(path), shown(str(path))
    try:
        if not file.is_file():
            raise RecordError(f"picture {name} is not there; a PNG that Phosphene wrote is needed")
        if file.stat().st_size > LARGEST_BYTES:
            raise RecordError(f"picture {name} has over {LARGEST_BYTES >> 20} MiB")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # as in read
            with Image.open(file, formats=["PNG"]) as image:
                return _with_record(image, name)
    except RecordError:
        raise
    except UnidentifiedImageError:
        raise RecordError(f"{name} is not a PNG; one that Phosphene wrote is needed") from None
    except (*DAMAGE, Image.DecompressionBombError) as error:
        raise RecordError(f"picture {name} cannot be read: {first_line(error)}") from error


def _with_record(image: Image.Image, name: str) -> tuple[Image.Image, str]:
    if image.width * image.height > LARGEST_PIXELS:
        raise RecordError(f"picture {name} has over {LARGEST_PIXELS:,} pixels")
    image.load()
    record = image.info.get(CHUNK)
    if not isinstance(record, str) or len(record) > LARGEST_RECORD:
        raise RecordError(f"picture {name} carries no record; a PNG that Phosphene wrote is needed")
    return image.copy(), str(record)


def slug(text: str) -> str:
    """A file name that says the same: letters, digits, dots and hyphens, at most 80; never a path, never hidden.

    >>> slug("channel:stage3.0:5"), slug("../../etc/passwd"), slug("jack-o'-lantern")
    ('channel-stage3.0-5', 'etc-passwd', 'jack-o-lantern')
    """
    plain = re.sub(r"[^\w.-]+", "-", text)
    short = re.sub(r"-{2,}", "-", plain).strip("-._")[:80].encode()[:LONGEST_NAME].decode("utf-8", "ignore")
    return short.strip("-._") or "picture"
