"""The example of the training page, on a few pictures."""

from __future__ import annotations

from pathlib import Path

import torch
from examples.training import CLASSES, pictures, train
from PIL import Image


def test_pictures_are_the_same_every_time_and_of_every_class() -> None:
    seen, meant = pictures(10, seed=1)
    again, _ = pictures(10, seed=1)
    assert torch.equal(seen, again)
    assert seen.shape == (10, 3, 32, 32)
    assert sorted(set(meant.tolist())) == list(range(len(CLASSES)))


def test_the_example_writes_an_animation_of_every_second_epoch(tmp_path: Path) -> None:
    net = train(str(tmp_path / "learning.gif"), epochs=4, count=64, steps=2)
    assert list(net.classes) == CLASSES
    with Image.open(tmp_path / "learning.gif") as film:
        assert film.n_frames == 2  # type: ignore[attr-defined]
        assert film.size[0] > 600
