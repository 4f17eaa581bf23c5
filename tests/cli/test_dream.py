"""`phosphene dream`: photographs, what may be said of them, what is saved, and how it ends."""

from __future__ import annotations

import json
import signal
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from phosphene import read
from phosphene.cli import making
from phosphene.pictures import files

from .conftest import Phosphene, contents

DREAM = ("dream", "-m", "demo:robust", "--layer", "stage3.0", "--octaves", "2", "--steps", "2", "-o", "out")


def photo(path: Path, width: int = 40, height: int = 28) -> Path:
    gradient = Image.linear_gradient("L").resize((width, height))
    files.write_png(path, Image.merge("RGB", (gradient, gradient.rotate(180), gradient)))
    return path


def test_photographs_are_dreamt_at_their_size(phosphene: Phosphene, tmp_path: Path) -> None:
    photo(tmp_path / "a.png")
    photo(tmp_path / "b.png", 21, 33)
    ran = phosphene(*DREAM, "a.png", "b.png")
    assert (ran.status, ran.out) == (0, "2 pictures and run.json are in out\n")
    said = json.loads((tmp_path / "out" / "run.json").read_text("utf-8"))
    assert said["command"] == "dream"
    assert [(item["image"], item["file"], item["finished"]) for item in said["items"]] == [
        ("a.png", "a.png", True),
        ("b.png", "b.png", True),
    ]
    assert said["arguments"]["objective"] == "layer:stage3.0:squares"
    for name in ("a.png", "b.png"):
        before, after = read(tmp_path / name), read(tmp_path / "out" / name)
        assert before.shape == after.shape
        assert not before.equal(after)


def test_pictures_of_one_name_from_two_folders_are_both_kept(phosphene: Phosphene, tmp_path: Path) -> None:
    for folder in ("one", "two"):
        (tmp_path / folder).mkdir()
        photo(tmp_path / folder / "a.png")
    assert phosphene(*DREAM, "one/a.png", "two/a.png").status == 0
    assert sorted(path.name for path in (tmp_path / "out").glob("*.png")) == ["a-2.png", "a.png"]


def test_size_shrinks_and_zoom_gives_an_animation(phosphene: Phosphene, tmp_path: Path) -> None:
    photo(tmp_path / "a.png")
    ran = phosphene(*DREAM, "--size", "20", "--zoom", "3", "--animate", "gif", "a.png")
    assert ran.status == 0
    assert read(tmp_path / "out" / "a.png").shape[-2:] == (14, 20)
    with Image.open(tmp_path / "out" / "a.gif") as film:
        width, height = film.size  # enlarged by a whole number, as all animations of small pictures
        assert (film.n_frames, width * 14) == (3, height * 20)  # type: ignore[attr-defined]  # of the plug-in's class


def test_a_guide_makes_another_dream(phosphene: Phosphene, tmp_path: Path) -> None:
    photo(tmp_path / "a.png")
    photo(tmp_path / "guide.png", 32, 32)
    assert phosphene(*DREAM, "a.png").status == 0
    alone = read(tmp_path / "out" / "a.png")
    assert phosphene(*DREAM, "--guide", "guide.png", "a.png").status == 0
    assert alone.equal(read(tmp_path / "out" / "a.png"))
    assert not alone.equal(read(tmp_path / "out" / "a-2.png"))


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (("--objective", "layer:stage2.0"), "of what? give --layer L, once or several times, or --objective TEXT"),
        (("--layer", "stage9"), "no layer 'stage9'; nearest: stage1"),
        (("--animate", "gif"), "--animate 'gif' without frames; --zoom N with 2 or more makes them"),
        (("--size", "0"), "--size is 0; 1 to 8192 is needed"),
        (("--guide", "none.png"), "none.png"),
        (("--detail", "2"), "detail is 2.0; 0 to 1 is needed"),
        (("none.jpg",), "none.jpg"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(phosphene: Phosphene, tmp_path: Path, more: tuple[str, ...], said: str) -> None:
    photo(tmp_path / "a.png")
    ran = phosphene(*DREAM, "a.png", *more)
    assert ran.status == 2
    assert said in ran.line
    assert not list(tmp_path.glob("out/*.png"))


def test_ctrl_c_keeps_what_was_dreamt_and_says_what_is_missing(
    phosphene: Phosphene, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    photo(tmp_path / "a.png", 12, 12)
    photo(tmp_path / "b.png")
    on_step = making.Bar.on_step

    def pressed(self: making.Bar, done: int, items: int, step: int, *others: Any) -> None:
        on_step(self, done, items, step, *others)
        if step == 2 and Path("out/a.png").is_file():  # in the second dream
            signal.raise_signal(signal.SIGINT)

    with monkeypatch.context() as during:
        during.setattr(making.Bar, "on_step", pressed)
        ran = phosphene(*DREAM, "a.png", "b.png")
    assert ran.err.splitlines()[:2] == ["rendering 1 to 1 of 1, 4 steps"] * 2
    assert ran.status == 1
    assert "interrupted: 1 of 2 pictures are finished in out; " in ran.err
    assert "missing b.png (run.json lists them)" in ran.err
    assert [item["finished"] for item in json.loads(Path("out/run.json").read_text())["items"]] == [True, False]
    ran = phosphene(*DREAM, "a.png", "b.png")
    assert ran.err.splitlines() == [
        "resumed: 1 of 2 pictures is in out already, of the same request",
        "rendering 1 to 1 of 1, 4 steps",
    ]
    phosphene(*DREAM, "a.png", "b.png", "-o", "whole")
    assert contents("out") == contents("whole")
