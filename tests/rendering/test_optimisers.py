"""Optimisers: torch's own steps, and no import of its compiler."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch

from phosphene.rendering.optimisers import OPTIMISERS, NAdam, Steepest

RENDERS = """
import sys
import phosphene as ph
ph.render(ph.load("demo:robust"), "logit:cat", steps=1)
print("torch._dynamo" in sys.modules)
"""


def gradients(steps: int) -> torch.Tensor:
    return torch.randn((steps, 3, 2, 4, 4), generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize(("name", "theirs"), [("adam", torch.optim.Adam), ("nadam", torch.optim.NAdam)])
def test_the_steps_are_torch_s(name: str, theirs: type[torch.optim.Optimizer]) -> None:
    ours, numbers, leaf = OPTIMISERS[name](), torch.zeros(3, 2, 4, 4), torch.zeros(3, 2, 4, 4, requires_grad=True)
    optimiser = theirs([leaf], lr=0.3)  # type: ignore[call-arg]  # every optimiser has a rate, the base class does not say so
    for step, uphill in enumerate(gradients(20)):
        lr = 0.3 / (1 + step)
        ours.step(numbers, uphill, lr)
        leaf.grad, optimiser.param_groups[0]["lr"] = -uphill, lr
        optimiser.step()
        torch.testing.assert_close(numbers, leaf.detach(), rtol=1e-5, atol=1e-6)


def test_a_steepest_step_has_its_length() -> None:
    numbers, uphill = torch.zeros(3, 2, 4, 4), gradients(1)[0] * torch.tensor([1e-6, 1.0, 1e6]).view(3, 1, 1, 1)
    uphill[0, 0] = 0
    Steepest().step(numbers, uphill, 0.5)
    torch.testing.assert_close(numbers.flatten(1).square().mean(1).sqrt(), torch.full((3,), 0.5))
    Steepest().step(numbers, torch.zeros_like(numbers), 0.5)
    assert torch.isfinite(numbers).all()


@pytest.mark.parametrize("name", OPTIMISERS)
def test_pictures_that_go_on_alone_do_not_notice(name: str) -> None:
    many, few = OPTIMISERS[name](), OPTIMISERS[name]()
    all_numbers, some = torch.zeros(3, 2, 4, 4), torch.zeros(3, 2, 4, 4)
    rows = torch.tensor([2, 0])
    for step, uphill in enumerate(gradients(6)):
        many.step(all_numbers, uphill, 0.1)
        if step == 3:
            few.keep(rows)
            some = some[rows]
        few.step(some, uphill if step < 3 else uphill[rows], 0.1)
    torch.testing.assert_close(some, all_numbers[rows])
    assert isinstance(NAdam(), OPTIMISERS["adam"])


def test_a_picture_is_rendered_without_torch_s_compiler() -> None:
    done = subprocess.run([sys.executable, "-c", RENDERS], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
