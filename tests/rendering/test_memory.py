"""Nothing of a call stays in memory after it."""

from __future__ import annotations

import gc
import os
from pathlib import Path

import pytest
import torch

import phosphene as ph
from phosphene.seeding import stream
from phosphene.training import Activations, Filters, Saliency

from .. import nets
from ..training import small


def resident() -> int:
    """Bytes of this process."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def nodes() -> int:
    """Of autograd graphs that are alive as far as Python sees."""
    return sum("Backward" in type(thing).__name__ for thing in gc.get_objects())


@pytest.fixture(scope="module")
def net() -> ph.Network:
    return ph.Network(nets.plain(), ph.Preprocess(size=12))


def test_300_renders_of_several_objectives_leave_nothing(net: ph.Network) -> None:
    def render() -> None:
        ph.render(net, ["logit:1", "logit:2"], recipe="pixels", steps=1)

    for _ in range(20):
        render()
    gc.collect()
    before, graphs = resident(), nodes()
    for _ in range(300):
        render()
    gc.collect()
    assert nodes() <= graphs
    assert resident() - before < 20 * 2**20


def test_counting_what_a_gradient_needs_leaves_no_graph(standard: ph.Network) -> None:
    standard.kept_bytes({""}, (32, 32))
    before = resident()
    for _ in range(20):
        standard.kept_bytes({""}, (32, 32))
    assert resident() - before < 10 * 2**20  # 3.5 MB each where saved outputs hold themselves


def test_500_explanations_leave_nothing(net: ph.Network) -> None:
    pictures = torch.rand(1, 3, 12, 12, generator=torch.Generator().manual_seed(0))
    for _ in range(20):
        ph.explain(net, pictures, "logit:1")
    before = resident()
    for _ in range(500):
        ph.explain(net, pictures, "logit:1")
    assert resident() - before < 20 * 2**20


def test_100_drawings_of_a_training_leave_nothing() -> None:
    module, net = small.network()
    optimiser = torch.optim.SGD(module.head.parameters(), lr=0.1)
    draws = stream(0, "training")
    drawn: list[int] = []
    photos = torch.rand(2, 3, small.SIZE, small.SIZE, generator=draws)
    callbacks = (small.watch(net), Filters(net, "stem"), Activations(net, photos[:1], "norm"), Saliency(net, photos))
    loops = [one.budget(None).on_val().with_handler(lambda shown: drawn.append(1)).for_loop() for one in callbacks]

    def epoch() -> None:
        pictures = torch.rand(6, 3, small.SIZE, small.SIZE, generator=draws)
        module(pictures).square().mean().backward()
        optimiser.step()
        optimiser.zero_grad()
        for loop in loops:
            loop.val()

    for _ in range(8):
        epoch()
    gc.collect()
    before, graphs, done = resident(), nodes(), sum(one.drawings for one in callbacks)
    for _ in range(25):
        epoch()
    gc.collect()
    assert sum(one.drawings for one in callbacks) - done == 100
    assert len(drawn) > 100
    assert nodes() <= graphs
    assert resident() - before < 20 * 2**20
