"""`timm:NAME`: the networks of PyTorch Image Models."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any

from ...errors import ExtraError, ModelError, RequestError, UnknownNameError, WeightsError, first_line
from ..opened import Opened, Request


def load_timm(request: Request) -> Opened:
    """`?weights=none` for random weights; another tag of the same network is part of its name (`resnet50.a1_in1k`)."""
    timm = _timm()
    if request.weights not in (None, "none"):
        raise RequestError("timm names its weights in the network's name (timm:resnet50.a1_in1k); ?weights=none or a file")
    if not timm.is_model(request.name.partition(".")[0]):
        raise UnknownNameError("timm network", request.name, timm.list_models())
    try:
        head = {} if request.classes is None else {"num_classes": request.classes}
        module = timm.create_model(request.name, pretrained=request.weights is None, **head)
    except (OSError, RuntimeError, ImportError, KeyError, ValueError, TypeError) as error:
        kind = WeightsError if request.weights is None else ModelError
        raise kind(
            f"timm:{request.name} cannot be had ({first_line(error)}); offline, give ?weights=FILE or ?weights=none"
        ) from error
    return Opened(module, settings(timm.data.resolve_data_config({}, model=module)), None if head else _classes(timm, module))


def _timm() -> Any:
    try:
        import timm
        import timm.data
    except ImportError as error:
        raise ExtraError(f"timm does not import ({first_line(error)}); pip install 'phosphene[timm]'") from error
    except RuntimeError as error:  # it imports torchvision, which can be built for another torch
        raise ExtraError(
            f"timm does not import here ({first_line(error)}); install the torchvision built for this torch"
        ) from error
    return timm


def settings(config: Mapping[Any, Any]) -> dict[str, Any]:
    """Keyword arguments of Preprocess for a data configuration, or for a network's `pretrained_cfg`."""
    channels, height, width = config["input_size"]
    share = float(config.get("crop_pct") or 1.0)
    mode = config.get("interpolation")
    return {
        "size": (height, width),
        "channels": channels,
        "resize": int(min(height, width) / share),
        "mean": tuple(config["mean"]),
        "std": tuple(config["std"]),
        "interpolation": mode if mode in ("nearest", "bilinear", "bicubic") else "bicubic",
    }


def preprocessing(module: Any) -> dict[str, Any] | None:
    """The same for a network of timm's; None for any other."""
    config = getattr(module, "pretrained_cfg", None)
    if "timm" not in sys.modules or not isinstance(config, Mapping) or not {"input_size", "mean", "std"} <= set(config):
        return None
    return settings(config)


def _classes(timm: Any, module: Any) -> list[str] | None:
    subset = timm.data.infer_imagenet_subset(module)
    if not subset:
        return None
    info = timm.data.ImageNetInfo(subset)
    return [info.index_to_description(index) for index in range(info.num_classes())]
