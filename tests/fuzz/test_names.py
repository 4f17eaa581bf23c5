"""Layers of odd names, texts that ask for them, and folders of odd names to write into."""

from __future__ import annotations

import os
import random
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from torch import nn

import phosphene as ph
from phosphene.errors import PhospheneError
from phosphene.pictures import files
from phosphene.results.folder import RunFolder

from .held import held

ODD = (*'+-*:",\\[]@?&=%0٣ \n\t', "é", "🦙", "\x7f", "‮", "a", "layer", " + ", "1e9", "..", "-")


def drawn(draw: random.Random, least: int = 1) -> str:
    return "".join(draw.choice(ODD) for _ in range(draw.randrange(least, 6)))


@pytest.mark.parametrize("count", [3, pytest.param(400, marks=pytest.mark.slow)])
def test_layers_of_any_name(count: int) -> None:
    draw, photo = random.Random(42), torch.rand(1, 3, 8, 8)
    for _ in range(count):
        names = list(dict.fromkeys(drawn(draw).replace(".", "_") for _ in range(3)))
        module = nn.Sequential()
        for i, name in enumerate(names):
            module.add_module(name, nn.Conv2d(3 if i == 0 else 4, 4, 3, padding=1))
        net = ph.Network(nn.Sequential(module, nn.AdaptiveAvgPool2d(1), nn.Flatten()), ph.Preprocess(size=8))
        for name in names:
            objective = ph.channel(f"0.{name}", 1)
            assert ph.parse(str(objective)) == objective
            assert torch.isfinite(ph.explain(net, photo, str(objective)).values).all()
            text = list(str(objective))
            text[draw.randrange(len(text))] = draw.choice(ODD)
            held(partial(ph.explain, net, photo, "".join(text)))


def files_of(place: Path) -> list[Path]:
    return [Path(root, name) for root, _, names in os.walk(place) for name in names]


@pytest.mark.parametrize("count", [40, pytest.param(500, marks=pytest.mark.slow)])
def test_folders_of_any_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, count: int) -> None:
    """What is written lies in the folder that was named, and is whole."""
    draw = random.Random(43)
    here = tmp_path / "a" / "b" / "c" / "d" / "e" / "f"
    here.mkdir(parents=True)
    monkeypatch.chdir(here)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    (here / "file").write_text("kept")
    (here / "loop").symlink_to("loop")
    (here / "dangling").symlink_to("nowhere")
    (here / "link").symlink_to(tmp_path / "a")
    parts = (*ODD, "/", "/", "file", "loop", "dangling", "link", "~", "\0", "x" * 255, "x" * 256, ".", "con", "\udcff")
    image = Image.new("L", (4, 4))
    for _ in range(count):
        text = "".join(draw.choice(parts) for _ in range(draw.randrange(1, 6))).lstrip("/") or "."
        if text.count("..") > 4:
            continue

        def write(text: str = text) -> Path:
            run = RunFolder(text, command="render", model={"ref": "r", "sha256": "0"}, arguments={})
            files.write_png(run.path / f"{files.slug(text)}.png", image, "{}")
            return run.write()

        found: Any = held(write)
        assert (here / "file").read_text() == "kept"
        assert not [
            file for file in files_of(tmp_path) if file.name.startswith(".") and len(file.name) > 12 and "…" not in text
        ]
        if not isinstance(found, PhospheneError):
            assert found.name == "run.json"
            assert found.parent.resolve() == Path(text).expanduser().resolve()
