"""Methods that change the picture: closed forms on linear networks, masks, and any network that runs."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

import phosphene as ph
from phosphene.attribution.perturbation import Occlusion, Rise
from phosphene.errors import RequestError
from tests.attribution.linear import linear, pictures
from tests.nets import network


def contributions(shown: Tensor, gradient: Tensor) -> Tensor:
    """What each pixel of a linear network adds to the score, beyond the mean colour: (b, h, w)."""
    return (gradient * (shown - 0.5)).sum(1)


def test_occlusion_of_single_pixels_of_a_linear_network_is_what_each_adds() -> None:
    net, gradient = linear()
    shown = pictures(2)
    h = ph.explain(net, shown, "logit:two", method=Occlusion(window=1))
    torch.testing.assert_close(h.values, contributions(shown, gradient[1:]), atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(h.values.sum((1, 2)), net.scores(shown)[:, 1] - 0.7, atol=1e-4, rtol=1e-4)


def test_occlusion_by_windows_side_by_side_sums_what_lies_under_each() -> None:
    net, gradient = linear((6, 9))
    shown = pictures(1)
    h = ph.explain(net, shown, "logit:one", method=Occlusion(window=3, stride=3))
    tiles = contributions(shown, gradient[:1]).unfold(1, 3, 3).unfold(2, 3, 3).sum((-2, -1))
    wanted = tiles.repeat_interleave(3, 1).repeat_interleave(3, 2)
    torch.testing.assert_close(h.values, wanted, atol=1e-5, rtol=1e-4)


def test_windows_that_overlap_are_averaged() -> None:
    net, gradient = linear((1, 4))
    shown = pictures(1, (1, 4))
    a, b, c, d = contributions(shown, gradient[:1])[0, 0].tolist()
    h = ph.explain(net, shown, "logit:one", method=Occlusion(window=1, stride=1))
    torch.testing.assert_close(h.values[0, 0], torch.tensor([a, b, c, d]), atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize(("window", "stride"), [(None, None), (5, 2), (4, 4), (6, 1), (2, 5)])
def test_every_pixel_that_is_covered_has_a_value_and_the_border_is_covered(window: int | None, stride: int | None) -> None:
    net, _ = linear((6, 11))
    values = ph.explain(net, pictures(1, (6, 11)), "logit:one", method=Occlusion(window=window, stride=stride)).values
    assert torch.isfinite(values).all()
    assert values[0, 0, 0] != 0
    assert values[0, -1, -1] != 0


def test_a_window_larger_than_the_picture_is_refused() -> None:
    net, _ = linear()
    with pytest.raises(RequestError, match="window is 7; up to 6, the side of the picture, is needed"):
        ph.explain(net, pictures(1), "logit:one", method=Occlusion(window=7))


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: Occlusion(window=0), "window is 0"),
        (lambda: Occlusion(stride=-1), "stride is -1"),
        (lambda: Rise(cells=1), "cells is 1"),
        (lambda: Rise(seen=0), "seen is 0"),
        (lambda: Rise(samples=0), "samples is 0"),
    ],
)
def test_settings_out_of_range_are_refused(make: type[Rise], words: str) -> None:
    with pytest.raises(RequestError, match=words):
        make()


def test_rise_of_a_linear_network_is_the_mean_over_masks_of_what_they_let_through() -> None:
    net, gradient = linear((6, 9))
    shown, rise = pictures(1), Rise(samples=40, cells=3)
    masks = torch.stack([rise.mask(5, k, 6, 9) for k in range(40)])
    worth = (contributions(shown, gradient[:1]) * masks).sum((1, 2)) + 0.7
    wanted = (worth.view(-1, 1, 1) * masks).sum(0) / masks.sum(0) - worth.mean()
    found = ph.explain(net, shown, "logit:one", method=rise, seed=5).values[0]
    torch.testing.assert_close(found, wanted, atol=1e-4, rtol=1e-4)


def test_rise_of_what_answers_to_one_corner_is_largest_there() -> None:
    class Corner(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x[:, :, :8, :8].mean((1, 2, 3)).unsqueeze(1)

    net = ph.Network(Corner(), ph.Preprocess(size=(32, 40), mean=0.5, std=0.5))
    values = ph.explain(net, torch.ones(1, 3, 32, 40), "logit:0", method="rise", samples=400).values[0]
    assert values[:8, :8].mean() > 0.05
    assert abs(float(values[16:, 16:].mean())) < 0.02
    assert values.argmax() % 40 < 10


def test_a_picture_of_the_mean_colour_has_an_empty_map() -> None:
    net, _ = linear()
    for method in ("occlusion", "rise"):
        h = ph.explain(net, net.preprocess.mean_picture(), "logit:one", method=method)
        assert h.notes[0].startswith("empty")


@pytest.mark.parametrize(("h", "w"), [(32, 40), (5, 3), (7, 7), (2, 50)])
def test_masks_are_soft_and_let_through_half(h: int, w: int) -> None:
    masks = torch.stack([Rise().mask(0, k, h, w) for k in range(200)])
    assert masks.shape == (200, h, w)
    assert 0 <= masks.min() < masks.max() <= 1
    assert float(masks.mean()) == pytest.approx(0.5, abs=0.05)


def test_masks_are_moved_about_so_that_no_grid_shows() -> None:
    """At the mean over many masks no place is let through more than another."""
    mean = torch.stack([Rise().mask(0, k, 28, 28) for k in range(3000)]).mean(0)
    assert float(mean.std()) < 0.02


def test_masks_belong_to_the_seed_and_the_number() -> None:
    assert torch.equal(Rise().mask(1, 5, 9, 9), Rise().mask(1, 5, 9, 9))
    assert not torch.equal(Rise().mask(1, 5, 9, 9), Rise().mask(2, 5, 9, 9))
    assert not torch.equal(Rise().mask(1, 5, 9, 9), Rise().mask(1, 6, 9, 9))


@pytest.mark.parametrize("chunk", [1, 3, 64])
def test_chunks_change_nothing(chunk: int) -> None:
    net, shown = network("functional"), pictures(2, (12, 12))
    for method in (Occlusion(), Rise(samples=20)):
        whole = ph.explain(net, shown, "logit:1", method=method).values
        torch.testing.assert_close(ph.explain(net, shown, "logit:1", method=method, chunk=chunk).values, whole)


class Rounds(nn.Module):
    """Has no gradient at all, and what torch cannot differentiate."""

    def __init__(self, way: str) -> None:
        super().__init__()
        self.way = way

    def forward(self, x: Tensor) -> Tensor:
        if self.way == "round":
            return x.mean((2, 3)).mul(20).round()
        return torch.heaviside(x, x).mean((2, 3))


def test_a_network_without_gradients_is_explained_by_perturbation() -> None:
    net = ph.Network(Rounds("round"), ph.Preprocess(size=8, mean=0.5, std=0.5))
    white = torch.ones(1, 3, 8, 8)
    assert ph.explain(net, white, "logit:0").notes[0].startswith("empty")
    assert ph.explain(net, white, "logit:0", method=Occlusion(window=4)).values.max() > 0


def test_a_network_that_torch_cannot_differentiate_is_told_so() -> None:
    net = ph.Network(Rounds("step"), ph.Preprocess(size=8))
    with pytest.raises(RequestError, match="saliency needs a gradient, but "):
        ph.explain(net, torch.rand(1, 3, 8, 8), "logit:0")
    assert ph.explain(net, torch.rand(1, 3, 8, 8), "logit:0", method=Occlusion(window=4)).values.shape == (1, 8, 8)


def test_masks_of_rise_are_shifted() -> None:
    """The first row of unshifted masks is flat over half a cell, as linear enlargement repeats the border."""
    masks = torch.stack([Rise(cells=4, seen=0.5).mask(0, k, 32, 32) for k in range(24)])
    flat = (masks[:, :3, :] == masks[:, :1, :]).flatten(1).all(1)
    assert not flat.all()


def test_a_window_is_an_eighth_of_the_side_if_none_is_asked_for() -> None:
    (_, rows, columns), *_ = Occlusion()._boxes(32, 5)
    assert (rows, columns) == (slice(0, 4), slice(0, 1))
