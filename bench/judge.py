"""The judge: MobileNetV1 0.75 of the laboratory's own code."""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path

from torch import nn


def make() -> nn.Module:
    path = Path(os.environ["PHOSPHENE_LAB"]) / "mobilenets.py"
    spec = importlib.util.spec_from_file_location("mobilenets", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    judge: nn.Module = module.MobileNetV1(width=0.75)
    return judge
