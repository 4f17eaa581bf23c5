"""Reader: a network's copy as a plain module, that others may change."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import phosphene as ph
from phosphene.errors import ModelError
from phosphene.network.reader import Reader
from tests.nets import HABITS, network
from tests.network.test_probe import Uncopyable


@pytest.mark.parametrize("habit", HABITS)
def test_it_reads_what_the_network_gives(habit: str) -> None:
    net = network(habit)
    shown = torch.rand(2, 3, 12, 12)
    torch.testing.assert_close(Reader(net)(shown, {""})[""], net.scores(shown))


def test_what_is_done_to_it_does_not_reach_the_network() -> None:
    net = network("plain")
    shown = torch.rand(1, 3, 12, 12)
    before, reader = net.scores(shown), Reader(net)
    reader.module.register_forward_hook(lambda *_: torch.zeros(1, 5))
    for weight in reader.parameters():
        weight.data.zero_()
    assert reader(shown, {""})[""].abs().max() == 0
    assert torch.equal(net.scores(shown), before)


def test_it_is_in_eval_mode_and_frozen_whatever_the_module_is() -> None:
    net = network("random at training")
    assert net.module.training
    reader = Reader(net)
    assert not reader.module.training
    assert not any(weight.requires_grad for weight in reader.parameters())


def test_a_module_that_cannot_be_copied_is_refused() -> None:
    net = ph.Network(Uncopyable(nn.Sequential(nn.Flatten(), nn.Linear(12, 2))), ph.Preprocess(size=2))
    with pytest.raises(ModelError, match="Uncopyable cannot be copied, and others may not change it: cannot be copied"):
        Reader(net)
