"""`phosphene filters`: what is saved, and what is said."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

import numpy as np
import pytest

from phosphene.pictures import files

from .conftest import Phosphene
from .test_commands import example


def test_the_example_of_the_help_runs(phosphene: Phosphene) -> None:
    ran = phosphene(*shlex.split(example("filters"))[1:])
    assert (ran.status, ran.out) == (0, "the filters of stem.0, stage1.0.conv1 and run.json are in out\n")
    said = json.loads(Path("out/run.json").read_text("utf-8"))
    assert [(item["layer"], item["colour"], item["shape"]) for item in said["items"]] == [
        ("stem.0", True, [32, 3, 5, 5]),
        ("stage1.0.conv1", False, [32, 32, 3, 3]),
    ]
    for item in said["items"]:
        assert list(np.load(f"out/{item['array']}").shape) == item["shape"]
        assert json.loads(files.read_png(f"out/{item['file']}")[1])["verb"] == "filters"


def test_without_a_layer_the_first_convolution_is_shown_and_a_block_is_told(phosphene: Phosphene) -> None:
    assert phosphene("filters", "-m", "demo:standard", "-o", "out").out.startswith("the filters of stem.0 and")
    ran = phosphene("filters", "-m", "demo:standard", "--layer", "stage1.0", "--own-scale", "-o", "out")
    assert ran.line == "note: stage1.0.conv1: stage1.0 is a block (BasicBlock): these are the filters of stage1.0.conv1"


@pytest.mark.parametrize(("layer", "said"), [("stem.2", "is ReLU, without filters"), ("stem.9", "no layer 'stem.9'; nearest:")])
def test_what_is_wrong_is_said_in_one_line(phosphene: Phosphene, layer: str, said: str) -> None:
    ran = phosphene("filters", "-m", "demo:standard", "--layer", layer, "-o", "out")
    assert ran.status == 2
    assert said in ran.line
    assert not Path("out").exists()


def test_a_rerun_of_a_picture_of_filters_is_refused_in_words(phosphene: Phosphene) -> None:
    phosphene("filters", "-m", "demo:standard", "-o", "out")
    ran = phosphene("rerun", "out/stem.0.png")
    assert ran.status == 2
    assert "verb is 'filters'" in ran.line
