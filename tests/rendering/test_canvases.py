from __future__ import annotations

import pytest
import torch

import phosphene as ph

MEAN = torch.full((1, 3, 4, 6), 0.3)


def test_pixels_begin_at_the_mean_picture() -> None:
    assert torch.equal(ph.pixels().surface(MEAN).start(["a", "b"], 0, 0), MEAN.expand(2, -1, -1, -1))


def test_pixels_from_zeros_begin_black() -> None:
    assert not ph.pixels("zeros").surface(MEAN).start(["a"], 0, 0).any()


def test_noise_is_about_the_mean_and_each_items_own() -> None:
    mean = torch.full((1, 3, 64, 64), 0.5)
    start = ph.pixels("noise", spread=0.1).surface(mean).start(["a", "b"], 0, 0)
    assert start.mean().item() == pytest.approx(0.5, abs=0.005)
    assert start.std().item() == pytest.approx(0.1, rel=0.05)
    assert torch.equal(start[1:], ph.pixels("noise", spread=0.1).surface(mean).start(["b"], 0, 0))
    assert not torch.equal(start[0], start[1])


def test_later_attempts_go_further_from_the_mean() -> None:
    spreads = [float((ph.pixels().surface(MEAN).start(["a"], 0, k) - MEAN).std()) for k in range(4)]
    assert spreads == sorted(spreads)
    assert spreads[0] == 0


def test_numbers_of_pictures_keep_them_in_range() -> None:
    assert ph.pixels().surface(MEAN).numbers(torch.tensor([-1.0, 0.5, 2.0])).tolist() == [0, 0.5, 1]


def test_an_unknown_start_is_refused() -> None:
    with pytest.raises(ph.PhospheneError, match=r"start .grey.; mean, zeros, noise or the path"):
        ph.pixels("grey")
