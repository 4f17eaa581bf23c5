"""What is counted is what a convolution multiplies and adds; the rate of the machine is the best that was seen."""

from __future__ import annotations

import pytest
import torch
from bench.arithmetic import FULL, HALF, MatrixRate, laid_out, of_a_pass, of_a_step
from torch import nn

from phosphene.network.packing import packable

FORWARD = 2 * (8 * 8) * 16 * (3 * 3 * 4)  # 8×8 places, 16 channels, a window of 3×3×4


def test_a_convolution_is_counted_once_and_for_its_gradient_once_more() -> None:
    module, inputs = nn.Conv2d(4, 16, 3), torch.rand(1, 4, 10, 10)
    assert of_a_pass(module, inputs) == FORWARD
    assert of_a_step(module, inputs) == 2 * FORWARD


def test_counting_leaves_the_module_and_the_inputs_as_they_were() -> None:
    module, inputs = nn.Conv2d(4, 16, 3), torch.rand(1, 4, 10, 10)
    of_a_step(module, inputs)
    assert module.weight.requires_grad
    assert module.weight.grad is None
    assert not inputs.requires_grad


def test_the_rate_of_the_machine_only_rises() -> None:
    rates = MatrixRate(sides=(32,))
    rates.sample()
    first = dict(rates.best)
    now = rates.sample()
    assert all(0 < now[kind] <= rates.best[kind] for kind in (HALF, FULL))
    assert all(rates.limit(kind) >= rates.best[kind] >= first[kind] > 0 for kind in (HALF, FULL))


@pytest.mark.skipif(not packable(torch.device("cpu")), reason="this torch lays no weights out")
def test_the_laid_out_product_is_the_product() -> None:
    first, second = torch.rand(2, 16, 16)
    made = laid_out(first, second)()
    assert isinstance(made, torch.Tensor)
    torch.testing.assert_close(made[0].flatten(1).T, first @ second.T)
