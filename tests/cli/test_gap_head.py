"""`phosphene gap-head`."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

import phosphene as ph
from phosphene.pictures.colour import image_of

from .conftest import Phosphene


@pytest.fixture
def photos(phosphene: Phosphene) -> Path:
    """Twelve pictures of each of two colours, in the folder that the command runs in."""
    for c, name in enumerate(("green", "red")):
        Path("photos", name).mkdir(parents=True)
        for i in range(12):
            picture = 0.5 * torch.rand(3, 32, 32, generator=torch.Generator().manual_seed(i))
            picture[1 - c] = 0.9
            image_of(picture).save(Path("photos", name, f"{i}.png"))
    return Path("photos")


def test_the_head_is_trained_saved_and_opened(phosphene: Phosphene, photos: Path) -> None:
    (photos / "red" / "notes.txt").write_text("no picture")
    ran = phosphene("gap-head", "photos", "-m", "demo:robust", "-o", "mine.safetensors")
    assert ran.status == 0
    assert "note: left out: " in ran.err
    assert ran.out.startswith("mine.safetensors: 2 classes on ")
    assert "right on 100% of 20 pictures it learned from, 100% of 4 that were kept apart; -m gap-head:mine.safe" in ran.out
    red = ph.read("photos/red/0.png")
    h = ph.cam(ph.load("gap-head:mine.safetensors"), red)
    assert (h.items[0].name, h.exact) == ("red", True)


def test_a_layer_and_a_penalty_can_be_given(phosphene: Phosphene, photos: Path) -> None:
    ran = phosphene("gap-head", "photos", "-m", "demo:robust", "--layer", "stage1.0", "--penalty", "0.1", "-o", "a.safetensors")
    assert (ran.status, "2 classes on stage1.0;" in ran.out) == (0, True)


@pytest.mark.parametrize(
    ("folder", "out", "words"),
    [
        ("nothing", "a.safetensors", "'nothing' is no folder; one with a folder of pictures per class is needed"),
        ("photos/red", "a.safetensors", "'photos/red' holds 0 folders; one per class, and two or more, are needed"),
        ("photos", "a.pt", "'a.pt': a file that ends in .safetensors is needed"),
    ],
)
def test_a_wrong_request_is_told_in_a_line(phosphene: Phosphene, photos: Path, folder: str, out: str, words: str) -> None:
    ran = phosphene("gap-head", folder, "-m", "demo:robust", "-o", out)
    assert (ran.status, ran.line) == (2, f"phosphene: {words}")
