"""Photographs of more bands than three, of 12 bits, and folders that hold other files too."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from .conftest import Phosphene

NET = """
import torch
from torch import nn
def make():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d({0}, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2))
"""


def test_a_network_of_six_bands_is_explained(phosphene: Phosphene) -> None:
    Path("nets.py").write_text(NET.format(6))
    np.save("a.npy", np.random.default_rng(0).random((6, 16, 16), dtype=np.float32))
    ran = phosphene("explain", "-m", "nets.py:make?size=16&channels=6", "a.npy", "-o", "out")
    assert ran.status == 0, ran.err
    assert Path("out/run.json").exists()


def test_a_dark_picture_is_told_and_scaled(phosphene: Phosphene) -> None:
    Path("nets.py").write_text(NET.format(1))
    Image.fromarray(np.linspace(0, 4095, 256).reshape(16, 16).astype("uint16")).save("a.png")
    asked = ("explain", "-m", "nets.py:make?size=16&channels=1", "a.png")
    assert "note: picture 'a.png' uses less than a tenth of its range" in phosphene(*asked).err
    assert "--range 0,4095" in phosphene(*asked).err
    assert "tenth" not in phosphene(*asked, "--range", "0,4095").err


def test_files_of_a_folder_that_are_no_pictures_are_passed_over(phosphene: Phosphene) -> None:
    Path("photos").mkdir()
    Image.new("RGB", (32, 32), "red").save("photos/a.png")
    Path("photos/labels.csv").write_text("a,b")
    Path("photos/Thumbs.db").write_bytes(b"\xd0\xcf\x11\xe0")
    ran = phosphene("explain", "-m", "demo:standard", "photos")
    assert ran.status == 0
    assert "note: photos/labels.csv is no picture and was passed over" in ran.err


def test_six_bands_are_dreamt_on_and_compared(phosphene: Phosphene) -> None:
    Path("nets.py").write_text(NET.format(6))
    Path("photos").mkdir()
    for name in "ab":
        np.save(f"photos/{name}.npy", np.random.default_rng(ord(name)).random((6, 16, 16), dtype=np.float32))
    model = ("-m", "nets.py:make?size=16&channels=6")
    dreamt = phosphene("dream", *model, "photos/a.npy", "--layer", "1", "--octaves", "1", "--steps", "1", "-o", "dreams")
    assert dreamt.status == 0, dreamt.err
    found = phosphene("neighbours", *model, "photos", "--query", "photos/a.npy", "-k", "1", "-o", "near")
    assert found.status == 0, found.err


def test_a_range_reaches_data_sets_dreams_and_neighbours(phosphene: Phosphene) -> None:
    Path("nets.py").write_text(NET.format(1))
    Path("photos").mkdir()
    for name in "ab":
        Image.fromarray(np.linspace(0, 4095, 256).reshape(16, 16).astype("uint16")).save(f"photos/{name}.png")
    model = ("-m", "nets.py:make?size=16&channels=1")
    dream = ("dream", *model, "photos/a.png", "--layer", "1", "--octaves", "1", "--steps", "0", "-o", "dreams")
    near = ("neighbours", *model, "photos", "--query", "photos/a.png", "-k", "1", "--rebuild", "-o", "near")
    for asked in (dream, near, ("examples", *model, "photos", "--layer", "1", "--channel", "0", "-o", "seen")):
        dark = phosphene(*asked)
        assert "--range 0,4095" in dark.err
        if asked[0] == "examples":
            assert dark.err.count("tenth") == 1
            asked = (*asked[:-1], "bright")
        bright = phosphene(*asked, "--range", "0,4095")
        assert (bright.status, "tenth" in bright.err) == (0, False)
