"""Objectives along a direction among a layer's channels."""

from __future__ import annotations

import json
import struct
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from tokenize import TokenError
from typing import Self

import numpy as np
from torch import Tensor

from .. import checks
from ..errors import RequestError, first_line, shown
from .expression import Activations, Objective, Shapes
from .units import OfChannels, checked_address
from .words import quoted

LEAST_COSINE = 0.1  # keeps a gradient where f points away from v
LARGEST_VECTOR = 1 << 20  # numbers in a direction
# What NumPy raises for damaged files: its heads are Python's own literals.
_DAMAGE = (
    *(OSError, ValueError, EOFError, SyntaxError, TypeError, KeyError, MemoryError, OverflowError, RecursionError),
    *(TokenError, struct.error),
)


@dataclass(frozen=True)
class Direction(OfChannels):
    """The mean over all places of ⟨f, v⟩·max(cos(f, v), 0.1)^power, f the channels at a place."""

    vector: tuple[float, ...]
    power: float = 0.0
    source: str | None = field(default=None, compare=False)

    def __call__(self, activations: Activations) -> Tensor:
        f = self.channels_last(activations)
        vector = f.new_tensor(self.vector)
        along = f @ vector
        if self.power:
            lengths = f.square().sum(-1).sqrt() * vector.square().sum().sqrt()
            along = along * (along / lengths.clamp(min=1e-12)).clamp(min=LEAST_COSINE) ** self.power
        return along.flatten(1).mean(1) if along.ndim > 1 else along

    def inlined(self) -> Self:
        return replace(self, source=None)

    def check(self, shapes: Shapes) -> None:
        channels = shapes[self.address][0]
        if len(self.vector) != channels:
            raise RequestError(f"direction has {len(self.vector)} numbers; {self.address} has {channels} channels")

    def __str__(self) -> str:
        vector = quoted(self.source) if self.source else json.dumps(self.vector)
        return f"direction:{quoted(self.address)}:{vector}" + (f":{self.power!r}" if self.power else "")


def direction(address: str, vector: Sequence[float] | np.ndarray | Tensor | str | Path, *, power: float = 0.0) -> Objective:
    """The mean over places of ⟨f, v⟩·max(cos(f, v), 0.1)^power, v one number per channel, or a .npy file that holds them.

    power 0 is the plain dot product; larger ones ask that f point the way of v, and not only far.
    Source: Olah, Mordvintsev & Schubert 2017, and the code of Carter et al. 2019 for the power and its floor of 0.1.
    """
    power = checks.real("power of the cosine", power, low=0, high=16)
    if isinstance(vector, str | Path):
        return Objective.of(Direction(checked_address(address), _vector(_read(vector)), power, str(vector)))
    return Objective.of(Direction(checked_address(address), _vector(vector), power))


def _read(path: str | Path) -> np.ndarray:
    file = Path(path)
    try:
        if file.suffix != ".npy" or not file.is_file() or file.stat().st_size > 16 * LARGEST_VECTOR:
            raise RequestError(f"direction {shown(str(path))} is not a .npy file of up to {LARGEST_VECTOR} numbers")
        with file.open("rb") as stream, warnings.catch_warnings(action="ignore"):  # of heads as Python 2 wrote them
            if stream.read(6) != b"\x93NUMPY":  # an archive would be opened too
                raise ValueError("it does not begin as a .npy file")
            stream.seek(0)
            array: np.ndarray = np.load(stream, allow_pickle=False)
    except RequestError:
        raise
    except _DAMAGE as error:
        raise RequestError(f"direction {shown(str(path))} cannot be read: {first_line(error)}") from error
    return array


def _vector(values: Sequence[float] | np.ndarray | Tensor) -> tuple[float, ...]:
    try:
        array = np.asarray(values.detach().cpu() if isinstance(values, Tensor) else values, dtype=np.float64)
    except (TypeError, ValueError, OverflowError):
        raise RequestError(f"direction is {shown(values)}; one number per channel is needed") from None
    if array.ndim != 1 or not 0 < array.size <= LARGEST_VECTOR or not np.isfinite(array).all() or not array.any():
        raise RequestError(f"direction is {array.shape}, {shown(array.tolist())}; finite numbers, one per channel, are needed")
    return tuple(float(number) for number in array)
