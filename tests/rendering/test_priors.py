from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import phosphene as ph
from phosphene.rendering.priors import Prior

PICTURES = torch.rand((3, 2, 5, 7), generator=torch.Generator().manual_seed(0))


def test_l1_is_the_sum_of_distances_from_the_mean_picture() -> None:
    assert ph.l1()(torch.tensor([[[[0.25, 1.0]]]]), 0.5).item() == 0.75


def test_l2_is_the_squared_norm_about_the_mean_picture() -> None:
    assert ph.l2()(torch.tensor([[[[0.25, 1.0]]]]), 0.5).item() == 0.3125


def test_l2_gradient_is_twice_the_distance_from_the_mean() -> None:
    pictures = PICTURES.clone().requires_grad_(True)
    (gradient,) = torch.autograd.grad(ph.l2()(pictures, 0.4).sum(), pictures)
    torch.testing.assert_close(gradient, 2 * (PICTURES - 0.4))


@pytest.mark.parametrize(("beta", "expected"), [(1.0, 3.0), (2.0, 9.0), (3.0, 27.0), (4.0, 81.0)])
def test_total_variation_of_one_step_is_its_height_to_beta(beta: float, expected: float) -> None:
    step = torch.tensor([[[[0.0, 3.0], [0.0, 3.0]]]])
    assert ph.total_variation(beta)(step).item() == pytest.approx(2 * expected, rel=1e-4)


def test_total_variation_joins_both_directions_under_the_power() -> None:
    corner = torch.tensor([[[[0.0, 1.0], [1.0, 0.0]]]])  # (1² + 1²)^½ at the corner, 1 below and right of it
    assert ph.total_variation(1.0)(corner).item() == pytest.approx(math.sqrt(2) + 2, rel=1e-4)


def test_total_variation_of_a_flat_picture_has_a_finite_gradient() -> None:
    pictures = torch.full((1, 1, 4, 4), 0.5, requires_grad=True)
    (gradient,) = torch.autograd.grad(ph.total_variation(1.0)(pictures).sum(), pictures)
    assert gradient.abs().max().item() == 0


@given(st.floats(0, 100), st.sampled_from([ph.l1(), ph.l2(), ph.total_variation(1.5)]))
def test_a_factor_scales_a_prior(factor: float, prior: Prior) -> None:
    torch.testing.assert_close((factor * prior)(PICTURES), factor * prior(PICTURES))


@pytest.mark.parametrize("prior", [ph.l1(), ph.l2(), ph.total_variation()])
def test_a_prior_gives_one_number_per_picture(prior: Prior) -> None:
    alone = torch.cat([prior(one, 0.5) for one in PICTURES.split(1)])
    torch.testing.assert_close(prior(PICTURES, 0.5), alone)


def test_a_negative_weight_is_refused() -> None:
    with pytest.raises(ph.PhospheneError, match=r"weight of a prior is -1\.0; 0 or more is needed"):
        -1 * ph.l2()


def test_a_prior_is_not_multiplied_by_a_word() -> None:
    with pytest.raises(TypeError):
        ph.l2() * "2"  # type: ignore[operator]  # what is tested


def test_beta_out_of_range_is_refused() -> None:
    with pytest.raises(ValueError, match=r"beta is 0\.1"):
        ph.total_variation(0.1)


def test_total_variation_pairs_the_differences_to_the_right_and_down_of_one_pixel() -> None:
    picture = torch.tensor([[[[0.0, 0.3, 0.3], [0.4, 0.4, 0.9], [0.4, 0.1, 0.9]]]]).double()
    at = picture[0, 0]
    expected = sum(
        math.hypot(float(at[y, min(x + 1, 2)] - at[y, x]), float(at[min(y + 1, 2), x] - at[y, x]))
        for y in range(3)
        for x in range(3)
    )
    assert ph.total_variation(beta=1)(picture).item() == pytest.approx(expected, rel=1e-4)
