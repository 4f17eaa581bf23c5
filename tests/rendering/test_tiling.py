"""Tiles: that they cover, agree with the whole, and leave no seam."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from itertools import pairwise

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as some
from torch import Tensor

import phosphene as ph
from phosphene.rendering.dreamer import _climb, _tilings
from phosphene.rendering.octaves import resized
from phosphene.rendering.tiling import Ruler, Tiling
from tests import nets


def drawing(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def photo(height: int, width: int, channels: int = 3) -> Tensor:
    return resized(torch.rand((1, channels, height // 4, width // 4), generator=drawing()), (height, width))


def gradient(net: ph.Network, picture: Tensor, objective: str, tiling: Tiling) -> Tensor:
    with torch.no_grad(), net.reading() as read:
        return tiling.gradient(picture, partial(_climb, read, ph.parse(objective)), drawing(1))[1]


def tiled(net: ph.Network, picture: Tensor, objective: str, tile: int) -> Tiling:
    size = (picture.shape[2], picture.shape[3])
    return _tilings(net, ph.parse(objective), [size], tile)[size]


def jumps(seen: Tensor, cuts: list[int]) -> float:
    """How much larger differences between neighbouring columns are across the cuts than elsewhere."""
    each = (seen[..., 1:] - seen[..., :-1]).abs().mean((0, 1, 2))
    across = torch.zeros(len(each), dtype=torch.bool)
    across[[cut - 1 for cut in cuts]] = True
    return float(each[across].mean() / each[~across].mean())


@given(some.integers(1, 3000), some.integers(8, 700), some.integers(1, 600), some.integers(0, 40), some.integers(0, 99))
def test_cores_cover_an_axis_once_and_stand_in_their_windows(
    length: int, tile: int, field: int, stride: int, seed: int
) -> None:
    ruler = Ruler.of(length, tile, field, stride)
    cuts = ruler.cuts(drawing(seed))
    assert (cuts[0].start, cuts[-1].stop) == (0, length)
    assert all(a.stop == b.start for a, b in pairwise(cuts))
    for cut in cuts:
        end = cut.first + ruler.window
        assert 0 <= cut.first <= cut.start < cut.stop <= end <= length
        assert cut.first % ruler.stride == 0
        assert cut.first == 0 or cut.start - cut.first >= ruler.margin
        assert end == length or end - cut.stop >= ruler.margin


@given(some.integers(1, 3000), some.integers(8, 700), some.integers(0, 40))
def test_a_window_is_hardly_larger_than_the_tile(length: int, tile: int, stride: int) -> None:
    assert Ruler.of(length, tile, 9, stride).window < tile + max(stride, 1)


@given(some.integers(64, 3000), some.integers(0, 40))
def test_cuts_wander_over_half_of_what_lies_between_them(length: int, stride: int) -> None:
    ruler = Ruler.of(length, 64, 9, stride)
    assert ruler.count == 1 or ruler.high - ruler.low >= ruler.pitch // 2


def test_cuts_are_drawn_anew_each_time() -> None:
    ruler, draw = Ruler.of(1000, 128, 9, 4), drawing()
    assert len({ruler.cuts(draw)[1].start for _ in range(20)}) > 5


@pytest.mark.parametrize(("layer", "tile"), [("0", 24), ("1", 31), ("3", 64), ("4", 70)])
def test_with_margins_as_wide_as_a_unit_sees_tiles_give_the_gradient_of_the_whole(layer: str, tile: int) -> None:
    net, picture = nets.network("plain"), photo(150, 133)
    objective = f"layer:{layer}:squares"
    whole = gradient(net, picture, objective, tiled(net, picture, objective, 9999))
    tiling = tiled(net, picture, objective, tile)
    assert tiling.x.count > 1 < tiling.y.count
    torch.testing.assert_close(gradient(net, picture, objective, tiling), whole)


def test_off_the_layer_s_grid_it_is_another_gradient() -> None:
    net, picture, objective = nets.network("plain"), photo(150, 133), "layer:3:squares"
    whole = gradient(net, picture, objective, tiled(net, picture, objective, 9999))
    off = Tiling.of((150, 133), 64, (9, 9), (1, 1))
    assert not torch.allclose(gradient(net, picture, objective, off), whole, rtol=0.1)


def test_no_seam_is_measured_where_tiles_meet(robust: ph.Network) -> None:
    picture, objective = photo(96, 320), "layer:stage3.0:squares"
    tiling = tiled(robust, picture, objective, 96)
    cuts = [cut.start for cut in tiling.x.cuts(drawing(1))[1:]]
    seen, whole = (gradient(robust, picture, objective, t) for t in (tiling, tiled(robust, picture, objective, 9999)))
    bare = replace(tiling, x=replace(tiling.x, margin=0))
    assert jumps(seen, cuts) < 1.1 * jumps(whole, cuts)
    assert jumps(gradient(robust, picture, objective, bare), cuts) > 1.1 * jumps(whole, cuts)  # it would be seen


def test_a_dream_in_tiles_has_no_column_that_stands_out(robust: ph.Network) -> None:
    picture = photo(48, 160)
    change = [
        ph.dream(robust, picture, "layer:stage3.0:squares", octaves=1, steps=8, jitter=4, tile=tile, precision="full").picture
        - picture
        for tile in (40, 9999 // 2)
    ]
    steepest = [(c[..., 1:] - c[..., :-1]).abs().mean((0, 1, 2)) for c in change]
    tiles, whole = (each.max() / each.median() for each in steepest)
    assert tiles < 1.15 * whole


def test_a_layer_whose_field_is_not_known_is_cut_anywhere() -> None:
    net = nets.network("plain")
    tiling = tiled(net, photo(100, 100), "logit:0", 64)
    assert (tiling.x.stride, tiling.x.margin) == (1, 8)


def test_a_module_that_runs_twice_is_found_by_its_path() -> None:
    net = nets.network("functional")
    assert tiled(net, photo(100, 100), "layer:relu@0", 64).x.margin < 8
