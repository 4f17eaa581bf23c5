"""How many maps a second, beside Captum, pytorch-grad-cam and TorchCAM: prints a Markdown table of ratios.

    python -m bench.maps                      every method
    python -m bench.maps saliency grad_cam --rounds 9

ResNet-50 with random weights at 224 px, 16 pictures at once. Each peer is run as its documentation does, on the module that the
user has. Ours and the peer take turns, round after round, and the ratio is that of the medians: a busy machine slows both.
Score-CAM is of `layer1`, whose 256 maps are an eighth of those of `layer4`, and of one picture: a map costs one pass anywhere.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

import phosphene as ph
from bench.peers import without_compiled_operators

HEAD = "| method | peer | ours, pictures/s | peer, pictures/s | ratio |\n|---|---|---|---|---|"
BATCH, SIZE = 16, 224
Timed = Callable[[], Any]


def resnet() -> ph.Network:
    without_compiled_operators()
    import torchvision

    torch.manual_seed(0)
    return ph.Network(torchvision.models.resnet50(weights=None).eval(), ph.Preprocess(size=SIZE, mean=0.5, std=0.25))


def targets(count: int) -> list[Any]:
    from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

    return [ClassifierOutputTarget(1)] * count


def of_captum(module: nn.Module, inputs: Tensor) -> Timed:
    from captum.attr import Saliency

    made = Saliency(module)
    return lambda: made.attribute(inputs.clone().requires_grad_(True), target=1).amax(1)


def of_grad_cam(kind: str, layer: str, **settings: Any) -> Callable[[nn.Module, Tensor], Timed]:
    def begin(module: nn.Module, inputs: Tensor) -> Timed:
        import pytorch_grad_cam

        made = getattr(pytorch_grad_cam, kind)(module, [module.get_submodule(layer)])
        for name, value in settings.items():
            setattr(made, name, value)
        return lambda: made(inputs, targets(len(inputs)))

    return begin


def of_torchcam(module: nn.Module, inputs: Tensor) -> Timed:
    from torchcam.methods import GradCAM

    def run() -> Any:
        with GradCAM(module, target_layer="layer4") as made:
            return made([1] * len(inputs), module(inputs))

    return run


def ours(verb: Callable[..., Any], **settings: Any) -> Callable[[ph.Network, Tensor], Timed]:
    return lambda net, pictures: lambda: verb(net, pictures, "logit:1", **settings)


Race = tuple[Callable[[ph.Network, Tensor], Timed], str, Callable[[nn.Module, Tensor], Timed], int]

RACES: dict[str, list[Race]] = {
    "saliency": [(ours(ph.explain, method="saliency"), "Captum", of_captum, BATCH)],
    "grad_cam": [
        (ours(ph.cam, method="grad_cam", layer="layer4"), "pytorch-grad-cam", of_grad_cam("GradCAM", "layer4"), BATCH),
        (ours(ph.cam, method="grad_cam", layer="layer4"), "TorchCAM", of_torchcam, BATCH),
    ],
    "score_cam": [
        (
            ours(ph.cam, method="score_cam", layer="layer1"),
            "pytorch-grad-cam",
            of_grad_cam("ScoreCAM", "layer1", batch_size=BATCH),
            1,
        )
    ],
}


def race(net: ph.Network, method: str, rounds: int) -> None:
    for make, peer, begin, count in RACES[method]:
        pictures = torch.rand(count, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(1))
        mine, theirs = make(net, pictures), begin(net.module, net.preprocess.forward(pictures))
        mine(), theirs()
        pairs = [(seconds(mine), seconds(theirs)) for _ in range(rounds)]
        a, b = (statistics.median(column) for column in zip(*pairs, strict=True))
        print(f"| {method} | {peer} | {count / a:.2f} | {count / b:.2f} | {b / a:.2f} |", flush=True)


def seconds(timed: Timed) -> float:
    started = time.perf_counter()
    timed()
    return time.perf_counter() - started


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("methods", nargs="*", help=", ".join(RACES))
    parser.add_argument("--rounds", type=int, default=5)
    given = parser.parse_args()
    net = resnet()
    print(HEAD)
    for method in given.methods or RACES:
        race(net, method, given.rounds)


if __name__ == "__main__":
    main()
