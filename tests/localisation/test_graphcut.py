from __future__ import annotations

import pytest
import torch

from phosphene.localisation.graphcut import Seeds, _bytes


def test_no_place_that_is_not_above_the_ground_is_an_object_for_certain() -> None:
    assert Seeds(0.2, 0.5, 0.4).labels(torch.tensor([[0.1, 0.3, 0.5, 0.6]])).tolist() == [[0, 0, 0, 1]]
    assert Seeds(-1.0, -2.0, 0.4).labels(torch.tensor([[-3.0, -0.5, 0.0, 0.6]])).tolist() == [[0, 2, 2, 1]]


@pytest.mark.parametrize("channels", [1, 2, 3, 5])
def test_a_picture_that_has_no_colours_is_cut_as_the_mean_of_its_channels(channels: int) -> None:
    picture = torch.rand(channels, 4, 5, generator=torch.Generator().manual_seed(0))
    wanted = picture if channels == 3 else picture.mean(0, keepdim=True).expand(3, -1, -1)
    assert torch.equal(torch.from_numpy(_bytes(picture)), (wanted * 255).round().to(torch.uint8).permute(1, 2, 0))
