"""Watch a network learn: class models of coloured shapes after every second epoch, as one animation.

    python -m examples.training learning.gif

The demo architecture, smaller, learns four shapes that Pillow draws on coloured noise: neither colour nor shape alone tells
them apart. It is trained against adversarial examples, as `demo:robust` was: the class models of such a network are what a
person recognises. The weights' moving average is drawn, which does not jump from epoch to epoch. Four minutes on one core.
"""

from __future__ import annotations

import random
import sys
import time

import numpy as np
import torch
from PIL import Image, ImageDraw
from torch import Tensor
from torch.nn import functional as F
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

import phosphene as ph
from examples.train_demo import accuracy, attacked, normalised
from phosphene.network.demo import DemoNet

SIZE, BATCH, LR = 32, 64, 0.05
CLASSES = ["red disc", "red cross", "blue disc", "blue cross", "nothing"]
RADIUS, AVERAGE = 1.5, 0.95  # of the L2 attack; of the moving average, per step


def shape(name: str, numbers: random.Random) -> Image.Image:
    """A picture of the class: its shape somewhere, in some size and shade."""
    coarse = np.array([numbers.randrange(40, 216) for _ in range(8 * 8 * 3)], np.uint8).reshape(8, 8, 3)
    image = Image.fromarray(coarse).resize((SIZE, SIZE), Image.Resampling.BICUBIC)
    if name == "nothing":
        return image
    draw = ImageDraw.Draw(image)
    strong, weak = numbers.randrange(190, 256), numbers.randrange(0, 60)
    ink = (strong, weak, weak) if name.startswith("red") else (weak, weak, strong)
    r = numbers.uniform(7, 11)
    x, y = (numbers.uniform(r + 1, SIZE - r - 1) for _ in range(2))
    if name.endswith("disc"):
        draw.ellipse((x - r, y - r, x + r, y + r), fill=ink)
    else:
        draw.rectangle((x - r, y - r / 3, x + r, y + r / 3), fill=ink)
        draw.rectangle((x - r / 3, y - r, x + r / 3, y + r), fill=ink)
    return image


def pictures(count: int, seed: int) -> tuple[Tensor, Tensor]:
    """(n, 3, 32, 32) in [0, 1] and (n,) labels; the seed belongs to the set."""
    numbers = random.Random(seed)
    labels = [i % len(CLASSES) for i in range(count)]
    arrays = [np.asarray(shape(CLASSES[label], numbers)) for label in labels]
    return torch.from_numpy(np.stack(arrays)).permute(0, 3, 1, 2).float() / 255, torch.tensor(labels)


def train(path: str, *, epochs: int = 24, count: int = 1280, share: float | None = None, steps: int = 96) -> ph.Network:
    """Trains, writes the animation, and gives the network. share: the budget for drawing; None: all frames."""
    torch.manual_seed(0)
    module = DemoNet(classes=len(CLASSES), widths=(16, 24, 32, 48), depths=(1, 1, 1, 1))
    net = ph.Network(module, ph.Preprocess(size=SIZE, mean=0.5, std=0.25), CLASSES, name="shapes")
    mean = AveragedModel(module, multi_avg_fn=get_ema_multi_avg_fn(AVERAGE), use_buffers=True)
    watch = ph.training.ClassModels(net, targets=CLASSES[:4], steps=steps, weights=mean).on_val(every=2).budget(share)
    watch.make_grid(columns=4).to_animation(path, label=False)

    seen, meant = pictures(count, seed=1)
    held_out = pictures(256, seed=2)
    optimiser = torch.optim.SGD(module.parameters(), LR, momentum=0.9, weight_decay=5e-4)
    schedule = torch.optim.lr_scheduler.LinearLR(optimiser, 1.0, 0.02, total_iters=epochs * -(-count // BATCH))
    with watch.for_loop() as loop:
        for epoch in range(epochs):
            began = time.perf_counter()
            for chosen in torch.randperm(count).split(BATCH):
                labels = meant[chosen]
                hard = attacked(module.eval(), seen[chosen], labels, RADIUS * min(1.0, (epoch + 1) / 4), steps=2)
                loss = F.cross_entropy(module.train()(normalised(hard)), labels)
                optimiser.zero_grad()
                loss.backward()
                optimiser.step()
                schedule.step()
                mean.update_parameters(module)
                loop.step()
            loop.epoch()
            right = accuracy(mean.eval(), *held_out)
            print(f"epoch {epoch}: {right:.0%} right, {time.perf_counter() - began:.1f} s", flush=True)
            loop.val()
    print(f"{watch.drawings} frames; drawing took {watch.budgeted.spent / watch.budgeted.trained:.1%} of the time of training")
    return net


if __name__ == "__main__":
    train(sys.argv[1] if len(sys.argv) > 1 else "learning.gif")
