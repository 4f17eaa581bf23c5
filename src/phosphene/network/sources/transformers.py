"""`hf:ORG/NAME`: image classifiers of the Hugging Face hub, or a folder saved by `save_pretrained`."""

from __future__ import annotations

import sys
from typing import Any

from ...errors import ExtraError, ModelError, RequestError, first_line
from ..opened import Opened, Request

_RESAMPLING = {0: "nearest", 2: "bilinear", 3: "bicubic"}  # Pillow's numbers


def load_transformers(request: Request) -> Opened:
    """`?weights=none` for random weights of the network's configuration. Code from the hub is never run."""
    library = _library()
    if request.weights not in (None, "none"):
        raise RequestError("hf: takes ?weights=none or a file")
    if not request.name:
        raise ModelError("hf: needs ORG/NAME, as in hf:microsoft/resnet-50")
    auto = library.AutoModelForImageClassification
    try:
        config = library.AutoConfig.from_pretrained(request.name, trust_remote_code=False)
        if request.weights == "none":
            module = auto.from_config(config, trust_remote_code=False)
        else:
            module = auto.from_pretrained(request.name, trust_remote_code=False)
    except Exception as error:  # the library raises its own errors, those of the hub and of half a dozen parsers
        raise ModelError(
            f"hf:{request.name} cannot be had ({first_line(error)}); ORG/NAME of an image classifier, or its folder, is needed"
        ) from error
    return Opened(module, _preprocess(request.name, config), labels(module))


def labels(module: Any) -> list[str] | None:
    """The class names in a transformers network's configuration; None where there are none."""
    names = getattr(getattr(module, "config", None), "id2label", None)
    if not isinstance(names, dict) or not all(isinstance(key, int) for key in names):
        return None
    return [str(names[key]) for key in sorted(names)] if sorted(names) == list(range(len(names))) and names else None


def preprocessing(module: Any) -> dict[str, Any] | None:
    """Keyword arguments of Preprocess for a transformers network that was loaded from a folder or the hub.

    They stand in the image processor's file beside its weights. Nothing is downloaded: of a network from the hub the file is
    found if it is in the hub's cache. Without the file: the side that the configuration names; None where it names none.
    """
    config = getattr(module, "config", None)
    name = getattr(config, "name_or_path", None)
    if "transformers" not in sys.modules or not isinstance(name, str):
        return None
    return _preprocess(name, config, local_files_only=True)


def _library() -> Any:
    try:
        import transformers
    except ImportError as error:
        raise ExtraError(f"transformers does not import ({first_line(error)}); pip install 'phosphene[hf]'") from error
    return transformers


def _preprocess(name: str, config: Any, **how: Any) -> dict[str, Any] | None:
    # The processor's file is read as data: building the processor itself can need torchvision.
    try:
        from transformers.image_processing_utils import BaseImageProcessor

        said, _ = BaseImageProcessor.get_image_processor_dict(name, **how)
    except (OSError, ValueError, ImportError):
        side = getattr(config, "image_size", None)
        return {"size": side, "channels": int(getattr(config, "num_channels", 3))} if side else None
    return settings(said, int(getattr(config, "num_channels", 3)))


def settings(said: dict[str, Any], channels: int = 3) -> dict[str, Any]:
    """Keyword arguments of Preprocess for what an image processor says of itself."""
    size, crop = _sides(said.get("size")), _sides(said.get("crop_size"))
    cropped = crop if said.get("do_center_crop") and crop else None
    normal = said.get("do_normalize", True)
    side = cropped or size or (224, 224)
    found: dict[str, Any] = {
        "size": side,
        "resize": _resize(size, bool(cropped), said.get("crop_pct")),
        "channels": channels,
        "interpolation": _RESAMPLING.get(said.get("resample", 2), "bilinear"),
    }
    if normal and "image_mean" in said:
        found |= {"mean": tuple(said["image_mean"]), "std": tuple(said["image_std"])}
    if said.get("do_rescale") is False:
        found["range"] = (0.0, 255.0)
    return found


def _resize(size: tuple[int, int] | None, cropped: bool, share: float | None) -> int | None:
    if size and share and min(size) < 384:  # ConvNeXt's way: below 384 px the crop is that share of the resized side
        return int(min(size) / share)
    return min(size) if size and cropped else None


def _sides(value: Any) -> tuple[int, int] | None:
    """(height, width) from the ways in which processors write it."""
    if isinstance(value, int):
        return value, value
    if isinstance(value, dict) and "height" in value:
        return int(value["height"]), int(value["width"])
    if isinstance(value, dict) and "shortest_edge" in value:
        return int(value["shortest_edge"]), int(value["shortest_edge"])
    return None
