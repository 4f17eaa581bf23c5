"""Networks of torchvision with random weights: what a pass costs is no matter of what they have learned."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

import phosphene as ph

SETTINGS: dict[str, dict[str, Any]] = {"googlenet": {"aux_logits": False, "init_weights": False, "transform_input": False}}
NAMES = {"ResNet-50": "resnet50", "GoogLeNet": "googlenet", "MobileNetV2": "mobilenet_v2", "ResNet-18": "resnet18"}


def made(name: str, side: int, device: str = "cpu") -> ph.Network:
    """By a name of NAMES, for pictures of that side."""
    import torchvision

    torch.manual_seed(0)
    module = getattr(torchvision.models, NAMES[name])(weights=None, **SETTINGS.get(NAMES[name], {}))
    return ph.Network(_balanced(module, side).to(device), ph.Preprocess(size=side, mean=0.5, std=0.25))


def _balanced(module: nn.Module, side: int) -> nn.Module:
    """With batch norms that know what comes: by itself a random network's signals all but vanish, and such numbers are slow."""
    norms = [part for part in module.modules() if isinstance(part, nn.BatchNorm2d)]
    for norm in norms:
        norm.momentum = None  # the mean over all batches, of which there is one
    with torch.no_grad():
        module.train()(torch.randn(4, 3, side, side))
    return module.eval()
