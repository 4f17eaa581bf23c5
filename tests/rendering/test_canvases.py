from __future__ import annotations

import pytest
import torch

import phosphene as ph

MEAN = torch.full((1, 3, 4, 6), 0.3)


def test_pixels_begin_at_the_mean_picture() -> None:
    assert torch.equal(ph.pixels().start(["a", "b"], 0, MEAN, 0), MEAN.expand(2, -1, -1, -1))


def test_pixels_from_zeros_begin_black() -> None:
    assert not ph.pixels("zeros").start(["a"], 0, MEAN, 0).any()


def test_noise_is_about_the_mean_and_each_items_own() -> None:
    mean = torch.full((1, 3, 64, 64), 0.5)
    start = ph.pixels("noise", spread=0.1).start(["a", "b"], 0, mean, 0)
    assert start.mean().item() == pytest.approx(0.5, abs=0.005)
    assert start.std().item() == pytest.approx(0.1, rel=0.05)
    assert torch.equal(start[1:], ph.pixels("noise", spread=0.1).start(["b"], 0, mean, 0))
    assert not torch.equal(start[0], start[1])


def test_later_attempts_go_further_from_the_mean() -> None:
    spreads = [float((ph.pixels().start(["a"], 0, MEAN, k) - MEAN).std()) for k in range(4)]
    assert spreads == sorted(spreads)
    assert spreads[0] == 0


def test_numbers_of_pictures_keep_them_in_range() -> None:
    assert ph.pixels().numbers(torch.tensor([-1.0, 0.5, 2.0])).tolist() == [0, 0.5, 1]


def test_an_unknown_start_is_refused() -> None:
    with pytest.raises(ph.PhospheneError, match="start 'grey'; mean, zeros or noise is needed"):
        ph.pixels("grey")  # type: ignore[arg-type]  # what is tested
