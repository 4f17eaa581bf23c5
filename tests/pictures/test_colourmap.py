"""The colour maps: equal steps, lightness, colours that a screen shows."""

from __future__ import annotations

import pytest
import torch

from phosphene.pictures import colourmap


@pytest.mark.parametrize("table", [colourmap.sequential(), colourmap.diverging()])
def test_a_table_holds_colours_of_a_screen(table: torch.Tensor) -> None:
    assert table.shape == (256, 3)
    assert 0 <= table.min() <= table.max() <= 1


@pytest.mark.parametrize("table", [colourmap.sequential(), colourmap.diverging()[:128], colourmap.diverging()[128:]])
def test_equal_steps_look_equally_large(table: torch.Tensor) -> None:
    steps = colourmap.distances(table)
    assert float(steps.std() / steps.mean()) < 0.02


def test_the_sequential_map_becomes_lighter_all_the_way() -> None:
    light = colourmap.lightness(colourmap.sequential())
    assert (light.diff() > 0).all()
    assert float(light[0]) == pytest.approx(0.13, abs=0.01)
    assert float(light[-1]) == pytest.approx(0.97, abs=0.01)


def test_the_diverging_map_is_as_light_on_either_side_and_lightest_in_the_middle() -> None:
    light = colourmap.lightness(colourmap.diverging())
    torch.testing.assert_close(light, light.flip(0), atol=0.01, rtol=0)
    assert light.argmax() in (127, 128)


def test_below_zero_is_blue_and_above_it_red() -> None:
    low, high = colourmap.diverging()[0], colourmap.diverging()[-1]
    assert low[2] > low[0]
    assert high[0] > high[2]


def test_lightness_of_white_is_one_and_of_black_zero() -> None:
    light = colourmap.lightness(torch.tensor([[0.0, 0, 0], [1, 1, 1]]))
    assert light.tolist() == pytest.approx([0, 1], abs=1e-6)


def test_values_take_the_nearest_level_and_stay_inside() -> None:
    table = colourmap.sequential()
    shown = colourmap.applied(torch.tensor([[-1.0, 0.5, 2.0]]), table)
    assert torch.equal(shown[:, 0].T, table[[0, 128, 255]])
