"""Where the places of a picture are, found from shapes."""

from __future__ import annotations

import pytest
import torch

from phosphene.network.grid import Grid, grid_of


@pytest.mark.parametrize(
    ("shape", "picture", "wanted"),
    [
        ((512, 7, 7), (224, 224), Grid("bkhw", (7, 7))),
        ((7, 7, 768), (224, 224), Grid("bhwk", (7, 7))),
        ((56, 56, 96), (224, 224), Grid("bhwk", (56, 56))),
        ((8, 10, 14), (12, 16), Grid("bkhw", (10, 14))),
        ((6, 1, 2), (32, 48), Grid("bkhw", (1, 2))),
        ((197, 768), (224, 224), Grid("bnk", (14, 14), 1)),
        ((196, 768), (224, 224), Grid("bnk", (14, 14))),
        ((201, 768), (224, 224), Grid("bnk", (14, 14), 5)),
        ((50, 768), (224, 224), Grid("bnk", (7, 7), 1)),
        ((193, 64), (192, 256), Grid("bnk", (12, 16), 1)),
        ((512, 1, 1), (224, 224), None),
        ((12, 197, 64), (224, 224), None),
        ((77, 512), (224, 300), None),
        ((1000,), (224, 224), None),
    ],
)
def test_places_have_the_aspect_of_the_picture(shape: tuple[int, ...], picture: tuple[int, int], wanted: Grid | None) -> None:
    assert grid_of(shape, picture) == wanted


def test_tokens_of_an_odd_aspect_are_known_from_the_map_they_were_made_of() -> None:
    assert grid_of((61, 8), (100, 160)) is None
    assert grid_of((61, 8), (100, 160), {(6, 10)}) == Grid("bnk", (6, 10), 1)
    assert grid_of((15, 8), (100, 160), {(6, 10)}) == Grid("bnk", (3, 5))


def test_maps_are_a_view_of_what_was_given() -> None:
    tokens = torch.arange(14.0).view(1, 7, 2)
    grid = Grid("bnk", (2, 3), 1)
    assert torch.equal(grid.maps(tokens)[0, 1], tokens[0, 1:, 1].view(2, 3))
    assert torch.equal(grid.others(tokens), tokens[:, :1].mT)
    grid.maps(tokens)[:, 0] = 0
    assert tokens[0, :, 0].tolist() == [0, 0, 0, 0, 0, 0, 0]
    last = torch.rand(1, 2, 3, 4)
    assert torch.equal(Grid("bhwk", (2, 3)).maps(last)[0, 3], last[0, :, :, 3])
    assert Grid("bhwk", (2, 3)).others(last).shape == (1, 4, 0)
