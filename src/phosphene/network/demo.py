"""The bundled pair: two small CNNs of one architecture, `demo:standard` and `demo:robust`. See data/MODEL_CARD.md."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import resources
from typing import Any

from torch import Tensor, nn

from ..errors import RequestError, UnknownNameError
from . import checkpoint
from .opened import Opened, Request

NAMES = ("robust", "standard")


class BasicBlock(nn.Module):
    """Two 3×3 convolutions and a shortcut. Source: He et al. 2016, fig. 5 left, projection shortcuts."""

    def __init__(self, channels_in: int, channels_out: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels_in, channels_out, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels_out)
        self.relu1 = nn.ReLU()
        self.conv2 = nn.Conv2d(channels_out, channels_out, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels_out)
        self.relu2 = nn.ReLU()
        self.shortcut = nn.Sequential()
        if stride != 1 or channels_in != channels_out:
            projection = nn.Conv2d(channels_in, channels_out, 1, stride, bias=False)
            self.shortcut = nn.Sequential(projection, nn.BatchNorm2d(channels_out))

    def forward(self, x: Tensor) -> Tensor:
        y = self.relu1(self.bn1(self.conv1(x)))
        out: Tensor = self.relu2(self.bn2(self.conv2(y)) + self.shortcut(x))
        return out


class DemoNet(nn.Module):
    """A small residual network: stem, four stages of basic blocks, global average pooling, one linear layer."""

    def __init__(
        self,
        classes: int = 10,
        widths: Sequence[int] = (32, 64, 128, 256),
        depths: Sequence[int] = (2, 2, 2, 1),
        strides: Sequence[int] = (1, 2, 2, 1),
        stem_kernel: int = 5,
        stem_stride: int = 1,
    ) -> None:
        super().__init__()
        stem = nn.Conv2d(3, widths[0], stem_kernel, stem_stride, stem_kernel // 2, bias=False)
        self.stem = nn.Sequential(stem, nn.BatchNorm2d(widths[0]), nn.ReLU())
        inputs = (widths[0], *widths[:3])
        stages = [
            nn.Sequential(*(BasicBlock(c if i == 0 else w, w, s if i == 0 else 1) for i in range(d)))
            for c, w, d, s in zip(inputs, widths, depths, strides, strict=True)
        ]
        self.stage1, self.stage2, self.stage3, self.stage4 = stages
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.flatten = nn.Flatten()
        self.classifier = nn.Linear(widths[-1], classes)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stage4(self.stage3(self.stage2(self.stage1(self.stem(x)))))
        out: Tensor = self.classifier(self.flatten(self.pool(x)))
        return out


def load_demo(request: Request) -> Opened:
    """`demo:standard` or `demo:robust`, from the package itself."""
    if request.name not in NAMES:
        raise UnknownNameError("network", f"demo:{request.name}", [f"demo:{name}" for name in NAMES])
    if request.weights not in (None, "none"):
        raise RequestError(f"demo:{request.name} has one set of weights; ?weights=none or a file is possible")
    file = f"cifar10_{request.name}.safetensors"
    with resources.as_file(resources.files("phosphene.network") / "data" / file) as path:
        state, _ = checkpoint.read(path)
        said: dict[str, Any] = checkpoint.metadata_of(path)
    module = DemoNet(**said["config"])
    if request.weights is None:
        checkpoint.load_into(module, state, file)
    preprocess = {"size": int(said["size"]), "mean": float(said["mean"]), "std": float(said["std"])}
    return Opened(module, preprocess, tuple(said["classes"]))
