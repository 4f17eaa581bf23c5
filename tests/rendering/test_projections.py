from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image, ImageFilter

import phosphene as ph
from phosphene.rendering.projections import gaussian

MEAN = torch.full((1, 1, 9, 9), 0.5)


def test_decay_draws_towards_the_mean_picture() -> None:
    decayed = ph.decay(0.1)(torch.ones(1, 1, 9, 9), MEAN)
    torch.testing.assert_close(decayed, torch.full((1, 1, 9, 9), 0.95))


def test_decay_of_the_mean_picture_is_itself() -> None:
    assert torch.equal(ph.decay(0.3)(MEAN, MEAN), MEAN)


def test_the_window_is_a_normalised_gaussian() -> None:
    window = gaussian(2.0)
    assert len(window) == 13
    assert window.sum().item() == pytest.approx(1)
    assert (window[6] / window[8]).item() == pytest.approx(np.exp(0.5), rel=1e-5)


def test_blur_of_a_point_is_the_window_crossed_with_itself() -> None:
    point = torch.zeros(1, 2, 15, 15)
    point[..., 7, 7] = 1
    blurred = ph.blur(1.0)(point, MEAN)
    torch.testing.assert_close(blurred[0, 1, 4:11, 4:11], torch.outer(gaussian(1.0), gaussian(1.0)))


def test_blur_keeps_a_flat_picture_up_to_its_border() -> None:
    torch.testing.assert_close(ph.blur(3.0)(MEAN, MEAN), MEAN)


def test_blur_agrees_with_pillows_inside() -> None:
    field = torch.rand((1, 1, 64, 64), generator=torch.Generator().manual_seed(1))
    field = ph.blur(2.0)(field, MEAN)  # smooth, so that 8 bits and Pillow's box passes matter little
    theirs = Image.fromarray((field[0, 0] * 255).round().byte().numpy()).filter(ImageFilter.GaussianBlur(2))
    ours = ph.blur(2.0)(field, MEAN)[0, 0] * 255
    apart = np.abs(np.asarray(theirs, dtype=np.float32) - ours.numpy())[8:-8, 8:-8]
    assert apart.max() < 3


def test_blur_of_no_width_changes_nothing() -> None:
    picture = torch.rand(1, 3, 4, 4)
    assert torch.equal(ph.blur(0)(picture, MEAN), picture)


def test_projections_leave_what_they_are_given() -> None:
    picture = torch.rand(1, 1, 9, 9)
    kept = picture.clone()
    for projection in (ph.decay(0.5), ph.blur(1.0)):
        projection(picture, MEAN)
    assert torch.equal(picture, kept)


@pytest.mark.parametrize("rate", [-0.1, 1.1, float("nan")])
def test_a_rate_outside_0_to_1_is_refused(rate: float) -> None:
    with pytest.raises(ph.PhospheneError, match="rate of decay"):
        ph.decay(rate)


def test_every_0_steps_is_refused() -> None:
    with pytest.raises(ph.PhospheneError, match="every is 0; 1 or more is needed"):
        ph.blur(1.0, every=0)


RAMP = torch.arange(8.0).view(1, 1, 2, 4) / 10 + 0.5  # 0.5, 0.6, … 1.2
HALF = torch.full((1, 1, 2, 4), 0.5)


def test_small_values_become_the_mean_picture() -> None:
    clipped = ph.clip_value(50)(RAMP, HALF)
    assert torch.equal(clipped.flatten()[:4], HALF.flatten()[:4])
    assert torch.equal(clipped.flatten()[4:], RAMP.flatten()[4:])


def test_small_norms_are_of_pixels_and_not_of_channels() -> None:
    picture = torch.tensor([[[[0.9, 0.1]], [[0.0, 0.3]]]])  # norms 0.9 and 0.316
    clipped = ph.clip_norm(50)(picture, torch.zeros(1, 2, 1, 2))
    assert torch.equal(clipped, torch.tensor([[[[0.9, 0.0]], [[0.0, 0.0]]]]))


def test_pixels_that_matter_least_go() -> None:
    picture = torch.tensor([[[[0.5, 0.5, 0.5, 0.5]]]])
    gradient = torch.tensor([[[[-3.0, 0.1, 2.0, 1.0]]]])
    zero = torch.zeros(1, 1, 1, 4)
    by_size = ph.clip_contribution(50)(picture, zero, gradient)
    assert by_size.flatten().tolist() == [0.5, 0, 0.5, 0]
    signed = ph.clip_contribution(50, absolute=False)(picture, zero, gradient)
    assert signed.flatten().tolist() == [0, 0, 0.5, 0.5]


def test_contribution_is_what_the_objective_loses_to_first_order() -> None:
    weight = torch.randn((1, 3, 4, 4), generator=torch.Generator().manual_seed(0))
    picture = torch.rand((1, 3, 4, 4), generator=torch.Generator().manual_seed(1))
    clipped = ph.clip_contribution(25, absolute=False)(picture, torch.zeros_like(picture), weight)
    gone = (picture * weight).sum(1).flatten().sort().values[:4].sum()
    torch.testing.assert_close((picture * weight).sum() - (clipped * weight).sum(), gone)


@pytest.mark.parametrize("percentile", [0, 30, 100])
def test_each_picture_of_a_batch_has_its_own_percentile(percentile: float) -> None:
    pictures = torch.rand((3, 2, 5, 5), generator=torch.Generator().manual_seed(0)) * torch.tensor([1.0, 0.1, 0.01]).view(
        3, 1, 1, 1
    )
    mean = torch.zeros(1, 2, 5, 5)
    for clip in (ph.clip_value(percentile), ph.clip_norm(percentile)):
        alone = torch.cat([clip(one, mean) for one in pictures.split(1)])
        assert torch.equal(clip(pictures, mean), alone)


def test_nothing_is_under_the_lowest_percentile() -> None:
    assert torch.equal(ph.clip_value(0)(RAMP, HALF), RAMP)


def test_a_percentile_over_100_is_refused() -> None:
    with pytest.raises(ph.PhospheneError, match="percentile is 101; 0 to 100 is needed"):
        ph.clip_norm(101)
