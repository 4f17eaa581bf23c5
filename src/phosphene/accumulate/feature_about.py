"""What an index says of its vectors: written with them, and checked before they are believed."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from ..errors import RequestError, shown
from ..network.network import Network
from ..results.record import Record, environment
from .feature_vectors import before_head, vectors_of

FORMAT = 1
ABOUT = b"phosphene"  # the key in the table's metadata
COLUMNS = ("id", "position", "path", "label", "prediction", "probability", "vector", "pixels", "thumbnail")
PIXELS_SIDE = 32  # pixels are compared on squares of so many a side
_LARGEST = 1 << 20  # characters


def about_of(net: Network, layer: str | None, metric: str) -> dict[str, Any]:
    """What an index of a layer says of its vectors."""
    if metric not in ("cosine", "l2"):
        raise RequestError(f"metric is {shown(metric)}; cosine or l2 is needed")
    address = before_head(net) if layer is None else layer
    nothing = net.preprocess.mean_picture()
    with torch.inference_mode(False), torch.no_grad():
        dimension = vectors_of(net.features(nothing, address), net.layouts({address})[address]).shape[1]
    side = min(PIXELS_SIDE, *net.preprocess.sides)
    return {
        "model": net.identity(),
        "preprocess": net.preprocess.to_dict(),
        "layer": address,
        "dimension": int(dimension),
        "side": side,
        "pixels": net.preprocess.channels * side * side,
        "metric": metric,
    }


def differing(kept: Mapping[str, Any], asked: Mapping[str, Any]) -> list[str]:
    """What is not the same, in words; the network's name may be another."""
    other = [word for word in ("layer", "metric", "dimension", "side", "preprocess", "data") if kept.get(word) != asked[word]]
    return (["model"] if kept["model"]["sha256"] != asked["model"]["sha256"] else []) + other


def check_model(net: Network, uri: str, about: Mapping[str, Any]) -> None:
    """RequestError unless the vectors are of this network, these weights and this preprocessing."""
    model = about["model"]
    if model["sha256"] != net.sha256():
        raise RequestError(
            f"index {shown(uri)} is of another model: {shown(model['ref'])}, weights {model['sha256'][:12]}; "
            f"{net.name} has {net.sha256()[:12]}: vectors of two networks do not compare"
        )
    if about["preprocess"] != net.preprocess.to_dict():
        raise RequestError(f"index {shown(uri)} was made with another preprocessing than {net.name} has now; build it again")


def read_about(uri: str, metadata: Mapping[bytes, bytes], schema: Any) -> dict[str, Any]:
    """What the table says it is; anyone may have written it."""
    text = metadata.get(ABOUT, b"")
    try:
        about = json.loads(text) if 0 < len(text) <= _LARGEST else None
    except (ValueError, RecursionError):
        about = None
    if not isinstance(about, dict) or about.get("format") != FORMAT or not _sound(about):
        raise RequestError(f"{shown(uri)} is no index of this version of Phosphene; one that FeatureIndex.build made is needed")
    names = set(schema.names)
    if not set(COLUMNS) <= names or schema.field("vector").type.list_size != about["dimension"]:
        raise RequestError(f"index {shown(uri)} lacks columns or has vectors of another length than it says; build it again")
    return about


def _sound(about: Mapping[str, Any]) -> bool:
    model, numbers = about.get("model"), (about.get("dimension"), about.get("pixels"), about.get("side"))
    return (
        isinstance(model, dict)
        and all(isinstance(model.get(word), str) for word in ("ref", "sha256"))
        and all(isinstance(about.get(word), str) for word in ("layer",))
        and about.get("metric") in ("cosine", "l2")
        and isinstance(about.get("preprocess"), dict)
        and all(isinstance(n, int) and not isinstance(n, bool) and 0 < n < 1 << 24 for n in numbers)
    )


def record_of(net: Network, picture: Tensor, about: Mapping[str, Any]) -> Record:
    """How the neighbours of a picture were found."""
    h, w = picture.shape[-2:]
    return Record(
        model={"ref": net.name, "sha256": about["model"]["sha256"]},
        preprocess=net.preprocess.to_dict(),
        recipe={"name": "neighbours", "layer": about["layer"], "metric": about["metric"]},
        size=(int(h), int(w)),
        seed=0,
        batch=(f"layer:{about['layer']}",),
        position=0,
        environment=environment(net.device),
        verb="neighbours",
    )
