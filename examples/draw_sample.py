"""Draw the picture that `ph.sample()` gives: a sailing boat on a lake, computed from noise and polygons, no photograph in it.

python examples/draw_sample.py src/phosphene/pictures/sample.jpg
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter

Array = NDArray[np.float64]
Point = tuple[float, float]
SIZE = 480, 640
FINE = 3  # pixels are drawn in each of the picture's, along each axis
HORIZON = 0.52  # of the height
SUN = 0.72, 0.38  # of the width, of the height of the sky
SEED = 7


def noise(rng: np.random.Generator, shape: tuple[int, int], octaves: int, base: tuple[float, float]) -> Array:
    """Fractal noise about 0.5: octaves of smooth noise of `base` cells along (y, x), each twice as fine and half as strong."""
    total = np.zeros(shape)
    for k in range(octaves):
        rows, columns = (max(2, int(cells * 2**k)) for cells in base)
        grid = Image.fromarray(rng.random((rows + 1, columns + 1)).astype(np.float32))
        total += np.asarray(grid.resize(shape[::-1], Image.Resampling.BICUBIC)) * 0.5**k
    return total / (2 - 0.5 ** (octaves - 1))


def step(x: Array, low: float, high: float) -> Array:
    """0 below `low`, 1 above `high`, smooth between."""
    t: Array = ((x - low) / (high - low)).clip(0, 1)
    return t * t * (3 - 2 * t)


def over(picture: Array, colour: Array | Sequence[float], cover: Array) -> Array:
    """The colour laid over a picture (h, w, 3) with a cover (h, w) between 0 and 1."""
    mixed: Array = picture + (np.asarray(colour) - picture) * cover[..., None]
    return mixed


def sky(rng: np.random.Generator, h: int, w: int) -> Array:
    y, x = np.mgrid[0 : 1 : h * 1j, 0 : 1 : w * 1j]
    picture = over(np.broadcast_to([0.27, 0.47, 0.76], (h, w, 3)), [0.78, 0.86, 0.93], y**0.9)
    clouds = step(noise(rng, (h, w), 7, (4.8, 3)) + 0.1 * (0.6 - y), 0.50, 0.68)
    shade = step(noise(rng, (h, w), 6, (6.4, 4)), 0.45, 0.75)
    picture = over(over(picture, [1.0, 0.99, 0.97], clouds * 0.92), [0.66, 0.70, 0.78], clouds * shade * 0.45)
    glow = np.exp(-((x - SUN[0]) ** 2 / 0.06 + (y - SUN[1]) ** 2 / 0.25))
    lit: Array = picture + glow[..., None] * [0.10, 0.08, 0.04]
    return lit.clip(0, 1)


def ridge(
    rng: np.random.Generator, picture: Array, height: float, trees: float, colour: Sequence[float], haze: float, base: float
) -> Array:
    """Hills over the lower edge of a picture; trees roughen their outline and shade them, haze greys them."""
    h, w = picture.shape[:2]
    outline, crowns = noise(rng, (2, w), 8, (1, 3))[0], noise(rng, (2, w), 5, (1, 90))[0]
    top = h * (1 - base - height * (outline - 0.25) - trees * (crowns - 0.5))
    above = np.arange(h)[:, None] - top[None]
    leaves = noise(rng, (h, w), 5, (40, 60)) - 0.5
    light = 0.70 + 10 * trees * leaves + 0.25 * (1 - 3 * above / h).clip(0, 1)
    tone = over(np.asarray(colour) * light[..., None], [0.72, 0.80, 0.88], np.full((h, w), haze))
    return over(picture, tone.clip(0, 1), above.clip(0, 1))


def curve(*points: Point, count: int = 60) -> list[Point]:
    """A Bézier curve through its first and last control point."""
    t = np.linspace(0, 1, count)[:, None, None]
    left = np.repeat(np.asarray(points, float)[None], count, 0)
    while left.shape[1] > 1:
        left = left[:, :-1] * (1 - t) + left[:, 1:] * t
    return [(float(x), float(y)) for x, y in left[:, 0]]


class Boat:
    """Painted part by part in a frame of (h, w) pixels, whose lower edge is the waterline; points are shares of the frame."""

    def __init__(self, h: int, w: int) -> None:
        self.colour, self.cover = np.zeros((h, w, 3)), np.zeros((h, w))
        self.y, self.x = np.mgrid[0 : 1 : h * 1j, 0 : 1 : w * 1j]

    def paint(self, outline: Sequence[Point], tone: Array | Sequence[float]) -> None:
        h, w = self.cover.shape
        mask = Image.new("L", (w, h), 0)
        ImageDraw.Draw(mask).polygon([(x * w, y * h) for x, y in outline], fill=255)
        inside = np.asarray(mask) / 255.0
        self.colour = over(self.colour, tone, inside)
        self.cover = self.cover + (1 - self.cover) * inside

    def line(self, start: Point, end: Point, thick: float, tone: Sequence[float]) -> None:
        (x0, y0), (x1, y1), half = start, end, thick / 2
        self.paint([(x0 - half, y0), (x0 + half, y0), (x1 + half, y1), (x1 - half, y1)], tone)

    def sail(self, outline: Sequence[Point], across: Array, lean: Array, tint: Sequence[float], weave: Array) -> None:
        """across: 0 to 1 over the sail's width, along which it is round; lean: of its seams."""
        seams = 1 - 0.07 * (np.abs((self.y + lean) * 9 % 1 - 0.5) < 0.018)
        light = (0.76 + 0.22 * np.sin(np.pi * (0.2 + 0.65 * across)) + 0.05 * (weave - 0.5)) * seams
        self.paint(outline, light[..., None] * np.asarray(tint))

    def hull(self) -> None:
        """White above, dark blue below, a red stripe at the water; lighter in the middle."""
        sheer = curve((0.115, 0.872), (0.35, 0.905), (0.72, 0.90), (0.895, 0.888))
        stern, bow = curve((0.895, 0.888), (0.885, 0.96), (0.86, 1.0)), curve((0.225, 1.0), (0.16, 0.95), (0.115, 0.872))
        along = ((self.x - 0.115) / 0.78).clip(0, 1)
        down = ((self.y - 0.89 - 0.012 * np.sin(np.pi * along)) / 0.11).clip(0, 1)
        tone = np.where((down < 0.22)[..., None], [0.95, 0.94, 0.90], [0.10, 0.17, 0.36])
        tone = np.where((down > 0.86)[..., None], [0.62, 0.13, 0.10], tone)
        light = 0.75 + 0.3 * np.sin(np.pi * (0.2 + 0.6 * along)) - 0.25 * down
        self.paint([*sheer, *stern, *bow], tone * light[..., None])


def boat(rng: np.random.Generator, h: int, w: int) -> Array:
    """(h, w, 4): colours and cover."""
    made = Boat(h, w)
    weave = noise(rng, (h, w), 5, (6, 22))
    main = [*curve((0.522, 0.03), (0.70, 0.30), (0.845, 0.80)), *curve((0.845, 0.80), (0.70, 0.835), (0.535, 0.815))]
    across = ((made.x - 0.52) / 0.33).clip(0, 1)
    made.sail(main, across, 0.18 * across**2, [1.0, 0.985, 0.95], weave)
    luff, foot = curve((0.508, 0.09), (0.36, 0.42), (0.185, 0.835)), curve((0.185, 0.835), (0.36, 0.80), (0.485, 0.83))
    across = ((made.x - 0.19) / 0.32).clip(0, 1)
    jib = [*luff, *foot, *curve((0.485, 0.83), (0.44, 0.5), (0.508, 0.09))]
    made.sail(jib, across, -0.25 * across, [0.9, 0.92, 0.97], weave)
    made.line((0.515, 0.0), (0.520, 0.89), 0.0095, [0.33, 0.27, 0.22])
    made.line((0.520, 0.835), (0.865, 0.815), 0.008, [0.38, 0.30, 0.22])
    for end in ((0.135, 0.875), (0.90, 0.88)):
        made.line((0.515, 0.01), end, 0.0022, [0.30, 0.30, 0.32])
    made.paint([(0.40, 0.895), (0.425, 0.862), (0.63, 0.862), (0.655, 0.895)], [0.93, 0.92, 0.88])
    for left in (0.45, 0.53):
        made.paint([(left, 0.872), (left + 0.05, 0.872), (left + 0.05, 0.886), (left, 0.886)], [0.12, 0.17, 0.22])
    made.paint(curve((0.735, 0.90), (0.725, 0.83), (0.765, 0.83), (0.765, 0.90)), [0.75, 0.18, 0.12])
    made.paint(curve((0.735, 0.848), (0.728, 0.818), (0.768, 0.818), (0.76, 0.848)), [0.62, 0.45, 0.35])
    made.hull()
    return np.dstack([made.colour.clip(0, 1), made.cover])


def lake(rng: np.random.Generator, above: Array, h: int) -> tuple[Array, Array]:
    """(h, w, 3): water that mirrors what is above it, more at a flat angle; and its waves (h, w), about 0."""
    top, w = above.shape[:2]
    y, x = np.mgrid[0:h, 0:w]
    depth = y / (h - 1)
    waves = noise(rng, (h, w), 3, (54, 6)) - 0.5 + 0.6 * (noise(rng, (h, w), 3, (240, 24)) - 0.5) * (0.3 + depth)
    sway = waves * (0.02 + 0.20 * depth) * (top + h)
    rows = (top - 1 - 0.92 * y + 0.8 * sway).clip(0, top - 1).astype(int)
    mirrored = above[rows, (x + 0.25 * sway).clip(0, w - 1).astype(int)]
    water = over(np.broadcast_to([0.13, 0.31, 0.36], (h, w, 3)), [0.07, 0.20, 0.27], depth)
    water = over(water, mirrored, (0.80 - 0.42 * depth + 0.30 * waves).clip(0.15, 0.95))
    sparkle = step(waves * (0.5 + depth), 0.20, 0.30) * np.exp(-((x / w - SUN[0]) ** 2) / 0.03)
    return over(water, [1.0, 0.98, 0.92], sparkle * 0.55), waves


def put(picture: Array, made: Array, waves: Array, left: int, foot: int) -> None:
    """The boat into the picture with its waterline at row `foot`, and its image in the water below."""
    h, w = made.shape[:2]
    down = np.arange(min(int(h * 0.62), len(picture) - foot))
    own = waves[foot - len(picture) :][: len(down), left : left + w]
    rows = (h - 1 - 1.25 * down[:, None] + 0.10 * len(picture) * own).clip(0, h - 1).astype(int)
    columns = (np.arange(w)[None] + 0.06 * picture.shape[1] * own).clip(0, w - 1).astype(int)
    image = made[rows, columns]
    fading = 0.62 * (1 - down / (h * 0.62)).clip(0, 1) ** 0.7
    below, above = (slice(foot, foot + len(down)), slice(left, left + w)), (slice(foot - h, foot), slice(left, left + w))
    picture[below] = over(picture[below], image[..., :3] * 0.85, image[..., 3] * fading[:, None])
    picture[above] = over(picture[above], made[..., :3], made[..., 3])


def foam(rng: np.random.Generator, shape: tuple[int, int], centre: float, width: float, foot: int) -> Array:
    """Cover (h, w) of the white water along the hull and behind it."""
    h, w = shape
    y, x = np.mgrid[0:h, 0:w]
    stern = centre + width * 0.28
    along = np.exp(-(((y - foot) / (0.008 * h)) ** 2)) * (np.abs(x - centre) < width * 0.37)
    behind = step(x, stern, stern + 0.1 * width) * np.exp((stern - x).clip(max=0) / (0.16 * w))
    wake = np.exp(-(((y - foot) / (0.010 * h)) ** 2)) * behind
    cover: Array = (0.8 * along + wake) * step(noise(rng, shape, 5, (80, 40)), 0.42, 0.62)
    return cover.clip(0, 1)


def drawn(seed: int = SEED) -> Image.Image:
    rng = np.random.default_rng(seed)
    h, w = SIZE[0] * FINE, SIZE[1] * FINE
    above = sky(rng, int(h * HORIZON), w)
    above = ridge(rng, above, 0.42, 0.01, [0.36, 0.44, 0.50], 0.62, 0.06)
    above = ridge(rng, above, 0.26, 0.025, [0.26, 0.38, 0.30], 0.36, 0.03)
    above = ridge(rng, above, 0.10, 0.05, [0.20, 0.33, 0.16], 0.10, 0.015)
    water, waves = lake(rng, above, h - len(above))
    picture = np.concatenate([above, water])
    made = boat(rng, int(h * 0.60), int(h * 0.53))
    left, foot = int(w * 0.27), int(h * 0.685)
    put(picture, made, waves, left, foot)
    picture = over(picture, [0.95, 0.97, 0.98], foam(rng, (h, w), left + made.shape[1] * 0.52, made.shape[1], foot))
    fine = Image.fromarray((picture.clip(0, 1) * 255).astype(np.uint8))
    small = np.asarray(fine.resize(SIZE[::-1], Image.Resampling.LANCZOS).filter(ImageFilter.GaussianBlur(0.35)), float)
    grain = rng.normal(0, 1.6, SIZE)[..., None]
    return Image.fromarray((small + grain).clip(0, 255).astype(np.uint8))


if __name__ == "__main__":
    drawn().save(Path(sys.argv[1]), quality=88, optimize=True)
