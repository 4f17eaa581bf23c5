from __future__ import annotations

import torch

from phosphene.localisation.graphcut import Seeds


def test_no_place_that_is_not_above_the_ground_is_an_object_for_certain() -> None:
    assert Seeds(0.2, 0.5, 0.4).labels(torch.tensor([[0.1, 0.3, 0.5, 0.6]])).tolist() == [[0, 0, 0, 1]]
    assert Seeds(-1.0, -2.0, 0.4).labels(torch.tensor([[-3.0, -0.5, 0.0, 0.6]])).tolist() == [[0, 2, 2, 1]]
