"""Two colour maps, computed in OKLab: equal steps of a value look equally large.

sequential  for what has a zero and no sign: nearly black, violet, red, yellow, nearly white
diverging   for what has a sign: blue below zero, nearly white at zero, red above

Source: OKLab, B. Ottosson 2020, "A perceptual color space for image processing", for the two matrices.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import numpy as np
import torch
from torch import Tensor

LEVELS = 256
_FINE = 4096  # samples of the curve before it is cut into equal steps
_TO_LMS = np.array([[1, 0.3963377774, 0.2158037573], [1, -0.1055613458, -0.0638541728], [1, -0.0894841775, -1.2914855480]])
_TO_LINEAR = np.array(
    [
        [4.0767416621, -3.3077115913, 0.2309699292],
        [-1.2684380046, 2.6097574011, -0.3413193965],
        [-0.0041960863, -0.7034186147, 1.7076147010],
    ]
)


def applied(values: Tensor, table: Tensor) -> Tensor:
    """Values (h, w) in [0, 1] -> colours (3, h, w) in [0, 1], of the nearest level.

    >>> applied(torch.tensor([[0.0, 1.0]]), sequential()).shape
    torch.Size([3, 1, 2])
    """
    places = (values.clamp(0, 1) * (len(table) - 1)).round().long()
    return table[places].movedim(-1, 0)


@cache
def sequential() -> Tensor:
    """(256, 3) sRGB in [0, 1]; lightness rises from 0.13 to 0.97, the hue goes from violet over red to yellow."""

    def path(t: np.ndarray) -> np.ndarray:
        return _polar(0.13 + 0.84 * t, 0.22 * np.sin(np.pi * t.clip(0, 1)) ** 0.8, np.deg2rad(285 + 185 * t))

    return _equal_steps(path, LEVELS)


@cache
def diverging() -> Tensor:
    """(256, 3) sRGB in [0, 1]; the same lightness and chroma at +v and −v, lightest in the middle."""
    blue, red = (_equal_steps(_arm(angle), LEVELS // 2) for angle in (255, 25))
    return torch.cat([blue.flip(0), red])


def lightness(colours: Tensor) -> Tensor:
    """OKLab's lightness (n,) of sRGB colours (n, 3)."""
    return torch.from_numpy(_oklab(colours.double().numpy())[:, 0])


def distances(colours: Tensor) -> Tensor:
    """How far each of (n, 3) sRGB colours is from the next in OKLab, (n − 1,)."""
    return torch.from_numpy(np.linalg.norm(np.diff(_oklab(colours.double().numpy()), axis=0), axis=1))


def _arm(angle: float) -> Callable[[np.ndarray], np.ndarray]:
    return lambda t: _polar(0.97 - 0.52 * t, 0.16 * t, np.full_like(t, np.deg2rad(angle)), (255, 25))


def _polar(light: np.ndarray, chroma: np.ndarray, hue: np.ndarray, shared: tuple[float, ...] = ()) -> np.ndarray:
    """OKLab (n, 3) from lightness, chroma and hue; chroma is lessened to what a screen shows, also at the hues of `shared`."""
    hues = [np.full_like(hue, np.deg2rad(angle)) for angle in shared] or [hue]
    low, high = np.zeros_like(chroma), chroma
    for _ in range(24):
        middle = (low + high) / 2
        shows = np.all([_shown(_lab(light, middle, one)) for one in hues], axis=0)
        low, high = np.where(shows, middle, low), np.where(shows, high, middle)
    return _lab(light, low, hue)


def _lab(light: np.ndarray, chroma: np.ndarray, hue: np.ndarray) -> np.ndarray:
    return np.stack([light, chroma * np.cos(hue), chroma * np.sin(hue)], 1)


def _shown(lab: np.ndarray) -> np.ndarray:
    linear = _linear(lab)
    inside: np.ndarray = np.all((linear >= 0) & (linear <= 1), axis=1)
    return inside


def _equal_steps(path: Callable[[np.ndarray], np.ndarray], count: int) -> Tensor:
    lab = path(np.linspace(0, 1, _FINE))
    way = np.concatenate([[0], np.cumsum(np.linalg.norm(np.diff(lab, axis=0), axis=1))])
    places = np.linspace(0, way[-1], count)
    even = np.stack([np.interp(places, way, lab[:, i]) for i in range(3)], 1)
    return torch.from_numpy(_encoded(_linear(even).clip(0, 1))).float()


def _linear(lab: np.ndarray) -> np.ndarray:
    linear: np.ndarray = (lab @ _TO_LMS.T) ** 3 @ _TO_LINEAR.T
    return linear


def _oklab(srgb: np.ndarray) -> np.ndarray:
    linear = np.where(srgb <= 0.04045, srgb / 12.92, ((srgb + 0.055) / 1.055) ** 2.4)
    lab: np.ndarray = np.cbrt(linear @ np.linalg.inv(_TO_LINEAR).T) @ np.linalg.inv(_TO_LMS).T
    return lab


def _encoded(linear: np.ndarray) -> np.ndarray:
    return np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
