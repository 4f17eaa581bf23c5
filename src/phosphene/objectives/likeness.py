"""Objectives that compare with a picture: to have its features (match), or to exaggerate them (caricature)."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal, Self, TypeGuard

from torch import Tensor

from .. import checks
from ..errors import RequestError, first_line, shown
from ..pictures.converting import Picture, read
from .direction import LEAST_COSINE
from .expression import Activations, Layout, Objective, Shapes
from .units import Plain, checked_address
from .words import quoted

LARGEST_BYTES = 512 << 20
DIGITS = 16  # of the SHA-256 that pins a file in a record
_PINNED = re.compile(rf"(.+)#([0-9a-f]{{{DIGITS}}})", re.DOTALL)
POWER = 1.0  # of the cosine in a caricature


@dataclass(frozen=True)
class Likeness(Plain):
    """How like a picture's features φ0 the features φ of a layer are: match −‖φ − φ0‖² / ‖φ0‖², caricature
    ⟨φ, φ0⟩ / ‖φ0‖ · max(cos(φ, φ0), 0.1)^power. `features` are φ0, once a network has been asked for them."""

    kind: Literal["match", "caricature"]
    address: str
    digest: str
    power: float = 0.0
    source: str | None = field(default=None, compare=False)
    picture: Tensor | None = field(default=None, compare=False, repr=False)
    features: Tensor | None = field(default=None, compare=False, repr=False)
    axis: int | None = field(default=None, compare=False, repr=False)  # of the layer's channels

    @property
    def reads(self) -> frozenset[str]:
        return frozenset({self.address})

    def __call__(self, activations: Activations) -> Tensor:
        if self.features is None:
            raise RequestError(f"{self} is not bound to a network; objective.bound(features) is needed first")
        ours = activations[self.address].flatten(1)
        theirs = self.features.to(ours).flatten(1)
        length = theirs.square().sum(1).clamp(min=1e-24)
        if self.kind == "match":
            return -(ours - theirs).square().sum(1) / length
        along = (ours * theirs).sum(1) / length.sqrt()
        cosine = along / ours.square().sum(1).clamp(min=1e-24).sqrt()
        return along * cosine.clamp(min=LEAST_COSINE) ** self.power

    def bound(self, features: Callable[[Picture, str], Tensor]) -> Self:
        found = features(self.picture if self.picture is not None else str(self.source), self.address)
        if not bool(found.any()):
            raise RequestError(f"{self}: the picture's features at {self.address} are all zero; another layer is needed")
        return replace(self, features=found.detach())

    def inlined(self) -> Self:
        """With the picture's digest in its text, so that a record cannot mean another picture."""
        return replace(self, source=None if self.source is None else f"{file_of(self.source)}#{self.digest}")

    def laid_out(self, layouts: Mapping[str, Layout]) -> Self:
        return replace(self, axis=layouts[self.address].axis)

    def check(self, shapes: Shapes) -> None:
        if self.features is None:
            return
        has = tuple((self.features.movedim(-1, 1) if self.axis == -1 else self.features).shape[1:])
        if has != shapes[self.address]:
            raise RequestError(f"{self} has features {has}; {self.address} gives {tuple(shapes[self.address])}")

    def __str__(self) -> str:
        text = f"{self.kind}:{quoted(self.address)}:{quoted(self.source or f'picture#{self.digest}')}"
        return text + (f":{self.power!r}" if self.kind == "caricature" and self.power != POWER else "")


def match(address: str, picture: Picture) -> Objective:
    """−‖φ(I) − φ0‖² / ‖φ0‖² at a layer, φ0 the features of a picture: 0 where they are the same.

    picture: what `ph.read` takes, or a tensor (1, c, h, w) in [0, 1]; it is fitted to the size that is drawn.
    Rendering it inverts the features: what is drawn is all that the layer keeps of the picture.
    Source: Mahendran & Vedaldi 2015, equations 1 and 2.
    """
    return Objective.of(_likeness("match", address, picture, 0.0))


def caricature(address: str, picture: Picture, *, power: float = POWER) -> Objective:
    """⟨φ(I), φ0⟩ / ‖φ0‖ · max(cos(φ(I), φ0), 0.1)^power at a layer, φ0 the picture's features: they are exaggerated.

    power 0 lets other features grow along; larger ones ask for the picture's alone.
    Source: Olah et al. 2018, "The Building Blocks of Interpretability", for the activation grids that this draws as a whole.
    """
    return Objective.of(_likeness("caricature", address, picture, checks.real("power of the cosine", power, low=0, high=16)))


def _likeness(kind: Literal["match", "caricature"], address: str, picture: Picture, power: float) -> Likeness:
    address = checked_address(address)
    if not isinstance(picture, str | Path) or "://" in str(picture):
        kept = (picture.detach().float() if _is_batch(picture) else read(picture)).cpu().clone()
        if len(kept) != 1:
            raise RequestError(f"{kind} of a picture {tuple(kept.shape)}; one (1, c, h, w) is needed")
        digest = hashlib.sha256(repr(tuple(kept.shape)).encode() + kept.numpy().tobytes()).hexdigest()[:DIGITS]
        return Likeness(kind, address, digest, power, picture=kept)
    return Likeness(kind, address, _digest(str(picture)), power, source=str(picture))


def _is_batch(picture: Picture) -> TypeGuard[Tensor]:
    """Whether it is a tensor (b, c, h, w), of any number of channels; `read` knows of grey and colour alone."""
    return isinstance(picture, Tensor) and picture.ndim == 4 and picture.is_floating_point()


def _digest(source: str) -> str:
    """Of the file's bytes; where the source pins them (FILE#DIGEST), they must be these."""
    pinned = _PINNED.fullmatch(source)
    file = Path(pinned.group(1) if pinned else source)
    try:
        if not file.is_file() or file.stat().st_size > LARGEST_BYTES:
            raise RequestError(f"picture {shown(str(file))} is no file of up to {LARGEST_BYTES >> 20} MiB")
        with file.open("rb") as opened:
            digest = hashlib.file_digest(opened, "sha256").hexdigest()[:DIGITS]
    except RequestError:
        raise
    except OSError as error:
        raise RequestError(f"picture {shown(str(file))} cannot be read: {first_line(error)}") from error
    except ValueError as error:  # a NUL in a name
        raise RequestError(f"picture {shown(str(file))} is no file: {first_line(error)}") from error
    if pinned and digest != pinned.group(2):
        raise RequestError(
            f"picture {shown(str(file))} is another now than when it was named: {digest} is not {pinned.group(2)}"
        )
    return digest


def file_of(source: str) -> str:
    """The path without the digest that pins it."""
    return _PINNED.sub(r"\1", source)
