"""Maps over pictures: scales, covers, contours, bars."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from phosphene.pictures import colourmap, overlay

GREY = torch.full((3, 40, 60), 0.5)


def spot(value: float = 1.0, size: tuple[int, int] = (40, 60)) -> Tensor:
    values = torch.zeros(size)
    values[10:20, 30:40] = value
    return values


@pytest.mark.parametrize("factor", [1e-40, 1e-20, 1.0, 1e30])
@pytest.mark.parametrize("shown", [overlay.coloured, lambda v: overlay.overlay(GREY, v), lambda v: overlay.contour(GREY, v)])
def test_pictures_of_a_map_do_not_depend_on_its_unit(shown: type[Tensor], factor: float) -> None:
    values = spot() + 0.3 * torch.rand(40, 60, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(shown(values * factor), shown(values), atol=0.02, rtol=0)


def test_a_few_extreme_pixels_do_not_darken_a_map_by_itself() -> None:
    values = torch.rand(100, 100, generator=torch.Generator().manual_seed(0))
    values[0, 0] = 1e6
    assert overlay.scale(values) == pytest.approx(0.99, abs=0.01)
    assert float(overlay.scaled(values).mean()) == pytest.approx(0.5, abs=0.02)


def test_a_map_that_is_zero_nearly_everywhere_is_scaled_by_its_largest() -> None:
    values = torch.zeros(100, 100)
    values[3, 4] = -2
    assert overlay.scale(values) == 2
    assert float(overlay.scaled(values)[3, 4]) == -1


def test_an_empty_map_shows_the_picture_in_grey() -> None:
    colours = torch.rand(3, 40, 60)
    shown = overlay.overlay(colours, torch.zeros(40, 60))
    luma = 0.299 * colours[0] + 0.587 * colours[1] + 0.114 * colours[2]
    torch.testing.assert_close(shown, luma.expand(3, -1, -1))
    assert torch.equal(overlay.contour(colours, torch.zeros(40, 60)), colours)
    assert overlay.overlay_scale(colours, torch.zeros(40, 60)) == 0


def test_nothing_leaves_what_a_screen_shows() -> None:
    values = torch.randn(40, 60, generator=torch.Generator().manual_seed(0))
    for picture in (torch.zeros(3, 40, 60), torch.ones(3, 40, 60), GREY):
        for shown in (
            overlay.overlay(picture, values),
            overlay.overlay(picture, values.abs()),
            overlay.contour(picture, values),
        ):
            assert 0 <= shown.min() <= shown.max() <= 1


def test_above_zero_is_red_and_below_it_blue_on_any_ground() -> None:
    for ground in (0.0, 0.5, 1.0):
        picture = torch.full((3, 40, 60), ground)
        shown = overlay.overlay(picture, spot(1.0) - spot(1.0).roll(20, 0))
        assert shown[0, 15, 35] > shown[2, 15, 35] + 0.2
        assert shown[2, 35, 35] > shown[0, 35, 35] + 0.2
        torch.testing.assert_close(shown[:, 5, 5], picture[:, 5, 5], atol=0.01, rtol=0)


def test_what_is_larger_covers_more() -> None:
    ramp = torch.linspace(0, 1, 60).expand(40, 60)
    shown = overlay.overlay(torch.zeros(3, 40, 60), ramp)
    assert (shown.sum(0)[20].diff() >= -1e-6).all()


@pytest.mark.parametrize("size", [(2, 3), (40, 60), (80, 120)])
def test_maps_of_any_size_lie_over_the_picture_in_its_size(size: tuple[int, int]) -> None:
    values = torch.rand(size)
    assert overlay.overlay(GREY, values).shape == overlay.contour(GREY, values).shape == (3, 40, 60)


def test_pixels_are_smoothed_and_coarse_maps_are_not_smoothed_again() -> None:
    pixel = torch.zeros(320, 320)
    pixel[160, 160] = 1
    picture = torch.zeros(3, 320, 320)
    assert overlay.overlay(picture, pixel)[:, 165, 160].sum() > 0.1
    assert overlay.overlay(picture, pixel, smoothing=0)[:, 165, 160].sum() == 0
    assert overlay.overlay_scale(picture, pixel) < 0.01
    assert overlay.overlay_scale(picture, pixel, smoothing=0) == 1


def test_smoothing_keeps_a_constant() -> None:
    assert overlay.overlay_scale(torch.zeros(3, 320, 320), torch.full((320, 320), 0.3)) == pytest.approx(0.3, rel=1e-4)


def test_contours_run_round_what_is_above_their_level() -> None:
    picture = torch.full((3, 40, 60), 0.2)
    shown = overlay.contour(picture, spot(), levels=[0.5])
    line = colourmap.sequential()[int(0.7 * 255)]
    assert torch.equal(shown[:, 10, 35], line)  # on the edge
    assert torch.equal(shown[:, 9, 35], torch.zeros(3))  # black outside it
    assert torch.equal(shown[:, 15, 35], picture[:, 0, 0])  # and the picture within
    assert torch.equal(shown[:, 30, 10], picture[:, 0, 0])


def test_a_contour_of_what_is_nowhere_positive_is_the_picture() -> None:
    assert torch.equal(overlay.contour(GREY, -torch.rand(40, 60)), GREY)


@pytest.mark.parametrize("signed", [False, True])
def test_a_bar_goes_through_all_colours_below_the_picture(signed: bool) -> None:
    shown = overlay.with_bar(GREY, signed)
    table = colourmap.diverging() if signed else colourmap.sequential()
    assert shown.shape == (3, 40 + 4 + overlay.BAR, 60)
    assert torch.equal(shown[:, -1, 0], table[0])
    assert torch.equal(shown[:, -1, -1], table[-1])
    assert torch.equal(shown[:, 40], torch.ones(3, 60))


@pytest.mark.parametrize("channels", [1, 2, 4, 24])
def test_pictures_of_any_number_of_channels_are_shown_in_grey(channels: int) -> None:
    picture = torch.rand(channels, 40, 60)
    shown = overlay.overlay(picture, torch.zeros(40, 60))
    torch.testing.assert_close(shown, picture.mean(0, keepdim=True).expand(3, -1, -1))


def test_values_become_smaller_by_their_mean_and_larger_between_their_centres() -> None:
    values = torch.arange(16.0).view(1, 4, 4)
    assert torch.equal(overlay.resized(values, (4, 4)), values)
    assert float(overlay.resized(values, (2, 2)).mean()) == pytest.approx(7.5)
    assert overlay.resized(values, (9, 5)).shape == (1, 9, 5)


def test_signed_numbers_are_shown_about_mid_grey() -> None:
    assert torch.equal(overlay.signed_colour(torch.zeros(3, 4, 4)), torch.full((3, 4, 4), 0.5))
    shown = overlay.signed_colour(torch.tensor([-2.0, 0, 1, 2]).view(1, 2, 2))
    assert shown.flatten().tolist() == pytest.approx([0, 0.5, 0.75, 1])


def test_what_has_a_sign_is_shown_so_also_where_it_does_not_differ() -> None:
    assert overlay.signed(spot()) is False
    assert overlay.signed(spot(), True) is True
    shown = overlay.overlay(torch.zeros(3, 40, 60), spot(), True)
    assert shown[0, 15, 35] > shown[1, 15, 35] + 0.2  # red, and not the yellow of the sequential map
    assert torch.equal(overlay.coloured(torch.zeros(4, 4), True)[:, 0, 0], colourmap.diverging()[128])


def test_faint_negative_values_are_shown_as_zero() -> None:
    """A class activation map is mostly a little below zero somewhere."""
    faint, plain, strong = (torch.tensor([[1.0, 0.5], [low, 0]]) for low in (-0.09, 0.0, -0.2))
    assert [overlay.signed(values) for values in (faint, plain, strong)] == [False, False, True]
    assert torch.equal(overlay.coloured(faint), overlay.coloured(plain))
    assert torch.equal(overlay.overlay(GREY, faint, smoothing=0)[:, -1, 0], overlay.overlay(GREY, plain, smoothing=0)[:, -1, 0])


def test_a_map_made_smaller_is_averaged() -> None:
    y, x = torch.meshgrid(torch.arange(64), torch.arange(64), indexing="ij")
    board = ((y + x) % 2).float()[None]
    small = overlay.resized(board, (9, 9))[0, 1:-1, 1:-1]
    torch.testing.assert_close(small, torch.full_like(small, 0.5), atol=0.02, rtol=0)
