"""Animations are real files of their kind, with every frame."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageChops

from phosphene.errors import ExtraError, FolderError, RequestError
from phosphene.pictures.animation import LEAST, check_kind, write_animation

FRAMES = [Image.new("RGB", (8, 6), (40 * i, 255 - 40 * i, 20 * i)) for i in range(6)]


@pytest.mark.parametrize(("kind", "form"), [("gif", "GIF"), ("webp", "WEBP"), ("png", "PNG"), ("apng", "PNG")])
def test_an_animation_opens_again_with_all_frames(tmp_path: Path, kind: str, form: str) -> None:
    with Image.open(write_animation(tmp_path / f"a.{kind}", FRAMES)) as image:
        assert (image.format, image.n_frames, min(image.size)) == (form, 6, 228)  # type: ignore[attr-defined]


@pytest.mark.parametrize("kind", ["webp", "png"])
def test_frames_are_kept_without_loss(tmp_path: Path, kind: str) -> None:
    with Image.open(write_animation(tmp_path / f"a.{kind}", FRAMES)) as image:
        for place, frame in enumerate(FRAMES):
            image.seek(place)
            assert ImageChops.difference(image.convert("RGB"), frame.resize(image.size)).getbbox() is None


def test_a_gif_keeps_colours_closely(tmp_path: Path) -> None:
    with Image.open(write_animation(tmp_path / "a.gif", FRAMES)) as image:
        for place, frame in enumerate(FRAMES):
            image.seek(place)
            apart = np.asarray(image.convert("RGB"), int) - np.asarray(frame.resize(image.size), int)
            assert np.abs(apart).max() <= 8


@pytest.mark.parametrize("kind", ["gif", "png"])
def test_the_last_frame_stands_longer_and_it_loops(tmp_path: Path, kind: str) -> None:
    with Image.open(write_animation(tmp_path / f"a.{kind}", FRAMES, seconds=0.6, hold=0.5)) as image:
        times = []
        for place in range(6):
            image.seek(place)
            times.append(image.info["duration"])
        assert times == [100] * 5 + [500]
        assert image.info["loop"] == 0


def test_frames_are_not_shown_faster_than_browsers_can(tmp_path: Path) -> None:
    with Image.open(write_animation(tmp_path / "a.gif", FRAMES, seconds=0.01)) as image:
        assert image.info["duration"] == 20


def test_frames_that_are_all_alike_are_written(tmp_path: Path) -> None:
    with Image.open(write_animation(tmp_path / "a.gif", [Image.new("L", (4, 4), 99)] * 5)) as image:
        assert image.size == (LEAST, LEAST)


def test_an_mp4_opens_again_with_all_frames_and_the_hold(tmp_path: Path) -> None:
    av = pytest.importorskip("av")
    path = write_animation(tmp_path / "a.mp4", [frame.resize((257, 301)) for frame in FRAMES], seconds=0.6, hold=0.5)
    with av.open(str(path)) as container:
        frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    assert len(frames) == 6 + 5
    assert frames[0].shape == (300, 256, 3)
    assert np.abs(frames[2].mean((0, 1)) - np.asarray(FRAMES[2]).mean((0, 1))).max() < 8


def test_mp4_without_its_extra_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(ExtraError, match=r"^MP4 needs PyAV; pip install 'phosphene\[mp4\]', or take gif, webp or apng$"):
        write_animation(tmp_path / "a.mp4", FRAMES)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["a.avi", "a", "gif"])
def test_an_unknown_kind_names_the_known(tmp_path: Path, name: str) -> None:
    with pytest.raises(RequestError, match=r"animation '.*'; one of gif, webp, apng, png, mp4 is needed"):
        write_animation(tmp_path / name, FRAMES)


def test_a_kind_is_its_own_check() -> None:
    assert check_kind("webp") == "webp"


@pytest.mark.parametrize("count", [0, 1])
def test_fewer_than_two_frames_are_refused(tmp_path: Path, count: int) -> None:
    with pytest.raises(RequestError, match=f"an animation of {count} frames; at least two"):
        write_animation(tmp_path / "a.gif", FRAMES[:count])


@pytest.mark.parametrize("kind", ["gif", "webp", "png", "mp4"])
def test_a_place_that_cannot_be_written_is_refused(tmp_path: Path, kind: str) -> None:
    with pytest.raises(FolderError, match="cannot be written"):
        write_animation(tmp_path / "none" / f"a.{kind}", FRAMES)
