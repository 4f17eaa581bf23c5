"""The recipe of the bundled pair, for a few steps on made-up pictures."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from examples.train_demo import attacked, average, rate, save, train

import phosphene as ph
from phosphene.network.demo import DemoNet
from tests.nets import plain

PICTURES = torch.rand((40, 3, 32, 32), generator=torch.Generator().manual_seed(0))
LABELS = torch.arange(40) % 10


@pytest.mark.parametrize("radius", [0.0, 0.5])
def test_what_is_trained_opens_as_a_bundled_network_does(radius: float, tmp_path: Path) -> None:
    path = tmp_path / "mine.safetensors"
    save(train(PICTURES, LABELS, epochs=1, radius=radius), path, [f"class {i}" for i in range(10)], {})
    scores = ph.load(f"demo:standard?weights={path}").scores(PICTURES[:2])
    assert scores.shape == (2, 10)
    assert scores.isfinite().all()


def test_an_attack_stays_in_its_ball_and_raises_the_loss() -> None:
    net, some, labels = plain(3).eval(), PICTURES[:6], LABELS[:6] % 5
    seen = attacked(net, some, labels, radius=0.5, steps=10)
    assert (seen - some).flatten(1).norm(dim=1).max() <= 0.5001
    assert 0 <= seen.min() <= seen.max() <= 1
    loss = torch.nn.functional.cross_entropy
    assert loss(net((seen - 0.5) / 0.25), labels) > loss(net((some - 0.5) / 0.25), labels)


def test_the_average_begins_at_the_network_and_follows_it() -> None:
    mean, net = DemoNet(), DemoNet()
    for step in range(60):
        average(mean, net, step)
    apart = max(float((a - b).detach().abs().max()) for a, b in zip(mean.parameters(), net.parameters(), strict=True))
    assert apart < 1e-3


def test_the_rate_rises_and_then_falls_to_nothing() -> None:
    rates = [rate(step, 100, 10) for step in range(101)]
    assert rates.index(max(rates)) in range(8, 12)
    assert rates[-1] == pytest.approx(0)
