"""Nothing of a call stays in memory after it."""

from __future__ import annotations

import gc
import os
from pathlib import Path

import pytest
import torch

import phosphene as ph

from .. import nets


def resident() -> int:
    """Bytes of this process."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def nodes() -> int:
    """Of autograd graphs that are alive as far as Python sees."""
    return sum("Backward" in type(thing).__name__ for thing in gc.get_objects())


@pytest.fixture(scope="module")
def net() -> ph.Network:
    return ph.Network(nets.plain(), ph.Preprocess(size=12))


@pytest.mark.parametrize(("count", "bound"), [(60, 5), pytest.param(300, 20, marks=pytest.mark.slow)])
def test_many_renders_of_several_objectives_leave_nothing(net: ph.Network, count: int, bound: int) -> None:
    def render() -> None:
        ph.render(net, ["logit:1", "logit:2"], recipe="pixels", steps=1)

    for _ in range(20):
        render()
    gc.collect()
    before, graphs = resident(), nodes()
    for _ in range(count):
        render()
    gc.collect()
    assert nodes() <= graphs
    assert resident() - before < bound * 2**20


def test_counting_what_a_gradient_needs_leaves_no_graph(standard: ph.Network) -> None:
    standard.kept_bytes({""}, (32, 32))
    before = resident()
    for _ in range(20):
        standard.kept_bytes({""}, (32, 32))
    assert resident() - before < 10 * 2**20  # 3.5 MB each where saved outputs hold themselves


@pytest.mark.parametrize(("count", "bound"), [(100, 5), pytest.param(500, 20, marks=pytest.mark.slow)])
def test_many_explanations_leave_nothing(net: ph.Network, count: int, bound: int) -> None:
    pictures = torch.rand(1, 3, 12, 12, generator=torch.Generator().manual_seed(0))
    for _ in range(20):
        ph.explain(net, pictures, "logit:1")
    before = resident()
    for _ in range(count):
        ph.explain(net, pictures, "logit:1")
    assert resident() - before < bound * 2**20
