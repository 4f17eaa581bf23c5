"""Statistics of natural pictures: how strong each frequency is, and how colours go together.

The shipped ones are of 1,000 photographs; `measure` takes one's own pictures, for networks that see something else.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from importlib import resources
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor
from torch.nn import functional as F

from .. import checks
from ..errors import PictureError, first_line, shown
from .files import write_whole

SIDE = 256  # pixels at which a spectrum is measured
NATURAL = "natural"


@dataclass(frozen=True, eq=False)
class Statistics:
    """spectrum (c, 256, 129): mean magnitude of `rfft2` per decorrelated channel; mean (c,); basis (c, c):
    colour = mean + basis @ z, z decorrelated and of unit variance, most important first."""

    spectrum: Tensor
    mean: Tensor
    basis: Tensor

    def magnitude(self, channels: int, size: tuple[int, int]) -> Tensor:
        """(channels, h, w // 2 + 1) at any size, as a function of cycles per pixel; no constant term.

        Channels that the statistics do not know are taken to be like the first, which is lightness.
        """
        spectrum = self.spectrum if channels == len(self.spectrum) else self.spectrum[:1].expand(channels, -1, -1)
        at = frequencies(size)
        shifted = torch.fft.fftshift(spectrum.float(), dim=1)
        # Places in the table: row 0 is −½ cycle per pixel, its last column is +½.
        y, x = (at[0] + 0.5) * SIDE, at[1] * SIDE
        where = torch.stack([x.expand(len(y), -1) / (SIDE / 2), y.expand(-1, x.shape[1]) / (SIDE - 1)], -1) * 2 - 1
        found = F.grid_sample(shifted[None], where[None], padding_mode="border", align_corners=True)[0]
        found[:, 0, 0] = 0
        return found

    def colours(self, channels: int) -> Tensor:
        """(channels, channels): from decorrelated channels to colours, its largest column of unit length."""
        if channels != len(self.basis):
            return torch.eye(channels)
        basis = self.basis.float()
        return basis / basis.square().sum(0).sqrt().max()

    def save(self, path: str | Path) -> Path:
        tensors = {"spectrum": self.spectrum.half(), "colour_mean": self.mean, "colour_basis": self.basis}
        whole = {name: tensor.contiguous() for name, tensor in tensors.items()}
        return write_whole(checks.path("path", path), lambda beside: save_file(whole, beside))


def frequencies(size: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """Cycles per pixel of what `rfft2` gives: y (h, 1), x (1, w // 2 + 1)."""
    h, w = size
    return torch.fft.fftfreq(h)[:, None], torch.fft.rfftfreq(w)[None]


def falling(channels: int, size: tuple[int, int], power: float = 1.0) -> Tensor:
    """The magnitude 1 / f^power, (channels, h, w // 2 + 1), no constant term: what natural pictures roughly have at 1."""
    y, x = frequencies(size)
    found = torch.hypot(y, x).clamp(min=1 / max(size)) ** -power
    found[0, 0] = 0
    return found.expand(channels, -1, -1).clone()


def statistics(source: str = NATURAL) -> Statistics:
    """The shipped statistics, "natural", or those of a file that `measure` made."""
    return _shipped() if source == NATURAL else _read(Path(source))


def measure(pictures: Iterable[Tensor]) -> Statistics:
    """Of pictures (1, c, h, w) in [0, 1], all with the same c: their middle squares at 256 px."""
    squares = [_square(picture) for picture in pictures]
    if len(squares) < 2 or len({len(s) for s in squares}) != 1:
        raise PictureError(f"statistics of {len(squares)} pictures; at least 2, all grey or all coloured, are needed")
    colours = torch.cat([s.flatten(1)[:, ::16] for s in squares], 1).double()
    mean = colours.mean(1)
    values, vectors = torch.linalg.eigh(torch.cov(colours).reshape(len(mean), len(mean)))
    # Most important first; signs fixed so that the same pictures give the same file.
    basis = (vectors * values.clamp(min=1e-8).sqrt()).flip(1)
    basis = basis * basis.sum(0).sign().where(basis.sum(0) != 0, torch.tensor(1.0))
    inverse = torch.linalg.inv(basis)
    total = torch.zeros(len(mean), SIDE, SIDE // 2 + 1, dtype=torch.float64)
    for square in squares:
        z = torch.einsum("zc,chw->zhw", inverse, square.double() - mean[:, None, None])
        total += torch.fft.rfft2(z, norm="ortho").abs()
    return Statistics((total / len(squares)).float(), mean.float(), basis.float())


def _square(picture: Tensor) -> Tensor:
    _, _, h, w = picture.shape
    side = min(h, w)
    top, left = (h - side) // 2, (w - side) // 2
    middle = picture[..., top : top + side, left : left + side]
    return F.interpolate(middle, size=(SIDE, SIDE), mode="bilinear", antialias=True, align_corners=False)[0]


@cache
def _shipped() -> Statistics:
    with resources.as_file(resources.files("phosphene.pictures") / "data" / "natural.safetensors") as path:
        return _read(path)


def _read(path: Path) -> Statistics:
    if not path.is_file():
        raise PictureError(f"statistics {shown(str(path))} is not there; natural or a file of `phosphene statistics` is needed")
    try:
        with safe_open(str(path), framework="pt") as file:
            found = Statistics(*(file.get_tensor(name).float() for name in ("spectrum", "colour_mean", "colour_basis")))
    except (SafetensorError, OSError) as error:
        raise PictureError(f"statistics {shown(str(path))} cannot be read: {first_line(error)}") from error
    c = len(found.mean)
    if found.spectrum.shape != (c, SIDE, SIDE // 2 + 1) or found.basis.shape != (c, c) or not found.spectrum.isfinite().all():
        raise PictureError(f"statistics {shown(str(path))} is not what `phosphene statistics` writes")
    checks.whole("channels of statistics", c, low=1, high=64)
    return found
