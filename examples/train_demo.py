"""Train one of the bundled networks again: DemoNet on CIFAR-10, as usual or against L2 adversarial examples.

    python examples/train_demo.py data standard.safetensors
    python examples/train_demo.py data robust.safetensors --radius 1.0 --epochs 50

Needs torchvision for the pictures, and an accelerator for patience. Source of the attack: Madry et al. 2018, projected gradient
ascent on the loss; here in L2, its radius growing over the first five epochs.
"""

from __future__ import annotations

import argparse
import copy
import json
import math
from collections.abc import Iterator
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional as F

from phosphene.network.demo import DemoNet

CONFIG = {"classes": 10, "widths": [32, 64, 128, 256], "depths": [2, 2, 2, 1], "strides": [1, 2, 2, 1]}
STEM = {"stem_kernel": 5, "stem_stride": 1}
BATCH, LR, WEIGHT_DECAY, ATTACK_STEPS, AVERAGE = 512, 0.1, 5e-4, 3, 0.995


def normalised(pictures: Tensor) -> Tensor:
    return (pictures - 0.5) / 0.25


def augmented(pictures: Tensor) -> Tensor:
    """A random part of 35 % to all of each picture, mirrored or not, in another exposure."""
    n = len(pictures)
    side = torch.empty(n).uniform_(0.35, 1).sqrt()
    theta = torch.zeros(n, 2, 3)
    theta[:, 0, 0], theta[:, 1, 1] = side * (torch.randint(0, 2, (n,)) * 2 - 1), side
    theta[:, :, 2] = torch.empty(n, 2).uniform_(-1, 1) * (1 - side)[:, None]
    where = F.affine_grid(theta.to(pictures), list(pictures.shape), align_corners=False)
    seen = F.grid_sample(pictures, where, padding_mode="reflection", align_corners=False)
    contrast, light = torch.empty(n, 1, 1, 1).uniform_(0.8, 1.2), torch.empty(n, 1, 1, 1).uniform_(-0.1, 0.1)
    mean = seen.mean((1, 2, 3), keepdim=True)
    return ((seen - mean) * contrast.to(seen) + mean + light.to(seen)).clamp(0, 1)


def length(change: Tensor) -> Tensor:
    found: Tensor = change.flatten(1).norm(dim=1)
    return found.view(-1, 1, 1, 1).clamp(min=1e-12)


def attacked(net: nn.Module, pictures: Tensor, labels: Tensor, radius: float, steps: int = ATTACK_STEPS) -> Tensor:
    """Pictures within an L2 ball about the given ones that raise the loss."""
    change = torch.randn_like(pictures)
    change = change / length(change) * radius * torch.rand(len(pictures), 1, 1, 1).to(pictures)
    for _ in range(steps):
        change.requires_grad_(True)
        loss = F.cross_entropy(net(normalised(pictures + change)), labels)
        (uphill,) = torch.autograd.grad(loss, change)
        with torch.no_grad():
            change = change + 2 * radius / steps * uphill / length(uphill)
            change = change * (radius / length(change).clamp(min=radius))
            change = (pictures + change).clamp(0, 1) - pictures
    return (pictures + change).detach()


def rate(step: int, steps: int, warm: int) -> float:
    """Rises over `warm` steps, then falls as a cosine."""
    return LR * min(1.0, (step + 1) / warm) * 0.5 * (1 + math.cos(math.pi * step / steps))


def average(mean: nn.Module, net: nn.Module, step: int) -> None:
    """An exponential moving average of weights and buffers that forgets its beginning."""
    share = 1 - min(AVERAGE, (step + 1) / (step + 10))
    with torch.no_grad():
        for kept, now in zip(mean.state_dict().values(), net.state_dict().values(), strict=True):
            if kept.is_floating_point():
                kept.lerp_(now, share)
            else:
                kept.copy_(now)


def batches(count: int, device: torch.device) -> Iterator[Tensor]:
    yield from torch.randperm(count, device=device).split(BATCH)


def train(pictures: Tensor, labels: Tensor, *, epochs: int, radius: float = 0.0, seed: int = 0) -> DemoNet:
    """pictures (n, 3, 32, 32) in [0, 1], labels (n,); gives the averaged network."""
    torch.manual_seed(seed)
    net = DemoNet(**CONFIG, **STEM).to(pictures.device)  # type: ignore[arg-type]  # plain JSON values
    mean = copy.deepcopy(net).eval()
    weights, others = ([p for p in net.parameters() if (p.ndim > 1) is many] for many in (True, False))
    groups = [{"params": weights, "weight_decay": WEIGHT_DECAY}, {"params": others, "weight_decay": 0.0}]
    optimiser = torch.optim.SGD(groups, LR, momentum=0.9, nesterov=True)
    per_epoch = math.ceil(len(pictures) / BATCH)
    for epoch in range(epochs):
        for place, chosen in enumerate(batches(len(pictures), pictures.device)):
            step = epoch * per_epoch + place
            for group in optimiser.param_groups:
                group["lr"] = rate(step, epochs * per_epoch, 2 * per_epoch)
            seen, meant = augmented(pictures[chosen]), labels[chosen]
            if radius:
                seen = attacked(net.eval(), seen, meant, radius * min(1.0, (step + 1) / (5 * per_epoch)))
            loss = F.cross_entropy(net.train()(normalised(seen)), meant)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            average(mean, net, step)
        print(f"epoch {epoch + 1} of {epochs}: loss {loss.item():.3f}", flush=True)
    return mean


def accuracy(net: nn.Module, pictures: Tensor, labels: Tensor) -> float:
    with torch.no_grad():
        right = [(net(normalised(p)).argmax(1) == y).sum() for p, y in zip(pictures.split(500), labels.split(500), strict=True)]
    return float(torch.stack(right).sum()) / len(pictures)


def save(net: DemoNet, path: Path, classes: list[str], figures: dict[str, str]) -> None:
    """float16, with what `demo:` needs to know in the header."""
    state = {name: (t.half() if t.is_floating_point() else t).cpu().contiguous() for name, t in net.state_dict().items()}
    said = {
        "config": json.dumps({**CONFIG, **STEM}),
        "classes": json.dumps(classes),
        "size": "32",
        "mean": "0.5",
        "std": "0.25",
    }
    save_file(state, path, metadata=said | figures)


def cifar10(folder: Path, *, train: bool, device: str) -> tuple[Tensor, Tensor, list[str]]:
    from torchvision.datasets import CIFAR10

    data = CIFAR10(str(folder), train=train, download=True)
    pictures = torch.from_numpy(data.data).permute(0, 3, 1, 2).float().div(255)
    return pictures.to(device), torch.tensor(data.targets, device=device), list(data.classes)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="folder of the pictures; they are fetched if it is empty")
    parser.add_argument("out", type=Path, help="the .safetensors file to write")
    parser.add_argument("--epochs", type=int, default=60)
    parser.add_argument("--radius", type=float, default=0.0, help="of the L2 attack in training; 0 for none")
    given = parser.parse_args()
    device = "cuda" if torch.cuda.is_available() else "cpu"
    pictures, labels, classes = cifar10(given.data, train=True, device=device)
    net = train(pictures, labels, epochs=given.epochs, radius=given.radius)
    pictures, labels, _ = cifar10(given.data, train=False, device=device)
    clean = accuracy(net, pictures, labels)
    print(f"accuracy {clean:.1%}")
    save(net, given.out, classes, {"clean": str(clean), "eps": str(given.radius), "epochs": str(given.epochs)})


if __name__ == "__main__":
    main()
