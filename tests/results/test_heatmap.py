"""Heatmap: raw values kept, shares that sum to 1, diagnoses, and pictures of it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

import phosphene as ph
from phosphene.errors import RequestError
from phosphene.results.heatmap import Heatmap, MapItem
from phosphene.results.record import Record

RECORD = Record(
    {"ref": "dir/net.py:make?size=8", "sha256": ""},
    ph.Preprocess(size=8).to_dict(),
    {"name": "mine"},
    (8, 8),
    0,
    ("logit:0",),
    0,
    {"device": "cpu"},
)
ITEM = MapItem("a/photo.jpg", "logit:0", "cat", 0, 2.5, 0.75, "mine")
RAMP = torch.linspace(-1, 2, 64).view(8, 8)


def heatmap(*maps: Tensor, sides: tuple[int, int] = (8, 8), **more: Any) -> Heatmap:
    shown = torch.rand(len(maps), 3, *sides, generator=torch.Generator().manual_seed(0))
    return Heatmap(torch.stack(maps), shown, (ITEM,) * len(maps), RECORD, **more)


def test_values_are_kept_raw_and_signed() -> None:
    assert torch.equal(heatmap(1e6 * RAMP).values[0], 1e6 * RAMP)


@pytest.mark.parametrize("scale", [1e-38, 1e-30, 1.0, 1e30, 3e37])
def test_shares_sum_to_one_at_any_scale(scale: float) -> None:
    h = heatmap(scale * RAMP, -scale * RAMP)
    torch.testing.assert_close(h.share().sum((1, 2)), torch.ones(2))
    torch.testing.assert_close(h.share("positive").sum((1, 2)), torch.ones(2))


def test_a_share_is_the_value_over_the_sum() -> None:
    h = heatmap(torch.tensor([[1.0, -3.0], [0.0, 4.0]]))
    torch.testing.assert_close(h.share()[0], torch.tensor([[0.125, 0.375], [0.0, 0.5]]))
    torch.testing.assert_close(h.share("positive")[0], torch.tensor([[0.2, 0.0], [0.0, 0.8]]))


def test_a_map_without_any_share_stays_zero() -> None:
    assert heatmap(torch.zeros(8, 8)).share().abs().sum() == 0
    assert heatmap(-torch.ones(8, 8)).share("positive").abs().sum() == 0


def test_another_share_is_refused() -> None:
    with pytest.raises(RequestError, match="share of 'all'; magnitude or positive is needed"):
        heatmap(RAMP).share("all")  # type: ignore[arg-type]  # the wrong word is the test


@pytest.mark.parametrize(
    ("values", "words"),
    [
        (torch.zeros(8, 8), ["empty: the map is zero everywhere"]),
        (torch.full((8, 8), 0.25), ["constant: the map is 0.25 everywhere"]),
        (-RAMP.abs() - 1, ["negative: no place raises the objective"]),
        ((RAMP > 0).float(), ["saturated: 67% of the map is at its largest size, 1"]),
        (
            -(RAMP > 0).float() - 1,
            ["saturated: 67% of the map is at its largest size, 2", "negative: no place raises the objective"],
        ),
        (RAMP, []),
        (torch.tensor([[0.0, 1.0], [1.0, 1.0]]), []),  # too few places for a plateau
    ],
)
def test_a_map_is_diagnosed_and_the_item_says_it(values: Tensor, words: list[str]) -> None:
    h = heatmap(values)
    assert list(h.diagnosis()) == words
    assert h.items[0].notes == tuple(words)
    assert heatmap(values, network_notes=("of the network",)).notes == ("of the network", *words)


def test_notes_of_several_maps_say_whose_they_are() -> None:
    assert heatmap(RAMP, torch.zeros(8, 8)).notes == ("a/photo.jpg, logit:0: empty: the map is zero everywhere",)


@pytest.mark.parametrize("bad", [torch.nan, torch.inf, -torch.inf])
def test_what_is_not_finite_is_refused(bad: float) -> None:
    with pytest.raises(RequestError, match="the maps hold NaN or infinite values"):
        heatmap(torch.full((8, 8), bad))


def test_maps_pictures_and_items_are_as_many() -> None:
    with pytest.raises(RequestError, match=r"maps \(1, 8, 8\), pictures \(2, 3, 8, 8\), 1 items"):
        Heatmap(RAMP[None], torch.rand(2, 3, 8, 8), (ITEM,), RECORD)


def test_a_map_can_be_had_in_another_size() -> None:
    h = heatmap(torch.tensor([[0.0, 1.0], [2.0, 3.0]]))
    assert h.upsampled().shape == (1, 8, 8)
    assert h.upsampled((3, 5)).shape == (1, 3, 5)
    assert float(h.upsampled(4).mean()) == pytest.approx(1.5)
    with pytest.raises(RequestError, match="size is 0"):
        h.upsampled(0)


def test_an_item_that_is_not_there_is_refused() -> None:
    with pytest.raises(RequestError, match="item is 2; 0 to 1 is needed"):
        heatmap(RAMP, RAMP).overlay(item=2)


def test_small_pictures_are_enlarged_and_large_ones_kept() -> None:
    assert heatmap(RAMP).overlay().size == (160, 160)
    assert heatmap(RAMP[:2, :2], sides=(8, 4)).contour().size == (160, 320)
    assert heatmap(RAMP, sides=(170, 300)).overlay().size == (300, 170)
    assert heatmap(RAMP).image().size == (8, 8)


def test_a_map_is_laid_over_another_picture_fitted_to_the_network() -> None:
    h = heatmap(RAMP, RAMP)
    other = torch.rand(1, 3, 20, 30)
    assert h.overlay(other, item=1).size == (160, 160)
    assert h.overlay(torch.zeros(1, 3, 8, 8)).tobytes() != h.overlay(torch.ones(1, 3, 8, 8)).tobytes()
    pair = torch.cat([torch.zeros(1, 3, 8, 8), torch.ones(1, 3, 8, 8)])
    assert h.overlay(pair, item=1).tobytes() == h.overlay(torch.ones(1, 3, 8, 8), item=1).tobytes()


@pytest.mark.parametrize("photo", [torch.rand(3, 3, 8, 8), torch.rand(3, 8, 8), "photo.jpg"])
def test_a_photo_of_another_shape_is_refused(photo: Any) -> None:
    with pytest.raises(RequestError, match=r"photo is .*; \(1, c, h, w\) or one per map, \(2, c, h, w\), is needed"):
        heatmap(RAMP, RAMP).overlay(photo)


def test_signs_that_alternate_are_laid_over_by_their_size() -> None:
    """Smoothed, a chequerboard of −1 and 1 would vanish."""
    board = (torch.arange(320).view(-1, 1) + torch.arange(320)) % 2 * 2.0 - 1
    board[:, 160:] *= 0.1
    by_sign, by_size, sizes = (
        heatmap(values, sides=(320, 320), by_size=by).overlay().tobytes()
        for values, by in ((board, False), (board, True), (board.abs(), False))
    )
    assert by_size == sizes
    assert by_size != by_sign


def test_colour_is_shown_about_grey_where_there_is_any() -> None:
    colour = torch.zeros(1, 3, 8, 8)
    colour[0, 0, 0, 0] = 1
    shown = heatmap(RAMP, colour=colour).colour_image()
    assert shown.getpixel((5, 5)) == (128, 128, 128)
    assert shown.getpixel((0, 0)) == (255, 128, 128)
    with pytest.raises(RequestError, match="mine has no numbers per channel"):
        heatmap(RAMP).colour_image()


def test_a_sheet_has_a_row_a_map_and_one_beside_the_other_a_column_a_method() -> None:
    h = heatmap(RAMP, RAMP.T)
    one, two = h.sheet().size, heatmap(RAMP).sheet().size
    assert one[0] == two[0]
    assert one[1] > two[1]
    assert h.beside(h, h).size[0] > h.beside().size[0]


def test_tiles_say_the_picture_the_question_the_answer_and_the_scale() -> None:
    h = heatmap(RAMP)
    assert h.picture_tile().lines == ("photo.jpg", "cat", "score 2.5, p 0.75")
    method, ends, *more = h.overlay_tile().lines
    assert (method, more) == ("mine", [])
    low, high = map(float, ends.split(" to "))
    assert -low == high > 1
    assert heatmap(torch.zeros(8, 8)).overlay_tile().lines == ("mine", "0 to 0", "empty")
    hidden = replace(ITEM, name=None, index=None, probability=None)
    assert hidden.label == ("logit:0", "value 2.5")


def test_an_item_as_a_dict_leaves_out_what_it_has_not() -> None:
    assert ITEM.to_dict() == {
        "image": "a/photo.jpg",
        "objective": "logit:0",
        "class": "cat",
        "index": 0,
        "score": 2.5,
        "probability": 0.75,
        "method": "mine",
    }
    more = replace(ITEM, layer="conv", numbers={"sum": 1.0}, notes=("a note",)).to_dict()
    assert (more["layer"], more["numbers"], more["notes"]) == ("conv", {"sum": 1.0}, ["a note"])


def test_it_tells_what_it_is() -> None:
    assert repr(heatmap(RAMP)) == "Heatmap(mine, 1 of 8×8: 'a/photo.jpg logit:0')"
    assert heatmap(RAMP).title == "net.py:make · mine"


def test_a_notebook_shows_the_sheet_and_the_notes() -> None:
    page = heatmap(torch.zeros(8, 8))._repr_html_()
    assert page.startswith('<figure><img alt="net.py:make · mine"')
    assert "<li>empty: the map is zero everywhere</li>" in page
    assert "<ul>" not in heatmap(RAMP)._repr_html_()


@pytest.mark.parametrize("channels", [1, 3, 4, 24])
def test_pictures_of_any_number_of_channels_are_shown(channels: int) -> None:
    h = Heatmap(RAMP[None], torch.rand(1, channels, 8, 8), (ITEM,), RECORD)
    assert h.overlay().mode == h.sheet().mode == "RGB"


def test_a_map_whose_largest_value_is_zero_is_negative() -> None:
    values = -torch.arange(64.0).view(8, 8)
    assert any(said.startswith("negative") for said in heatmap(values).diagnosis())


def test_a_plateau_with_rounding_is_saturated() -> None:
    values = torch.ones(8, 8) - 5e-7 * torch.arange(64.0).view(8, 8) / 64
    values[0] = 0
    assert any(said.startswith("saturated") for said in heatmap(values).diagnosis())


def test_a_map_is_shown_with_its_sign_but_for_who_wants_its_size() -> None:
    signed, sized = (heatmap(RAMP, by_size=by_size).overlay().tobytes() for by_size in (False, True))
    assert heatmap(RAMP).overlay().tobytes() == signed != sized


def test_a_map_by_itself_and_over_its_picture_have_one_range_unless_one_is_smoothed() -> None:
    coarse = heatmap(torch.arange(16.0).reshape(4, 4), sides=(64, 64))
    alone, over = coarse._map_tiles(None, 0)
    assert alone.lines[1] == over.lines[1] == "0 to 15"
    assert alone.image.size == over.image.size
    fine, smoothed = heatmap(torch.rand(64, 64), sides=(64, 64))._map_tiles(None, 0)
    assert fine.image.size == smoothed.image.size
    assert smoothed.lines[2] == "smoothed"
