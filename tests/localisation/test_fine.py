"""Finer class activation maps: identities with Zhou's map, symmetry, and networks that run at one size alone."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

import phosphene as ph
from phosphene.errors import RequestError
from phosphene.localisation.fine import FineCam, distinct, enlarged
from phosphene.pictures import overlay
from phosphene.results.question import Question
from tests.cams.pooled import SIZE, close, net, pictures
from tests.nets import HABITS, network


def scaled(values: Tensor) -> Tensor:
    up = values.clamp(min=0)
    return up / up.amax((1, 2), keepdim=True).clamp(min=1e-30)


def test_one_view_is_zhous_map_over_its_maximum() -> None:
    of, shown = net(nn.ReLU()), pictures(3)
    fine = ph.explain(of, shown, "logit:b", method=FineCam(scales=(1.0,), mirrored=False))
    assert close(fine.values, scaled(ph.cam(of, shown, "logit:b").values))
    assert torch.allclose(fine.score, ph.cam(of, shown, "logit:b").score, atol=1e-5)


def test_the_views_are_averaged() -> None:
    of, shown = net(nn.ReLU()), pictures(2)
    larger = enlarged(shown, 2)
    assert tuple(larger.shape[2:]) == (16, 24)
    at_two = ph.Network(of.module, ph.Preprocess(size=(16, 24), mean=0.5, std=0.25))
    one = scaled(ph.cam(of, shown, "logit:0").values)
    two = scaled(overlay.resized(ph.cam(at_two, larger, "logit:0").values, SIZE))
    fine = ph.explain(of, shown, "logit:0", method=FineCam(scales=(1.0, 2.0), mirrored=False))
    assert close(fine.values, (one + two) / 2)


def test_a_mirrored_picture_has_the_mirrored_map() -> None:
    of, shown = net(nn.ReLU()), pictures(2)
    maps = [ph.explain(of, p, "logit:c", method="fine_cam").values for p in (shown, shown.flip(3))]
    assert close(maps[0], maps[1].flip(2), 1e-4)


@pytest.mark.parametrize("habit", HABITS)
def test_a_map_is_the_same_whatever_is_asked_beside_it(habit: str) -> None:
    of = network(habit)
    shown = pictures(2, (12, 12))
    asked = ["logit:0", "logit:4 - logit:2"]
    together = ph.explain(of, shown.repeat_interleave(2, 0), asked * 2, method="fine_cam")
    for i in range(4):
        alone = ph.explain(of, shown[i // 2][None], asked[i % 2], method="fine_cam")
        assert close(together.values[i][None], alone.values, 1e-4)
        assert together.items[i].score == pytest.approx(alone.items[0].score, rel=1e-4, abs=1e-5)


def test_pictures_that_stand_several_times_are_seen_once() -> None:
    shown = pictures(2)
    question = Question.of(net(nn.ReLU()), shown[[0, 0, 1, 1, 1, 0]], "logit:0")
    assert distinct(question) == ([0, 2, 5], [[0, 1], [2, 3, 4], [5]])


def test_a_network_of_one_size_says_so() -> None:
    of = network("inplace")  # a linear layer over all places
    h = ph.explain(of, pictures(1, (12, 12)), "logit:0", method="fine_cam")
    assert h.notes[-1].startswith("coarse: the network runs at its own size alone (")


def test_nothing_is_left_behind() -> None:
    of = net(nn.ReLU())
    state = torch.get_rng_state()
    with torch.no_grad():
        ph.explain(of, pictures(1), "logit:0", method="fine_cam")
    assert torch.equal(state, torch.get_rng_state())
    assert all(parameter.grad is None for parameter in of.module.parameters())
    assert not any(part._forward_hooks or part._backward_hooks for part in of.module.modules())


@pytest.mark.parametrize("scales", [(), (2.0,), (1.0, 9.0), (1.0, 0.1), 2.0])
def test_scales_out_of_range_are_refused(scales: object) -> None:
    with pytest.raises(RequestError, match=r"scales are .*; numbers from 0.25 to 8, 1 among them, are needed"):
        FineCam(scales=scales)  # type: ignore[arg-type]  # what is wrong


def test_a_unit_of_one_place_is_refused() -> None:
    with pytest.raises(RequestError, match=r"neuron:.*:2,3,4 is of one place or one size"):
        ph.explain(net(nn.ReLU()), pictures(1), "neuron:1:2,3,4", method="fine_cam")
