from __future__ import annotations

import json
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

import phosphene as ph
from phosphene.pictures import files
from phosphene.rendering.recipe import Recipe
from phosphene.results.record import Record


@pytest.fixture
def saved(robust: ph.Network, tmp_path: Path) -> Path:
    ph.render(robust, ["logit:cat", "channel:stage3.0:5", "logit:dog - 0.5*logit:cat"], steps=3).save(tmp_path)
    return tmp_path


@pytest.mark.parametrize("name", ["cat.png", "channel-stage3.0-5.png", "logit-dog-0.5-logit-cat.png"])
def test_a_picture_is_made_again_pixel_for_pixel(saved: Path, name: str) -> None:
    again = ph.rerun(saved / name)
    assert again.identical
    assert again.difference == 0
    assert again.changed == ()


def _signed(path: Path, record: Record) -> Path:
    files.write_png(path, Image.open(path), record.to_json())
    return path


def _record(path: Path) -> Record:
    return Record.from_json(files.read_png(path)[1])


def test_a_picture_that_was_changed_is_noticed(saved: Path) -> None:
    path = saved / "cat.png"
    image, text = files.read_png(path)
    image.putpixel((3, 3), (255, 0, 255))
    files.write_png(path, image, text)
    again = ph.rerun(path)
    assert not again.identical
    assert again.difference > 50


def test_what_differs_in_the_environment_is_told(saved: Path) -> None:
    record = _record(saved / "cat.png")
    path = _signed(saved / "cat.png", replace(record, environment=record.environment | {"torch": "1.0"}))
    assert ph.rerun(path).changed == (f"torch: 1.0 then, {torch.__version__} now",)


def test_a_record_must_not_choose_code_that_runs(saved: Path, tmp_path: Path) -> None:
    trap = tmp_path / "trap.py"
    trap.write_text(f"open({str(tmp_path / 'sprung')!r}, 'w')\ndef net(): pass\n")
    record = _record(saved / "cat.png")
    path = _signed(saved / "cat.png", replace(record, model=record.model | {"ref": f"{trap}:net"}))
    with pytest.raises(ph.PhospheneError, match="name it yourself with -m"):
        ph.rerun(path)
    assert not (tmp_path / "sprung").exists()


def test_a_record_must_not_choose_files_to_read(saved: Path) -> None:
    record = _record(saved / "cat.png")
    batch = ("direction:stage3.0:secret.npy", *record.batch[1:])
    with pytest.raises(ph.PhospheneError, match="names a file"):
        ph.rerun(_signed(saved / "cat.png", replace(record, batch=batch)))


def test_other_weights_are_refused(saved: Path, standard: ph.Network) -> None:
    with pytest.raises(ph.PhospheneError, match="has other weights now"):
        ph.rerun(saved / "cat.png", standard)


def test_another_preprocessing_is_refused(saved: Path, robust: ph.Network) -> None:
    other = ph.Network(robust.module, ph.Preprocess(size=32), name="demo:robust")
    with pytest.raises(ph.PhospheneError, match="has another preprocessing now"):
        ph.rerun(saved / "cat.png", other)


def test_a_model_that_cannot_be_opened_is_told(saved: Path) -> None:
    record = _record(saved / "cat.png")
    path = _signed(saved / "cat.png", replace(record, model=record.model | {"ref": "demo:robust?x"}))
    with pytest.raises(ph.PhospheneError, match="cannot be opened"):
        ph.rerun(path)


def test_an_item_of_one_seed_says_its_recipe(saved: Path) -> None:
    text = json.loads(files.read_png(saved / "cat.png")[1])
    assert text["recipe"]["name"] == "natural"
    assert text["objective"] == "logit:3"


def test_digits_in_a_record_are_an_index_also_where_a_class_is_named_like_that(robust: ph.Network, tmp_path: Path) -> None:
    net = ph.Network(robust.module, robust.preprocess, classes=[str(9 - i) for i in range(10)], name="numbered")
    ph.render(net, ["logit:2"], steps=2).save(tmp_path)
    assert ph.rerun(next(tmp_path.glob("2*.png")), net).identical


@pytest.mark.parametrize(
    ("changes", "settings", "words"),
    [
        ({"size": (8192, 8192)}, {"steps": 1000}, "1,000 steps of 3 images, 8192×8192 px"),
        ({"batch": ("logit:cat",) * 20_000, "position": 0}, {}, "20,000 images"),
        ({"batch": (" + ".join(["logit:cat"] * 17_000),), "position": 0}, {}, "17,000 terms"),
        ({}, {"steps": 1_000_000, "samples": 1024}, "1,000,000 steps"),
        ({"size": (8192, 8192)}, {"steps": 1}, "GB of memory are needed"),
    ],
)
def test_a_record_that_would_take_hours_is_refused_at_once(
    saved: Path, monkeypatch: pytest.MonkeyPatch, changes: dict[str, Any], settings: dict[str, Any], words: str
) -> None:
    monkeypatch.setattr("phosphene.rendering.rerun.free_bytes", lambda device: 10**9)
    record = _record(saved / "cat.png")
    costly = replace(record, **changes, recipe=record.recipe | settings)
    start = time.process_time()
    with pytest.raises(ph.PhospheneError, match=words):
        ph.rerun(_signed(saved / "cat.png", costly))
    assert time.process_time() - start < 2


def test_a_record_that_would_take_hours_is_rendered_if_asked_for(saved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("phosphene.rendering.rerun.MOST_PIXELS", 3 * 3 * (32 * 32 + 1000))  # its terms are 4
    with pytest.raises(ph.PhospheneError, match="--costly"):
        ph.rerun(saved / "cat.png")
    assert ph.rerun(saved / "cat.png", costly=True).identical


@pytest.mark.parametrize("settings", [{"steps": 10**9}, {"priors": [{"kind": "l2", "weight": 1.0}] * 65}])
def test_a_recipe_out_of_range_is_one_sentence(settings: dict[str, Any]) -> None:
    with pytest.raises(ph.PhospheneError, match="needed"):
        Recipe.from_dict({"name": "r", **settings})
