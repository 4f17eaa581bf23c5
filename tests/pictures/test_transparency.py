from __future__ import annotations

import pytest
import torch

import phosphene as ph
from phosphene.pictures.transparency import opacity
from tests.nets import network


def test_what_mattered_is_opaque_and_the_rest_clear() -> None:
    field = torch.zeros(40, 30)
    field[10:20, 5:15] = 1
    alpha = opacity(field)[0]
    assert (alpha[12:18, 7:13].min().item(), alpha[30:].max().item()) == (1, 0)


@pytest.mark.parametrize("side", [1, 2, 3, 7])
def test_even_attribution_is_opaque_everywhere(side: int) -> None:
    torch.testing.assert_close(opacity(torch.full((side, side + 1), 0.2)), torch.ones(1, side, side + 1))


def test_opacity_has_no_unit() -> None:
    field = torch.rand(16, 16)
    torch.testing.assert_close(opacity(field), opacity(1000 * field))


def test_a_rendering_tells_where_the_network_looked() -> None:
    net = network("plain")
    rendering = ph.render(net, ["logit:0", "logit:1"], recipe=ph.Recipe("few", lr=0.05, steps=4))
    assert rendering.attribution is not None
    torch.testing.assert_close(rendering.attribution.sum((1, 2)), torch.ones(2))
    assert rendering.transparent(1).mode == "RGBA"


def test_a_neurons_attribution_is_its_receptive_field() -> None:
    net = network("plain")
    one = ph.render(net, "neuron:0:2,8,8", recipe=ph.Recipe("few", lr=0.05, steps=2))
    assert one.attribution is not None
    seen = one.attribution[0].nonzero()
    assert (seen.min(0).values.tolist(), seen.max(0).values.tolist()) == ([7, 7], [9, 9])
