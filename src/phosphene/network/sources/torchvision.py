"""`torchvision:NAME`: its classification networks, with the preprocessing and class names of their weights."""

from __future__ import annotations

from typing import Any

from ...errors import ExtraError, ModelError, RequestError, UnknownNameError, WeightsError, first_line
from ..opened import Opened, Request


def load_torchvision(request: Request) -> Opened:
    """`?weights=none` for random weights, `?weights=IMAGENET1K_V1` for older ones; else the best there are."""
    models = _models()
    known = models.list_models(module=models)
    if request.name not in known:
        _refuse_other_tasks(models, request.name)
        raise UnknownNameError("torchvision network", request.name, known)
    tags = models.get_model_weights(request.name)
    best = getattr(tags, "DEFAULT", None)
    if request.weights in (None, "none"):
        weights = best
    elif request.weights in tags.__members__:
        weights = tags[request.weights]
    else:
        raise UnknownNameError("weights", request.weights, [*tags.__members__, "none"])
    if request.classes is not None and request.weights != "none":
        raise RequestError("classes of a new head need ?weights=none or a file; torchvision's own weights have theirs")
    module = _made(models, request.name, None if request.weights == "none" else weights, request.classes)
    categories = weights.meta.get("categories") if weights and request.classes is None else None
    return Opened(module, _preprocess(weights), categories)


_TASKS = {
    "segmentation": "a dictionary whose entry 'out' is (b, classes, h, w)",
    "detection": "boxes, labels and scores of each picture",
    "video": "scores of films (b, c, t, h, w), not of pictures",
    "optical_flow": "the motion between two pictures",
    "quantization": "scores of quantised weights, which have no gradient",
}


def _refuse_other_tasks(models: Any, name: str) -> None:
    """Networks that torchvision has, but that are no classifiers of pictures."""
    for task, result in _TASKS.items():
        part = getattr(models, task, None)
        if part is None or name not in models.list_models(module=part):
            continue
        way = {
            "segmentation": "ph.Network(module, preprocess, output=lambda o: o['out'].mean((2, 3)))",
            "detection": "ph.Network(module, preprocess, output=...), where output= picks a (b, classes) tensor",
        }.get(task)
        advice = f"Make it with torchvision.models.get_model and give it to {way}" if way else "Give a network of pictures"
        raise ModelError(
            f"torchvision:{name} must be a classifier of pictures, got a {task} network: it gives {result}. {advice}."
        )


def _models() -> Any:
    try:
        from torchvision import models
    except ImportError as error:
        raise ExtraError("torchvision is not installed; pip install 'phosphene[torchvision]'") from error
    except RuntimeError as error:  # a build for another torch: "operator torchvision::nms does not exist"
        raise ExtraError(
            f"torchvision does not import here ({first_line(error)}); install the torchvision built for this torch"
        ) from error
    return models


def _made(models: Any, name: str, weights: Any, classes: int | None) -> Any:
    # These two change their input themselves when weights are asked for by tag; the Preprocess does it here.
    own: dict[str, Any] = {"transform_input": False} if name in ("googlenet", "inception_v3") else {}
    if own and weights is None:
        own["init_weights"] = True  # as it is without a word, but without the warning that this may change
    if classes is not None:
        own["num_classes"] = classes
    try:
        return models.get_model(name, weights=weights, **own)
    except (OSError, RuntimeError) as error:
        raise WeightsError(
            f"the weights of torchvision:{name} cannot be had ({first_line(error)}); "
            "offline, give ?weights=FILE or ?weights=none"
        ) from error
    except (TypeError, ValueError) as error:
        raise ModelError(f"torchvision:{name} cannot be made: {first_line(error)}") from error


def _preprocess(weights: Any) -> dict[str, Any] | None:
    if weights is None:
        return None
    t = weights.transforms()
    mode = str(getattr(t.interpolation, "value", t.interpolation))
    return {
        "size": int(t.crop_size[0]),
        "resize": int(t.resize_size[0]),
        "mean": tuple(t.mean),
        "std": tuple(t.std),
        "interpolation": mode if mode in ("nearest", "bilinear", "bicubic") else "bilinear",
    }
