"""From a map to a mask by graph cut: the map says where to look, the picture's colours and edges where the object ends."""

from __future__ import annotations

import importlib.util
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ..errors import ExtraError
from ..pictures import overlay

FOREGROUND, BACKGROUND = 0.95, 0.30  # quantiles of the map; Simonyan, Vedaldi & Zisserman 2013, §3.2
OBJECT, GROUND = 0.7, 0.1  # of the maximum
ROUNDS = 3  # of GrabCut: colours learned from the mask, then the mask cut anew


def has_opencv() -> bool:
    try:
        return importlib.util.find_spec("cv2") is not None
    except ValueError:  # a module of that name that is none
        return False


def check_extra() -> None:
    """ExtraError without OpenCV."""
    if not has_opencv():
        raise ExtraError(
            "methods consensus and graphcut need OpenCV; pip install 'phosphene[opencv]', or take method thresholds"
        )


@dataclass(frozen=True)
class Seeds:
    """Which places of a map (h, w) are taken for granted, and which only at first.

    object, ground  numbers from which on, and up to which, a place is the object for certain, or the ground
    likely          those of the others above it are taken for the object at first
    """

    object: float
    ground: float
    likely: float

    @classmethod
    def of_quantiles(cls, values: Tensor, likely: float) -> Seeds:
        """Simonyan's: the largest twentieth, and the smallest three tenths."""
        ground, top = np.quantile(values.double().numpy(), (BACKGROUND, FOREGROUND))
        return cls(float(top), float(ground), likely)

    @classmethod
    def of_shares(cls, values: Tensor, likely: float) -> Seeds:
        """Shares of the maximum: an object of any size has its seeds."""
        top = float(values.max())
        return cls(OBJECT * top, GROUND * top, likely)

    def labels(self, values: Tensor) -> Tensor:
        """GrabCut's four, (h, w) uint8: 0 ground, 1 object, 2 ground unless the cut finds otherwise, 3 likewise object."""
        found = torch.where(values > self.likely, 3, 2)
        found[values <= self.ground] = 0
        found[(values >= self.object) & (values > max(self.ground, 0.0))] = 1
        return found.to(torch.uint8)


def graphcut(values: Tensor, picture: Tensor, seeds: Seeds, *, rounds: int = ROUNDS, side: int | None = None) -> Tensor:
    """The mask (h, w) of what has the colours of the places where a map (h, w) is large; picture (c, h, w) in [0, 1].

    Two mixtures of colours are learned, of the object and of the ground, and the cheapest cut along edges is found, in turns.
    A map without seeds of both kinds is cut at `seeds.likely`.

    side  pixels of the longer side at which is cut; None: the map's own

    Source: Simonyan, Vedaldi & Zisserman 2013, §3.2; Rother, Kolmogorov & Blake 2004 (GrabCut), by OpenCV.
    """
    check_extra()
    h, w = (int(length) for length in values.shape)
    scale = 1.0 if side is None else min(1.0, side / max(h, w))
    size = (max(1, round(h * scale)), max(1, round(w * scale)))
    labels = seeds.labels(overlay.resized(values[None], size)[0])
    certain = labels[labels < 2]
    if not len(certain) or bool((certain == certain[0]).all()):
        return values > seeds.likely
    smaller = torch.nn.functional.interpolate(picture[None].float(), size=size, mode="bilinear", antialias=True)[0]
    # OpenCV draws its first guess at the colours from a generator of the thread: in one of our own, the user's is left alone.
    with ThreadPoolExecutor(1) as own:
        mask = own.submit(_cut, labels, smaller, rounds).result()
    return overlay.resized(mask[None].float(), (h, w))[0] >= 0.5


def _cut(labels: Tensor, picture: Tensor, rounds: int) -> Tensor:
    import cv2

    mask = labels.numpy().copy()
    cv2.setRNGSeed(0)
    cv2.grabCut(_bytes(picture), mask, None, np.zeros((1, 65)), np.zeros((1, 65)), rounds, cv2.GC_INIT_WITH_MASK)
    return torch.from_numpy(mask % 2 == 1)


def _bytes(picture: Tensor) -> np.ndarray:
    """(h, w, 3) in 0 … 255; of a number of channels that has no colours, their mean as grey."""
    picture = picture.detach().cpu().float()
    three = picture if len(picture) == 3 else picture.mean(0, keepdim=True).expand(3, -1, -1)
    return np.ascontiguousarray((three.clamp(0, 1) * 255).round().to(torch.uint8).permute(1, 2, 0).numpy())
