"""Preprocessing as other libraries hold it: torchvision's presets and Compose, timm's configurations, image processors."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields
from typing import Any

import torch

from ..errors import RequestError, shown
from .preprocess import Preprocess
from .sources import timm, transformers

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
IMAGENET = {"size": 224, "resize": 256, "mean": IMAGENET_MEAN, "std": IMAGENET_STD}
NEEDED = (
    "preprocess must be a ph.Preprocess(size=224, mean=(…), std=(…)), 'imagenet', torchvision's weights.transforms() or a "
    "Compose, a timm data configuration or an image processor of transformers"
)
# Steps that leave the numbers as they are, or only change how they are held.
_CARRIERS = (
    "ToTensor",
    "ToImage",
    "ToPureTensor",
    "ConvertImageDtype",
    "ToDtype",
    "PILToTensor",
    "Identity",
    "RGB",
    "ToImageTensor",
)
_NONE = "no preprocessing was given: "
_PROCESSOR = f"{_NONE}that of the image processor's file beside the weights was taken"
_TIMM = f"{_NONE}that of timm's configuration of the network was taken"
_TORCHVISION = f"{_NONE}ImageNet's mean and std, with which torchvision's networks are trained, were assumed"
_AS_THEY_ARE = f"{_NONE}pictures in [0, 1] go in as they are"
_MODES = ("nearest", "bilinear", "bicubic")


def preprocess_of(given: Any) -> Preprocess:
    """The Preprocess that does what is given; RequestError where it does what a Preprocess cannot."""
    if isinstance(given, Preprocess):
        return given
    settings = _settings(given)
    if settings is None:
        raise RequestError(f"{NEEDED}, got {shown(given)}")
    return Preprocess.from_dict(settings)


def _settings(given: Any) -> dict[str, Any] | None:
    """Keyword arguments of Preprocess; None for what is no kind of preprocessing."""
    if isinstance(given, str):
        return dict(IMAGENET) if given == "imagenet" else None
    if isinstance(given, Mapping):
        return _of_mapping(given)
    if hasattr(given, "transforms") and hasattr(given, "meta"):  # an entry of a torchvision weights enumeration
        given = given.transforms()
    if all(hasattr(given, name) for name in ("resize_size", "mean", "std")):
        return _of_preset(given)
    if hasattr(given, "image_mean") and callable(getattr(given, "to_dict", None)):
        return transformers.settings(given.to_dict())
    if hasattr(given, "transforms") or isinstance(given, torch.nn.Module):
        return _Steps.of(given).settings()
    return None


def _of_mapping(given: Mapping[Any, Any]) -> dict[str, Any] | None:
    if "input_size" in given:
        return timm.settings(given)
    if "image_mean" in given or "do_normalize" in given:
        return transformers.settings(dict(given))
    return dict(given) if set(given) <= {one.name for one in fields(Preprocess)} else None


def _of_preset(preset: Any) -> dict[str, Any]:
    """torchvision's ImageClassification and SemanticSegmentation; the latter resize without a crop."""
    resize = _numbers(preset.resize_size)
    crop = _numbers(getattr(preset, "crop_size", None) or preset.resize_size)
    return {
        "size": crop[0] if len(crop) == 1 else crop,
        "resize": resize[0] if hasattr(preset, "crop_size") else None,
        "mean": tuple(preset.mean),
        "std": tuple(preset.std),
        "interpolation": _mode(preset.interpolation),
    }


class _Steps:
    """What the steps of a Compose do, one after another."""

    def __init__(self) -> None:
        self.found: dict[str, Any] = {}
        self.bytes_stay = False  # numbers from 0 to 255 go into the network

    @classmethod
    def of(cls, given: Any) -> _Steps:
        steps = cls()
        for step in _flat(given):
            steps.take(type(step).__name__, step)
        return steps

    def take(self, kind: str, step: Any) -> None:
        if kind == "Resize":
            self._resize(step)
        elif kind == "CenterCrop":
            self.found["size"] = self._pair(step.size)
        elif kind == "Normalize":
            self.found |= {"mean": _floats(step.mean), "std": _floats(step.std)}
        elif kind == "Grayscale" and int(step.num_output_channels) == 1:
            self.found["channels"] = 1
        elif kind not in _CARRIERS and not self._carries_on(step):
            raise RequestError(
                f"preprocess has the step {kind}, which a Preprocess does not do. Pass the transforms of evaluation: Resize, "
                "CenterCrop, ToTensor, Normalize"
            )
        self._note_scale(kind, step)

    def _note_scale(self, kind: str, step: Any) -> None:
        if kind in ("PILToTensor", "ToImage"):
            self.bytes_stay = True
        elif kind in ("ToTensor", "ConvertImageDtype") or (kind == "ToDtype" and getattr(step, "scale", False)):
            self.bytes_stay = False

    def _resize(self, step: Any) -> None:
        sides = _numbers(step.size)
        self.found["interpolation"] = _mode(step.interpolation)
        if len(sides) == 1:
            self.found |= {"resize": sides[0], "size": sides[0]}
        else:
            self.found |= {"resize": None, "size": sides}

    @staticmethod
    def _pair(size: Any) -> Any:
        sides = _numbers(size)
        return sides[0] if len(sides) == 1 else sides

    @staticmethod
    def _carries_on(step: Any) -> bool:
        """timm's own step from an image to a tensor, which keeps bytes or scales them as ToTensor does."""
        return type(step).__name__ == "MaybeToTensor"

    def settings(self) -> dict[str, Any]:
        if "size" not in self.found:
            raise RequestError(
                "preprocess resizes to no size. Add Resize((height, width)) or CenterCrop(size), or pass ph.Preprocess(size=…)"
            )
        if "mean" in self.found:
            self.found.setdefault("channels", 1 if len(self.found["mean"]) == 1 else 3)
        return self.found | ({"range": (0.0, 255.0)} if self.bytes_stay else {})


def _flat(given: Any) -> Iterator[Any]:
    """The steps of a Compose or Sequential, and of those inside it."""
    inside = getattr(given, "transforms", given if isinstance(given, torch.nn.Sequential) else None)
    if inside is None:
        yield given
        return
    for step in inside:
        yield from _flat(step)


def _numbers(value: Any) -> tuple[int, ...]:
    return tuple(int(side) for side in value) if isinstance(value, list | tuple) else (int(value),)


def _floats(value: Any) -> tuple[float, ...]:
    return tuple(float(number) for number in torch.as_tensor(value).flatten())


def _mode(interpolation: Any) -> str:
    mode = str(getattr(interpolation, "value", interpolation))
    return mode if mode in _MODES else "bilinear"


@dataclass(frozen=True)
class Assumption:
    """What is taken where nobody says: a Preprocess, or the numbers of one whose size is to be found, and a note on it."""

    preprocess: Preprocess | None = None
    numbers: Mapping[str, Any] = field(default_factory=dict)
    note: str = ""


def assumption_of(module: torch.nn.Module) -> Assumption:
    """What a module of transformers, timm or torchvision lets one assume; of any other that pictures go in as they are."""
    own = transformers.preprocessing(module)
    if own is not None:
        return Assumption(Preprocess.from_dict(own), note=_PROCESSOR if "resize" in own else _AS_THEY_ARE)
    own = timm.preprocessing(module)
    if own is not None:
        return Assumption(Preprocess.from_dict(own), note=_TIMM)
    if type(module).__module__.startswith("torchvision.models."):
        return Assumption(None, {"mean": IMAGENET_MEAN, "std": IMAGENET_STD}, _TORCHVISION)
    return Assumption(note=_AS_THEY_ARE)
