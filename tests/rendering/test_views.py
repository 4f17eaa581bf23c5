from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

import phosphene as ph
from phosphene.rendering.views import Border, Move, View, Viewer, _places

PICTURE = torch.rand((1, 3, 8, 12), generator=torch.Generator().manual_seed(0))
MEAN = torch.full((1, 3, 8, 12), 0.25)


class Fixed(Viewer):
    """A Viewer whose random numbers are given: u in [−1, 1) for each draw."""

    def __init__(self, view: Move, u: list[float], border: Border = "black") -> None:
        super().__init__([view], ["a"], 0, 1, border)
        self._table = torch.tensor(u).view(1, 1, -1)


def test_jitter_shifts_by_whole_pixels() -> None:
    seen = Fixed(ph.jitter(0.25), [0.999, -1.0])(PICTURE, 0, MEAN)  # 3 to the right, 2 up in the picture's places
    expected = F.pad(PICTURE, (0, 3, 2, 0))[..., :8, 3:]
    torch.testing.assert_close(seen, expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize("u", [-1.0, -0.5, 0.0, 0.7, 0.9999])
def test_jitter_stays_within_its_fraction(u: float) -> None:
    shift = ph.jitter(0.25).matrix(torch.tensor([[u, u]]), (8, 12))[0, :2, 2]
    assert shift.abs().tolist() <= [3, 2]
    assert torch.equal(shift, shift.round())


def test_a_quarter_turn_of_a_square_is_rot90() -> None:
    square = PICTURE[..., :8]
    seen = Fixed(ph.rotate(90), [0.99999999])(square, 0, MEAN[..., :8])
    torch.testing.assert_close(seen, torch.rot90(square, 1, (2, 3)), atol=1e-4, rtol=0)


def test_a_small_turn_does_not_shear_a_picture_that_is_not_square() -> None:
    matrix = ph.rotate(30).matrix(torch.tensor([[0.5]]), (8, 12))[0]
    torch.testing.assert_close(matrix[:2, :2] @ matrix[:2, :2].T, torch.eye(2))
    assert math.degrees(math.acos(matrix[0, 0])) == pytest.approx(15, abs=1e-3)


def test_scale_2_shows_the_middle_half_larger() -> None:
    seen = Fixed(ph.scale(2, 2), [0.0])(PICTURE, 0, MEAN)
    expected = F.interpolate(PICTURE, scale_factor=2.0, mode="bilinear", align_corners=False)[..., 4:12, 6:18]
    torch.testing.assert_close(seen, expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize(("border", "value"), [("black", 0.0), ("mean", 0.25)])
def test_beyond_the_border_is_what_was_asked(border: Border, value: float) -> None:
    seen = Fixed(ph.scale(0.25, 0.25), [0.0], border)(PICTURE, 0, MEAN)
    torch.testing.assert_close(seen[..., 0, 0], torch.full((1, 3), value))


def test_reflection_of_a_flat_picture_is_flat() -> None:
    seen = Fixed(ph.scale(0.3, 0.3), [0.0], "reflect")(MEAN, 0, MEAN)
    torch.testing.assert_close(seen, MEAN)


def test_noise_has_its_standard_deviation() -> None:
    flat = torch.zeros(1, 3, 64, 64)
    seen = Viewer([ph.noise(0.3), ph.noise(0.4)], ["a"], 0, 1)(flat, 0, flat)
    assert seen.std().item() == pytest.approx(0.5, rel=0.02)  # independent: squares add up


def test_noise_is_of_every_place_and_step_its_own() -> None:
    """As far as a bank can give it: no field is another one, nor is a part of one a part of itself."""
    flat = torch.zeros(64, 1, 64, 64)
    viewer = Viewer([ph.noise(1.0)], [str(i) for i in range(64)], 0, 2)
    first, second = (viewer(flat, step, flat[:1]).flatten(1) for step in (0, 1))
    fields = torch.cat([first, second])
    like = torch.corrcoef(fields) - torch.eye(len(fields))
    assert like.abs().max() < 6 / 64  # six standard errors
    rolled = torch.stack([(fields * fields.roll(by, 1)).mean(1) for by in (1, 64, 65)])
    assert rolled.abs().max() < 6 / 64
    assert abs(float(fields.mean())) < 6 / math.sqrt(fields.numel())


def test_a_picture_larger_than_the_bank_gets_noise_too() -> None:
    flat = torch.zeros(1, 1, 2100, 2100)
    seen = Viewer([ph.noise(1.0)], ["a"], 0, 1)(flat, 0, flat)
    assert float(seen.std()) == pytest.approx(1, rel=0.01)


def test_no_views_show_the_picture_itself() -> None:
    assert torch.equal(Viewer([], ["a"], 0, 1)(PICTURE, 0, MEAN), PICTURE)


def _seen(names: list[str], seed: int = 0) -> Tensor:
    views = [ph.rotate(20), ph.scale(0.8, 1.2), ph.jitter(0.2), ph.noise(0.1)]
    viewer = Viewer(views, names, seed, 2)
    pictures = PICTURE.expand(len(names), -1, -1, -1)
    return torch.stack([viewer(pictures, step, MEAN) for step in range(2)])


def test_views_belong_to_items_and_not_to_places_in_a_batch() -> None:
    together, alone = _seen(["a", "b", "c"]), _seen(["b"])
    torch.testing.assert_close(together[:, 1:2], alone)


def test_views_differ_between_items_steps_and_seeds() -> None:
    seen = _seen(["a", "b"])
    assert not torch.allclose(seen[0, 0], seen[0, 1])
    assert not torch.allclose(seen[0, 0], seen[1, 0])
    assert not torch.allclose(seen, _seen(["a", "b"], seed=1))


def test_views_act_on_the_picture_in_their_order() -> None:
    square = F.pad(torch.rand(1, 3, 4, 4), (4, 4, 4, 4))  # margins, so that nothing leaves over the border
    ground = torch.zeros_like(square)
    both = Viewer([ph.jitter(0.25), ph.rotate(90)], ["a"], 0, 1, "black")
    both._table = torch.tensor([0.6, -0.3, 0.99999999]).view(1, 1, 3)
    shifted = Fixed(ph.jitter(0.25), [0.6, -0.3])(square, 0, ground)
    turned = Fixed(ph.rotate(90), [0.99999999])(shifted, 0, ground)
    torch.testing.assert_close(both(square, 0, ground), turned, atol=1e-4, rtol=0)


@pytest.mark.parametrize("view", [View(), object()])
def test_a_view_that_is_none_is_refused(view: object) -> None:
    with pytest.raises(ph.PhospheneError, match=r"ph\.rotate and their like"):
        Viewer([view], ["a"], 0, 1)  # type: ignore[list-item]  # what is tested


@pytest.mark.parametrize("wrong", [lambda: ph.jitter(2), lambda: ph.rotate(400), lambda: ph.scale(2, 1), lambda: ph.noise(-1)])
def test_settings_out_of_range_are_refused(wrong: object) -> None:
    assert callable(wrong)
    with pytest.raises(ph.PhospheneError, match="is needed"):
        wrong()


def test_a_shift_moves_by_parts_of_pixels() -> None:
    seen = Fixed(ph.shift(0.125), [0.5, 0.0])(PICTURE, 0, MEAN)  # 0.0625 of 12 pixels
    expected = 0.25 * PICTURE[..., :-1] + 0.75 * PICTURE[..., 1:]
    torch.testing.assert_close(seen[..., :-1], expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize("u", [[-1.0, -1.0, 1.0], [0.0, 0.9, -0.9], [0.99, 0.0, 0.5]])
def test_a_crop_stays_inside_the_picture(u: list[float]) -> None:
    matrix = ph.crop(0.2, 0.6, spread=0.5).matrix(torch.tensor([u]), (8, 12))[0]
    corners = matrix @ torch.tensor([[-6.0, 6.0], [-4.0, 4.0], [1.0, 1.0]])
    assert (corners[0].abs() <= 6.0001).all()
    assert (corners[1].abs() <= 4.0001).all()
    assert 0.2 <= matrix[0, 0] <= 0.6


def test_a_crop_of_the_whole_picture_is_the_picture() -> None:
    torch.testing.assert_close(Fixed(ph.crop(1, 1), [0.3, 0.5, -0.9])(PICTURE, 0, MEAN), PICTURE, atol=1e-5, rtol=0)


def test_the_centres_of_crops_are_normal() -> None:
    u = torch.rand((20_000, 3), generator=torch.Generator().manual_seed(0)) * 2 - 1
    centres = ph.crop(0.01, 0.01, spread=0.1).matrix(u, (10, 10))[:, :2, 2] / 10
    assert centres.std().item() == pytest.approx(0.1, rel=0.02)
    assert (centres.abs() < 0.1).float().mean().item() == pytest.approx(0.683, abs=0.01)


def test_colour_lifts_and_stretches_about_the_mean() -> None:
    changed = ph.colour(0.2, 0.5).changed(PICTURE, torch.tensor([[0.5, -1.0]]), MEAN)
    torch.testing.assert_close(changed, (PICTURE - 0.25) * math.exp(-0.5) + 0.35)


def test_places_are_those_of_affine_grid() -> None:
    theta = torch.randn((4, 2, 3), generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(_places(theta, 7, 12), F.affine_grid(theta, [4, 3, 7, 12], align_corners=False))


def test_a_cutout_is_the_mean_picture_inside_and_nothing_outside() -> None:
    changed = ph.cutout(0.5).changed(PICTURE, torch.tensor([[0.0, 0.0]]), MEAN)
    assert torch.equal(changed[..., 2:6, 3:9], MEAN[..., 2:6, 3:9])
    assert torch.equal(changed[..., :2, :], PICTURE[..., :2, :])


def test_samples_are_views_of_their_own_side_by_side() -> None:
    views = [ph.shift(0.2), ph.noise(0.1)]
    seen = Viewer(views, ["a", "b"], 0, 1, samples=3)(PICTURE.expand(2, -1, -1, -1), 0, MEAN)
    assert len(seen) == 6
    assert len({round(float(one.sum()), 3) for one in seen}) == 6
    alone = Viewer(views, ["b"], 0, 1, samples=3)(PICTURE, 0, MEAN)
    torch.testing.assert_close(seen[3:], alone)
