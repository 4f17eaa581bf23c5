"""Grids and contact sheets."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as some
from PIL import Image, ImageChops

from phosphene.errors import RequestError
from phosphene.pictures import contact_sheet as sheets
from phosphene.pictures.contact_sheet import GAP, LINE, MARGIN, TILE, Tile, contact_sheet
from phosphene.pictures.tiles import columns_for, grid

GREY = Image.new("L", (32, 32), 128)


@given(some.integers(1, 400), some.integers(1, 300), some.integers(1, 300))
def test_every_tile_has_a_place_and_no_row_is_empty(count: int, height: int, width: int) -> None:
    columns = columns_for(count, height, width)
    rows = -(-count // columns)
    assert 1 <= columns <= count
    assert (rows - 1) * columns < count <= rows * columns


def test_many_squares_are_laid_out_about_three_to_two() -> None:
    assert [columns_for(n) for n in (1, 2, 6, 24, 54)] == [1, 2, 3, 6, 9]


def test_three_pictures_are_one_row() -> None:
    assert columns_for(3) == columns_for(3, height=5, width=4) == 3
    assert columns_for(3, width=9) == 1


def test_lower_pictures_stand_on_their_lines() -> None:
    tiles = [Tile(Image.new("RGB", (20, height), "black"), ("name",)) for height in (40, 10)]
    hanging, standing = (np.asarray(contact_sheet(tiles, tile=1, columns=2, standing=one)) for one in (False, True))
    right = 16 + 20 + 14
    assert hanging[16 : 16 + 10, right : right + 20].max() == standing[16 + 30 : 16 + 40, right : right + 20].max() == 0


def test_tall_tiles_stand_in_more_columns() -> None:
    assert columns_for(12, height=4) > columns_for(12) > columns_for(12, width=4)


def test_a_grid_lays_pictures_row_by_row_on_its_background() -> None:
    pictures = torch.arange(1, 4.0).view(3, 1, 1, 1).expand(3, 1, 2, 2)
    sheet = grid(pictures, columns=2, gap=1, background=9)
    assert sheet[0].tolist() == [[1, 1, 9, 2, 2], [1, 1, 9, 2, 2], [9] * 5, [3, 3, 9, 9, 9], [3, 3, 9, 9, 9]]


def test_a_grid_of_one_is_the_picture() -> None:
    picture = torch.rand(1, 3, 4, 5)
    assert torch.equal(grid(picture), picture[0])


@pytest.mark.parametrize(("count", "columns", "lines"), [(1, 1, 0), (4, 2, 1), (5, 3, 2)])
def test_a_sheet_has_the_size_of_its_tiles_gaps_lines_and_margins(count: int, columns: int, lines: int) -> None:
    tiles = [Tile(GREY, ("label",) * lines)] * count
    sheet = contact_sheet(tiles, columns=columns)
    rows = -(-count // columns)
    width = 2 * MARGIN + columns * TILE + (columns - 1) * GAP
    height = 2 * MARGIN + rows * (TILE + lines * LINE + 4) + (rows - 1) * GAP
    assert sheet.size == (width, height)


def test_a_title_takes_its_room_above() -> None:
    plain, titled = contact_sheet([Tile(GREY)]), contact_sheet([Tile(GREY)], title="a title")
    assert titled.size == (plain.width, plain.height + LINE + MARGIN)


def test_a_tile_stands_where_it_should_pixel_for_pixel() -> None:
    image = Image.fromarray(np.random.default_rng(0).integers(0, 255, (32, 32, 3), dtype=np.uint8))
    sheet = contact_sheet([Tile(GREY), Tile(image)], columns=2)
    left = MARGIN + TILE + GAP
    part = sheet.crop((left, MARGIN, left + TILE, MARGIN + TILE))
    assert ImageChops.difference(part, image.resize((TILE, TILE), Image.Resampling.NEAREST)).getbbox() is None


def test_a_long_label_is_cut_to_its_tile() -> None:
    sheet = contact_sheet([Tile(GREY, ("w" * 500,)), Tile(GREY, ("short",))], columns=2)
    between = sheet.crop((MARGIN + TILE, 0, MARGIN + TILE + GAP, sheet.height))
    assert between.getextrema() == ((255, 255),) * 3


def test_a_label_that_fits_is_not_cut() -> None:
    assert contact_sheet([Tile(GREY, ("cat",))]) != contact_sheet([Tile(GREY, ("ca…",))])


def test_a_long_title_is_cut_to_the_sheet() -> None:
    sheet = contact_sheet([Tile(GREY)], title="w" * 500)
    assert sheet.crop((sheet.width - MARGIN, 0, *sheet.size)).getextrema() == ((255, 255),) * 3


@pytest.mark.parametrize("text", ["two\nlines", "a\ttab", "", " ", "漢字 é 𝐀", "nul\0", "\ud800"])
def test_any_label_and_title_can_be_drawn(text: str) -> None:
    assert contact_sheet([Tile(GREY, (text,))], title=text).width == 2 * MARGIN + TILE


def test_too_long_a_sheet_is_made_of_smaller_tiles(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sheets, "LARGEST_SIDE", 900)
    sheet = contact_sheet([Tile(GREY, ("a",))] * 100)
    assert max(sheet.size) <= 900


def test_a_sheet_of_nothing_is_refused() -> None:
    with pytest.raises(RequestError, match="a contact sheet of no pictures; at least one"):
        contact_sheet([])
