"""`phosphene explain --trust` and `phosphene evaluate trust`: the table, the JSON, and what is not measured."""

from __future__ import annotations

import importlib
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import phosphene as ph
from phosphene.cli import trust as command
from phosphene.evaluation.trust import Trust

from .conftest import Phosphene

MEASURES = ("deletion", "insertion", "drop", "road")


def noise(name: str, seed: int = 0) -> None:
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, (40, 50, 3), dtype=np.uint8)).save(name)


def test_the_example_in_the_help_runs_and_ends_with_what_was_found(phosphene: Phosphene) -> None:
    example = re.search(r"Example: phosphene (.*)", str(command.trust.__doc__))
    assert example
    noise("photo.png")
    ran = phosphene(*example.group(1).split())
    title, heads, *rows = ran.out.splitlines()
    assert (ran.status, ran.err, title.strip()) == (0, "", "trust, of 1 map a method")
    assert heads.split() == ["method", "deletion", "↓", "insertion", "↑", "drop", "↓", "road", "↑", "rank", "random", "weights"]
    assert {row.split()[0] for row in rows[:3]} == {"saliency", "cam", "random"}
    assert re.search(r"^random .* ignores \(1\.00\)$", "\n".join(rows), re.MULTILINE)
    assert re.search(r"^cam (hardly |)notices", "\n".join(rows), re.MULTILINE)


def test_a_folder_is_measured_and_told_as_json(phosphene: Phosphene, robust: ph.Network) -> None:
    Path("photos").mkdir()
    for seed in (0, 1):
        noise(f"photos/{seed}.png", seed)
    ran = phosphene(
        "evaluate", "trust", "-m", "demo:robust", "photos", "-c", "cat", "--method", "saliency", "--stages", "0", "--json"
    )
    told = json.loads(ran.out)
    assert (ran.status, told["pictures"]) == (0, ["photos/0.png", "photos/1.png"])
    wanted = ph.evaluation.trust(robust, ph.read("photos/1.png"), "logit:cat", methods=["saliency"], stages=0)
    row = next(row for row in told["methods"] if row["method"] == "saliency")
    assert row["randomisation"] is None
    for name in MEASURES:
        assert row[name]["pictures"][1] == pytest.approx(float(wanted.mean(name)[0]), abs=1e-4)
        assert row[name]["standard_error"] == pytest.approx(abs(np.subtract(*row[name]["pictures"])) / 2, abs=1e-6)


def test_a_bad_picture_is_named_and_the_others_are_measured(phosphene: Phosphene) -> None:
    noise("good.png")
    Path("bad.png").write_text("words")
    ran = phosphene("evaluate", "trust", "-m", "demo:robust", "bad.png", "good.png", "--stages", "0", "--json")
    assert (ran.status, json.loads(ran.out)["pictures"]) == (1, ["good.png"])
    assert ran.line == "phosphene: 'bad.png' is not a picture that can be read"
    ran = phosphene("evaluate", "trust", "-m", "demo:robust", "bad.png", "--stages", "0")
    assert (ran.status, ran.out) == (2, "")


def test_explain_measures_the_maps_that_it_makes(phosphene: Phosphene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(command, "MOST", 1)
    for seed in (0, 1):
        noise(f"{seed}.png", seed)
    ran = phosphene("explain", "-m", "demo:robust", "0.png", "1.png", "--method", "saliency", "--method", "cam", "--trust")
    told: dict[str, Any] = json.loads(Path("out/run.json").read_text("utf-8"))
    assert ran.status == 0
    assert told["trust"]["pictures"] == ["0.png"]
    assert {row["method"] for row in told["trust"]["methods"]} == {"saliency", "cam", "random"}
    assert len(told["items"]) == 4
    lines = ran.out.splitlines()
    assert lines[0].strip() == "trust, of 1 map a method"
    assert lines[-2] == "1 more maps a method are not measured; `phosphene evaluate trust` measures all"
    assert lines[-1] == "4 maps, contact_sheet.png and run.json are in out/"


def test_ctrl_c_tells_what_is_measured(phosphene: Phosphene, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the second picture it comes before the first map is measured."""
    joined: list[Trust] = []
    whole = ph.evaluation.trust

    def interrupted(*given: Any, **settings: Any) -> Trust:
        if joined:
            raise ph.Interrupted(None)
        joined.append(whole(*given, **settings))
        return joined[0]

    for seed in (0, 1):
        noise(f"{seed}.png", seed)
    monkeypatch.setattr(importlib.import_module("phosphene.evaluation.trust"), "trust", interrupted)
    ran = phosphene("evaluate", "trust", "-m", "demo:robust", "0.png", "1.png", "--stages", "0", "--json")
    assert (ran.status, json.loads(ran.out)["pictures"]) == (1, ["0.png"])
    assert ran.line == "phosphene: interrupted: 1 of 2 are told"
