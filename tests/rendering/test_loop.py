"""What projections are handed, and after which steps; the threads of a rerun."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

import phosphene as ph
from phosphene.rendering.projections import Decay


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> list[Tensor]:
    """The gradients that `decay` is handed."""
    gradients: list[Tensor] = []

    def watch(self: Decay, pictures: Tensor, mean: Tensor, gradient: Tensor) -> Tensor:
        gradients.append(gradient.clone())
        return pictures

    monkeypatch.setattr(Decay, "__call__", watch)
    return gradients


def linear() -> ph.Network:
    head = nn.Linear(4, 2)
    with torch.no_grad():
        head.weight.copy_(torch.tensor([[1.0, -2.0, 3.0, -4.0], [1.0, 1.0, 1.0, 1.0]]))
    return ph.Network(nn.Sequential(nn.Flatten(), head), ph.Preprocess(size=2, channels=1))


@pytest.mark.parametrize(("steps", "calls"), [(3, 0), (4, 1), (7, 1), (8, 2)])
def test_a_projection_of_every_fourth_step_comes_after_the_fourth(steps: int, calls: int, seen: list[Tensor]) -> None:
    ph.render(linear(), "logit:0", recipe=ph.Recipe("few", steps=steps, projections=(ph.decay(0.1, every=4),)))
    assert len(seen) == calls


def test_a_projection_is_handed_the_gradient_with_its_sign(seen: list[Tensor]) -> None:
    ph.render(linear(), "logit:0", recipe=ph.Recipe("few", steps=1, projections=(ph.decay(0.1),)))
    assert seen[0].flatten().sign().tolist() == [1, -1, 1, -1]


def test_a_rerun_takes_the_threads_of_the_record_and_gives_the_callers_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, standard: ph.Network
) -> None:
    monkeypatch.setattr("os.cpu_count", lambda: 8)
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        ph.render(standard, "logit:cat", steps=1).save(tmp_path)
        torch.set_num_threads(1)
        again = ph.rerun(tmp_path / "cat.png")
        assert again.identical
        assert again.rendering.record.environment["threads"] == 2
        assert again.changed == ()
        assert torch.get_num_threads() == 1
    finally:
        torch.set_num_threads(before)


class Topped(nn.Module):
    """The mean of a picture up to a height, from where on its gradient is zero."""

    def __init__(self, height: float) -> None:
        super().__init__()
        self.top = nn.Hardtanh(-1.0, height)
        self.head = nn.Parameter(torch.ones(1, 2))

    def forward(self, x: Tensor) -> Tensor:
        top: Tensor = self.top(x.mean((1, 2, 3)))[:, None]
        return top * self.head


@pytest.mark.parametrize(("steps", "still"), [(8, 5), (6, 0)])
def test_a_gradient_that_is_zero_in_more_than_half_of_the_steps_is_told(steps: int, still: int) -> None:
    """A flat picture rises by 0.1 a step; after three it stands over the height."""
    net = ph.Network(Topped(0.75), ph.Preprocess(size=4, channels=1))
    recipe = ph.Recipe("rise", steps=steps, lr=0.1)
    (item,) = ph.render(net, "logit:0", recipe=recipe).items
    assert item.notes == ((f"the gradient was zero in {still} of {steps} steps",) if still else ())
