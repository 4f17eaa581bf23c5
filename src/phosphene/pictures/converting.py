"""Whatever holds a picture, as a picture: files, URLs, bytes, PIL images, arrays and tensors of any usual layout.

What can be read in two ways is refused, and both ways are named.
"""

from __future__ import annotations

import io
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from ..ambient import shielded
from ..errors import PictureError, RequestError, shown
from . import reading
from .remote import fetched, is_url

Picture = Tensor | np.ndarray[Any, Any] | Image.Image | str | Path | bytes | BinaryIO
Pictures = Picture | Sequence[Picture]
ROUNDING = 1e-4  # by which a picture may leave [0, 1]
KINDS = (
    "a path, a URL, bytes, a PIL image, an array or a tensor (c, h, w), (h, w, c) or (b, c, h, w), or a list of these; floats "
    "in [0, 1] or uint8"
)


@dataclass(frozen=True)
class Converter:
    """Pictures (b, c, h, w) float32 in [0, 1] of whatever holds some, for a network of so many channels.

    channels  of the network; None: grey or colour
    bands     so many bands of a file are read as they stand; None: grey or colour
    undo      what takes a network's input back to a picture; where it is given, arrays and tensors are such inputs
    range     the numbers that stand for 0 and 1 in files of 16 or 32 bits
    name      what errors call the argument
    """

    channels: int | None = None
    bands: int | None = None
    undo: reading.Undo | None = None
    range: reading.Range | None = None
    name: str = "picture"

    def all_of(self, value: Any, notes: list[str]) -> list[Tensor]:
        """One tensor for a value, several for a list or tuple of values."""
        if not isinstance(value, list | tuple):
            return [self.one(value, notes)]
        if not value:
            raise RequestError(f"{self.name} holds no pictures; at least one is needed")
        return [self.one(part, notes) for part in value]

    def one(self, value: Any, notes: list[str]) -> Tensor:
        """What may mislead is added to `notes`."""
        if isinstance(value, Tensor):
            return self._of_numbers(value.detach().as_subclass(Tensor), canonical=value.is_floating_point())
        if isinstance(value, np.ndarray):
            return self._of_array(value, notes)
        if self.undo is not None:
            raise RequestError(f"{self.name} must be a tensor or an array with normalised=True, got {shown(value)}")
        with reading.quiet():
            return self._of_file(value, notes)

    def _of_file(self, value: Any, notes: list[str]) -> Tensor:
        if isinstance(value, str) and is_url(value):
            value = fetched(value, reading.LARGEST_BYTES)
        if isinstance(value, str | Path):
            return reading.read_file(value, range=self.range, channels=self.bands, notes=notes)
        if isinstance(value, Image.Image):
            return reading.decoded(value, self.name, self.range, notes)
        if callable(getattr(value, "read", None)):
            if value.seekable():  # from its beginning, so that it can be given twice
                value.seek(0)
            value = value.read(reading.LARGEST_BYTES + 1)
        if not isinstance(value, bytes | bytearray | memoryview):
            raise RequestError(f"{self.name} must be {KINDS}, got {shown(value)}")
        if len(value) > reading.LARGEST_BYTES:
            raise PictureError(f"{self.name} has over {reading.LARGEST_BYTES >> 20} MiB")
        return reading.decode(io.BytesIO(value), self.name, range=self.range, channels=self.bands, notes=notes)

    def _of_array(self, value: np.ndarray[Any, Any], notes: list[str]) -> Tensor:
        if value.dtype.kind not in "biuf":
            raise RequestError(f"{self.name} must be {KINDS}, got an array of {value.dtype}")
        if value.dtype.kind == "u" and value.dtype.itemsize == 1 and value.ndim == 3 and self._transparent(value.shape):
            return reading.decoded(Image.fromarray(value), self.name, None, notes)
        if value.dtype == np.uint16 and self.range is None:  # as a file of 16 bits is read
            value = value.astype(np.float32) / 65535
        # A copy: what is given may be read-only, of the other byte order, or change later.
        own = np.array(value, dtype=np.float64 if value.dtype.itemsize > 8 else value.dtype.newbyteorder("="))
        return self._of_numbers(torch.from_numpy(own), canonical=False)

    def _transparent(self, shape: tuple[int, ...]) -> bool:
        """Whether an array of bytes (h, w, 4) is colours with transparency."""
        return shape[2] == 4 and shape[0] not in self._counts and 4 not in self._counts

    @property
    def _counts(self) -> tuple[int, ...]:
        """How many channels a picture may have: grey and colours stand for one another."""
        return (1, 3) if self.channels in (None, 1, 3) else (self.channels,)

    def _of_numbers(self, numbers: Tensor, canonical: bool) -> Tensor:
        if self.undo is not None:
            return self._undone(numbers)
        return self._in_range(self._laid_out(numbers, canonical))

    def _undone(self, inputs: Tensor) -> Tensor:
        assert self.undo is not None
        if inputs.ndim not in (3, 4) or not inputs.is_floating_point():
            raise RequestError(f"{self.name} must be floats (b, c, h, w) with normalised=True, got {_kind(inputs)}")
        pictures = self.undo(inputs.float() if inputs.ndim == 4 else inputs.float()[None])
        low, high = (float(value) for value in torch.aminmax(pictures)) if pictures.numel() else (0.0, 0.0)
        if not (low >= -100 * ROUNDING and high <= 1 + 100 * ROUNDING):
            raise RequestError(
                f"{self.name} reaches from {low:.4g} to {high:.4g} when the network's normalisation is undone; [0, 1] is "
                "needed. It was normalised with another mean and std"
            )
        return pictures.clamp(0, 1)

    def _laid_out(self, numbers: Tensor, canonical: bool) -> Tensor:
        """(b, c, h, w). canonical: four axes are (b, c, h, w), as the documentation says."""
        if numbers.ndim == 2:
            return numbers[None, None]
        if numbers.ndim == 3:
            return self._of_three(numbers)
        if numbers.ndim != 4:
            raise RequestError(f"{self.name} must be (c, h, w), (h, w, c) or (b, c, h, w), got {_kind(numbers)}")
        first, last = numbers.shape[1] in self._counts, numbers.shape[3] in self._counts
        if canonical or first == last:
            if first and last and not canonical:
                raise self._two_readings(numbers, "(b, c, h, w)", "(b, h, w, c)", "x.transpose(0, 3, 1, 2)")
            return numbers
        return numbers if first else numbers.permute(0, 3, 1, 2)

    def _of_three(self, numbers: Tensor) -> Tensor:
        first, last = numbers.shape[0] in self._counts, numbers.shape[2] in self._counts
        if first and last and min(numbers.shape) == numbers.shape[1] == 1:
            return numbers[None]
        if first and last:
            raise self._two_readings(numbers, "(c, h, w)", "(h, w, c)", "x[None] as (b, c, h, w)")
        if first and self.channels == 1 and numbers.shape[0] > 1:
            raise self._two_readings(numbers, "one picture (c, h, w)", "grey pictures (b, h, w)", "x[None] or x[:, None]")
        if first:
            return numbers[None]
        if last:
            return numbers.permute(2, 0, 1)[None]
        if self.channels == 1:
            return numbers[:, None]
        counts = " or ".join(map(str, self._counts))
        raise RequestError(
            f"{self.name} must be (c, h, w) or (h, w, c) with {counts} channels, got {_kind(numbers)}. "
            "A batch of grey pictures is x[:, None]"
        )

    def _two_readings(self, numbers: Tensor, one: str, other: str, how: str) -> RequestError:
        return RequestError(f"{self.name} {_kind(numbers)} can be {one} or {other}. Say which: {how}")

    def _in_range(self, numbers: Tensor) -> Tensor:
        if 0 in numbers.shape:
            raise RequestError(f"{self.name} must hold pixels, got {_kind(numbers)}")
        if self.range is not None:
            return self._scaled(numbers.double(), *self.range)
        if numbers.dtype == torch.uint8:
            return numbers.float() / 255
        if numbers.dtype == torch.bool:
            return numbers.float()
        if not numbers.is_floating_point():
            raise RequestError(
                f"{self.name} is {numbers.dtype}, whose white can be 1, 255 or the largest number. "
                "Pass uint8, floats in [0, 1], or range=(low, high) where the verb takes it"
            )
        return self._scaled(numbers, 0.0, 1.0)

    def _scaled(self, numbers: Tensor, black: float, white: float) -> Tensor:
        least, largest = (float(value) for value in torch.aminmax(numbers))
        scaled = numbers if (black, white) == (0, 1) else (numbers - black) / (white - black)
        low, high = (float(value) for value in torch.aminmax(scaled))
        if low >= -ROUNDING and high <= 1 + ROUNDING:
            return scaled.float()
        needed = f"[{black:g}, {white:g}] is needed. {_advice(low, high)}"
        raise RequestError(f"{self.name} reaches from {least:.4g} to {largest:.4g}; {needed}")


def _advice(low: float, high: float) -> str:
    if not low >= -ROUNDING:  # also NaN
        return "Pass the photograph itself, or normalised=True if it is the network's input" if low == low else "It holds NaN"
    return "Divide it by 255" if high > 2 else "Pass the photograph itself, or normalised=True if it is the network's input"


def _kind(numbers: Tensor) -> str:
    return f"{str(numbers.dtype).removeprefix('torch.')} {tuple(numbers.shape)}"


@shielded
def read(path: Pictures, *, range: reading.Range | None = None, channels: int | None = None) -> Tensor:
    """A picture as (1, c, h, w) float32 in [0, 1]: c is 1 for greyscale, else 3, or the bands of a .npy or TIFF file.

    path      a file, a URL of a scheme that fsspec reads, the bytes of a file or an open one, a PIL image, an array or a tensor
              (c, h, w), (h, w, c) or (b, c, h, w); or several of one size in a list, as (b, c, h, w). "sample" is the picture
              that `ph.sample()` gives
    range     the numbers in the file that stand for 0 and 1, of pictures of 16 or 32 bits and of arrays: (0, 4095) for 12
              bits in 16. None: all of the kind's whole numbers, (0, 255) or (0, 65535); real ones must be in [0, 1]. A
              deep picture that then stays below a tenth gives a warning
    channels  so many bands are read as they stand: four of RGBA for red, green, blue and near infrared, any number of a
              TIFF (uncompressed, deflated, LZW or PackBits) or a .npy array (c, h, w) or (h, w, c)

    The orientation in EXIF is obeyed, transparency is laid over white, 16 bits keep their depth, of an animation the first
    frame is taken. PictureError for what is no picture, is cut off, or is larger than 178 megapixels or 512 MiB.
    """
    notes: list[str] = []
    found = Converter(channels, channels, range=range).all_of(path, notes)
    for note in notes:
        warnings.warn(note, stacklevel=2)
    if len({picture.shape[1:] for picture in found}) > 1:
        sizes = " and ".join(str(tuple(picture.shape[1:])) for picture in found[:2])
        raise RequestError(f"pictures must have one size to be read together, got {sizes}. Read them one by one")
    return torch.cat(found)
