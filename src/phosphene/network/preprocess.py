"""Preprocess: the way between picture space and what a network takes, there and back exactly."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from fractions import Fraction
from functools import cached_property
from typing import Any, Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from .. import checks
from ..ambient import shielded_methods
from ..errors import RequestError, shown

Interpolation = Literal["nearest", "bilinear", "bicubic"]
LONGEST = 100  # times the shorter side: fitting what is longer still would fill the memory with what is then cropped away


@dataclass(frozen=True)
class Placing:
    """How a photograph becomes a picture of the network's size: resized to `size` (height, width), cropped at (top, left)."""

    size: tuple[int, int]
    top: int
    left: int


@shielded_methods
@dataclass(frozen=True)
class Preprocess:
    """What stands between a picture and a network.

    Picture space is what every public function takes and gives: float32, (b, c, h, w), [0, 1], display colours (RGB).
    Network input = (low + (high − low)·picture − mean) / std, per channel, channels in `order`, axes in `layout`.

    size      (height, width) in pixels that the network was made for; one number means a square
    mean, std per channel, in the units of `range`; one number serves all channels
    range     (low, high): what 0 and 1 of a picture become before the mean is taken off; (0, 255) for byte-valued nets
    channels  of a picture
    order     "rgb" or "bgr" (3 channels only)
    layout    "bchw" or "bhwc"
    resize    shorter side of a photograph before the centre crop to `size`; None: resized to `size` as it is
    interpolation  of that resizing

    >>> Preprocess(size=4, mean=(0.5,), std=(0.25,), channels=1).forward(torch.ones(1, 1, 4, 4)).unique().item()
    2.0
    """

    size: int | tuple[int, int] = 224
    mean: float | tuple[float, ...] = 0.0
    std: float | tuple[float, ...] = 1.0
    range: tuple[float, float] = (0.0, 1.0)
    channels: int = 3
    order: Literal["rgb", "bgr"] = "rgb"
    layout: Literal["bchw", "bhwc"] = "bchw"
    resize: int | None = None
    interpolation: Interpolation = "bilinear"

    def __post_init__(self) -> None:
        def put(name: str, value: object) -> None:
            object.__setattr__(self, name, value)  # frozen: set once, here

        put("channels", checks.whole("channels", self.channels, low=1, high=4096))
        put("size", checks.size(self.size))
        put("mean", self._per_channel("mean", self.mean))
        put("std", self._per_channel("std", self.std))
        if any(value <= 0 for value in self.stds):
            raise RequestError(f"std is {shown(self.std)}; positive numbers are needed, or there is no way back")
        put("range", checks.reals("range", self.range))
        if len(self.range) != 2 or self.range[0] >= self.range[1]:
            raise RequestError(f"range is {shown(self.range)}; (low, high) with low < high is needed")
        self._check_words()
        if self.resize is not None:
            put("resize", checks.whole("resize", self.resize, low=1, high=checks.LARGEST_SIDE))

    def _check_words(self) -> None:
        for name, value, allowed in (
            ("order", self.order, ("rgb", "bgr")),
            ("layout", self.layout, ("bchw", "bhwc")),
            ("interpolation", self.interpolation, ("nearest", "bilinear", "bicubic")),
        ):
            if value not in allowed:
                raise RequestError(f"{name} is {shown(value)}; one of {', '.join(allowed)} is needed")
        if self.order == "bgr" and self.channels != 3:
            raise RequestError(f"order 'bgr' is of 3 channels; channels is {self.channels}")

    def _per_channel(self, name: str, value: object) -> tuple[float, ...]:
        numbers = checks.reals(name, value)
        if len(numbers) == 1:
            numbers *= self.channels
        if len(numbers) != self.channels:
            raise RequestError(f"{name} has {len(numbers)} numbers for {self.channels} channels; 1 or as many are needed")
        return numbers

    # The declared types are what a caller may pass; these give what is kept.
    @property
    def height(self) -> int:
        return self.sides[0]

    @property
    def width(self) -> int:
        return self.sides[1]

    @cached_property
    def sides(self) -> tuple[int, int]:
        """(height, width)"""
        return checks.size(self.size)

    @property
    def bands(self) -> int | None:
        """How many bands of a file are read as they stand; None for grey and colour, which `read` tells from the file."""
        return None if self.channels in (1, 3) else self.channels

    @cached_property
    def means(self) -> tuple[float, ...]:
        return checks.reals("mean", self.mean)

    @cached_property
    def stds(self) -> tuple[float, ...]:
        return checks.reals("std", self.std)

    def forward(self, pictures: Tensor) -> Tensor:
        """Pictures (b, c, h, w) in [0, 1] -> network input; differentiable."""
        gain, offset = self._affine(pictures)
        x = torch.addcmul(offset, pictures, gain)
        x = x.flip(1) if self.order == "bgr" else x
        return x.permute(0, 2, 3, 1) if self.layout == "bhwc" else x

    def inverse(self, inputs: Tensor) -> Tensor:
        """Network input -> pictures (b, c, h, w); `inverse(forward(p))` is p up to rounding."""
        x = inputs.permute(0, 3, 1, 2) if self.layout == "bhwc" and _is_four(inputs) else inputs
        x = x.flip(1) if self.order == "bgr" else x
        gain, offset = self._affine(x)
        return (x - offset) / gain

    def mean_picture(self, size: tuple[int, int] | None = None) -> Tensor:
        """The picture that the network sees as zero, (1, c, h, w) in [0, 1]: the mean colour of what it was trained on.

        A network without a mean has no such picture; mid-grey stands for it. A mean outside [0, 1] is clipped.
        """
        low, high = self.range
        colour = ((torch.tensor(self.means) - low) / (high - low)).clamp(0, 1)
        if not any(self.means) and low == 0:
            colour = torch.full((self.channels,), 0.5)
        if self.order == "bgr":
            colour = colour.flip(0)
        h, w = self.sides if size is None else checks.size(size)
        return colour.view(1, -1, 1, 1).expand(1, self.channels, h, w).clone()

    def fit(self, picture: Tensor) -> Tensor:
        """A photograph (b, c, h, w) of any size -> (b, channels, height, width), resized and cropped as in training."""
        picture = self._match_channels(_tensor(picture))
        place = self._placing(int(picture.shape[-2]), int(picture.shape[-1]))
        picture = self._resized(picture, place.size)
        return picture[..., place.top : place.top + self.height, place.left : place.left + self.width]

    def taken(self, picture: Tensor) -> Tensor:
        """A photograph fitted; a picture of the network's own size as it is, its border kept."""
        h, w = _tensor(picture).shape[-2:]
        if (h, w) == self.sides:
            return self._match_channels(picture).contiguous()
        if h * w == 1:
            raise RequestError("a picture of 1×1 pixels has no places to tell apart; a larger one is needed")
        if max(h, w) > LONGEST * min(h, w):
            raise RequestError(
                f"a picture of {h}×{w} pixels is too long; a longer side of up to {LONGEST} times the shorter is needed"
            )
        return self.fit(picture).contiguous()

    def placing(self, size: tuple[int, int]) -> Placing:
        """What `taken` does to a picture of (height, width)."""
        sides = checks.size(size)
        return Placing(self.sides, 0, 0) if sides == self.sides else self._placing(*sides)

    def _placing(self, h: int, w: int) -> Placing:
        if self.resize is None:
            return Placing(self.sides, 0, 0)
        # The crop must lie inside: a very long picture or a small `resize` is enlarged as far as that needs.
        scale = max(Fraction(self.resize, min(h, w)), Fraction(self.height, h), Fraction(self.width, w))
        size = (int(h * scale), int(w * scale))
        # Sides are cut and halves rounded (to even) as torchvision's Resize and CenterCrop do.
        top, left = (round(Fraction(n - m, 2)) for n, m in zip(size, self.sides, strict=True))
        return Placing(size, top, left)

    def to_dict(self) -> dict[str, Any]:
        """Plain numbers and words, for a Record."""
        return {name: list(v) if isinstance(v, tuple) else v for name, v in asdict(self).items()}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Preprocess:
        """The other way; unknown keys are an error."""
        known = {field.name for field in fields(cls)}
        if extra := sorted(set(values) - known):
            raise RequestError(f"preprocess has {shown(extra)}; it takes {', '.join(sorted(known))}")
        given: dict[str, Any] = {name: tuple(v) if isinstance(v, list) else v for name, v in values.items()}
        return cls(**given)

    def replace(self, **changes: Any) -> Preprocess:
        """A copy with other settings. With other `channels`, one mean and std for all are kept as one."""
        if changes.get("channels", self.channels) != self.channels:
            for name, numbers in (("mean", self.means), ("std", self.stds)):
                if len(set(numbers)) == 1:
                    changes.setdefault(name, numbers[0])
        return replace(self, **changes)

    def _affine(self, like: Tensor) -> tuple[Tensor, Tensor]:
        if not _is_four(like) or like.shape[1] != self.channels:
            what = tuple(like.shape) if isinstance(like, Tensor) else shown(like)
            raise RequestError(f"pictures are {what}; (b, {self.channels}, h, w) is needed")
        low, high = self.range
        mean, std = (like.new_tensor(numbers).view(1, -1, 1, 1) for numbers in (self.means, self.stds))
        if self.order == "bgr":  # mean and std stand in the network's order
            mean, std = mean.flip(1), std.flip(1)
        return (high - low) / std, (low - mean) / std

    def _match_channels(self, picture: Tensor) -> Tensor:
        have = picture.shape[1]
        if have == self.channels:
            return picture
        if have == 1 and self.channels == 3:
            return picture.expand(-1, 3, -1, -1)
        if have == 3 and self.channels == 1:  # ITU-R BT.601 luma, as Pillow's "L"
            return (picture * picture.new_tensor([0.299, 0.587, 0.114]).view(1, 3, 1, 1)).sum(1, keepdim=True)
        bands = "" if self.channels in (1, 3) else f". ph.read(path, channels={self.channels}) reads all bands of a file"
        raise RequestError(f"the picture has {have} channels; the network takes {self.channels}{bands}")

    def _resized(self, picture: Tensor, size: tuple[int, int]) -> Tensor:
        if tuple(picture.shape[-2:]) == size:
            return picture
        if self.interpolation == "nearest":
            return F.interpolate(picture, size=size, mode="nearest")
        smooth = F.interpolate(picture, size=size, mode=self.interpolation, antialias=True, align_corners=False)
        return smooth.clamp(0, 1)


def _is_four(picture: Tensor) -> bool:
    return isinstance(picture, Tensor) and picture.ndim == 4


def _tensor(picture: Tensor) -> Tensor:
    if not _is_four(picture) or not picture.is_floating_point():
        what = f"{picture.dtype} {tuple(picture.shape)}" if isinstance(picture, Tensor) else shown(picture)
        raise RequestError(f"picture must be a float tensor (b, c, h, w), got {what}. ph.read(path) gives one")
    return picture
