"""Where the places of a picture are, found from shapes."""

from __future__ import annotations

import pytest
import torch

from phosphene.network.grid import Grid, grid_among, map_of, tokens_of


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
    ],
)
def test_places_have_the_aspect_of_the_picture(shape: tuple[int, ...], picture: tuple[int, int], wanted: Grid | None) -> None:
    assert (map_of(shape, picture) if len(shape) == 3 else tokens_of(shape[0], picture)) == wanted


def test_tokens_of_an_odd_aspect_are_known_from_the_map_they_were_made_of() -> None:
    assert tokens_of(61, (100, 160)) is None
    assert tokens_of(61, (100, 160), {(6, 10)}) == Grid("bnk", (6, 10), 1)
    assert tokens_of(15, (100, 160), {(6, 10)}) == Grid("bnk", (3, 5))
    assert tokens_of(256, (224, 224), {(14, 14)}) == Grid("bnk", (16, 16))
    assert grid_among({(14, 14)}, 256) is None


def test_maps_are_a_view_of_what_was_given() -> None:
    tokens = torch.arange(14.0).view(1, 7, 2)
    grid = Grid("bnk", (2, 3), 1)
    assert torch.equal(grid.maps(tokens)[0, 1], tokens[0, 1:, 1].view(2, 3))
    assert torch.equal(grid.others(tokens), tokens[:, :1].mT)
    grid.maps(tokens)[:, 0] = 0
    assert tokens[0, :, 0].tolist() == [0, 0, 0, 0, 0, 0, 0]
    first = tokens.mT.contiguous()
    assert torch.equal(Grid("bkn", (2, 3), 1).maps(first), grid.maps(tokens))
    assert torch.equal(Grid("bkn", (2, 3), 1).others(first), grid.others(tokens))
    last = torch.rand(1, 2, 3, 4)
    assert torch.equal(Grid("bhwk", (2, 3)).maps(last)[0, 3], last[0, :, :, 3])
    assert Grid("bhwk", (2, 3)).others(last).shape == (1, 4, 0)


def test_a_position_and_how_a_neuron_names_it_lead_to_each_other() -> None:
    for grid in (Grid("bkhw", (2, 3)), Grid("bhwk", (2, 3)), Grid("bnk", (2, 3), 2), Grid("bkn", (1, 6))):
        rows, columns = grid.size
        for y in range(rows):
            for x in range(columns):
                assert grid.position(*grid.place(y, x)) == grid.position(grid.extra + y * columns + x) == (y, x)
    assert Grid("bnk", (2, 3), 2).position(1) is None
