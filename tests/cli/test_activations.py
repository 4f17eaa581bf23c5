"""`phosphene activations`: what is saved, and what is said."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import phosphene as ph

from .conftest import Phosphene
from .test_commands import example


@pytest.fixture(autouse=True)
def photo(tmp_path: Path) -> Path:
    Image.effect_noise((48, 40), 80).convert("RGB").save(tmp_path / "photo.jpg")
    return tmp_path / "photo.jpg"


def test_the_example_of_the_help_runs(phosphene: Phosphene, standard: ph.Network, photo: Path) -> None:
    ran = phosphene(*shlex.split(example("activations"))[1:])
    assert (ran.status, ran.out) == (0, "the channels of stage1.0, stage3.0, depth.png and run.json are in out\n")
    said = json.loads(Path("out/run.json").read_text("utf-8"))
    wanted = ph.activations(standard, ph.read(photo), ["stage1.0", "stage3.0"])
    for item, one in zip(said["items"], wanted.maps, strict=True):
        torch.testing.assert_close(torch.from_numpy(np.load(f"out/{item['array']}")), one.values, rtol=1e-4, atol=1e-4)
    assert said["chart"] == "depth.png"
    assert [one["layer"] for one in said["depth"]] == [one.layer for one in wanted.depth]


def test_without_a_layer_one_of_each_size_of_map_is_shown(phosphene: Phosphene) -> None:
    ran = phosphene("activations", "-m", "demo:standard", "photo.jpg", "--scale", "own", "--order", "index", "-o", "out")
    assert ran.out.startswith("the channels of stage1, stage2, stage4, depth.png")


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (("--scale", "each"), "--scale 'each'; shared or own is needed"),
        (("--order", "size"), "--order 'size'; activity or index is needed"),
        (("--layer", "stage9"), "no layer 'stage9'; nearest: stage"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(phosphene: Phosphene, more: tuple[str, ...], said: str) -> None:
    ran = phosphene("activations", "-m", "demo:standard", "photo.jpg", *more, "-o", "out")
    assert ran.status == 2
    assert said in ran.line
    assert not Path("out").exists()


def test_a_photograph_that_is_not_there_is_told_before_the_network_is_opened(phosphene: Phosphene) -> None:
    ran = phosphene("activations", "-m", "demo:none", "none.jpg")
    assert (ran.status, ran.line) == (2, "phosphene: picture 'none.jpg' is not there; a file is needed")
