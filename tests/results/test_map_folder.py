"""MapFolder: the files of a run and what run.json says of them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import phosphene as ph
from phosphene.pictures import files
from phosphene.results import map_folder
from phosphene.results.map_folder import MapFolder
from tests.attribution.linear import pictures

MODEL = {"ref": "demo:robust", "sha256": ""}


def said(folder: Path) -> dict[str, Any]:
    read: dict[str, Any] = json.loads((folder / "run.json").read_text("utf-8"))
    return read


def explained(net: ph.Network, method: str = "saliency", images: tuple[str, ...] = ("a/one.jpg", "b/one.jpg")) -> ph.Heatmap:
    return ph.explain(net, pictures(len(images), (32, 32)), "logit:cat", method=method, images=images)


def test_a_heatmap_is_saved_with_its_raw_values_and_its_record(robust: ph.Network, tmp_path: Path) -> None:
    h = explained(robust)
    assert h.save(tmp_path) == tmp_path / "run.json"
    first, second = said(tmp_path)["items"]
    assert (first["file"], second["file"]) == ("one-cat-saliency.png", "one-cat-saliency-2.png")
    assert first | {"file": "", "array": ""} == h.items[0].to_dict() | {"file": "", "array": ""}
    assert np.array_equal(np.load(tmp_path / second["array"]), h.values[1].numpy())
    image, record = files.read_png(tmp_path / second["file"])
    assert image.tobytes() == h.overlay(item=1).tobytes()
    assert json.loads(record) == json.loads(h.signed_record(1).to_json())
    assert json.loads(record)["verb"] == "explain"
    assert (tmp_path / "contact_sheet.png").is_file()


def test_colours_and_contours_stand_beside(robust: ph.Network, tmp_path: Path) -> None:
    run = MapFolder(tmp_path, command="explain", model=MODEL, contour=True)
    (item,) = run.add([explained(robust, "guided_backprop", ("one.jpg",))])
    assert (tmp_path / item["colour"]).is_file()
    assert (tmp_path / item["contour"]).is_file()


def test_what_failed_and_what_is_missing_is_listed(robust: ph.Network, tmp_path: Path) -> None:
    run = MapFolder(tmp_path, command="explain", model=MODEL, wanted=["a/one.jpg", "bad.jpg", "late.jpg", "b/one.jpg"])
    run.add([explained(robust)])
    assert said(tmp_path)["missing"] == ["bad.jpg", "late.jpg"]
    run.failed("bad.jpg", "it is no picture")
    run.finish()
    assert said(tmp_path)["failed"] == [{"image": "bad.jpg", "reason": "it is no picture"}]
    assert (said(tmp_path)["missing"], run.missing, len(run)) == (["late.jpg"], ["late.jpg"], 2)


def test_many_pictures_make_several_sheets(robust: ph.Network, tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr(map_folder, "ROWS", 2)
    run = MapFolder(tmp_path, command="explain", model=MODEL)
    run.add([explained(robust, images=tuple("abc")), explained(robust, "gradient", tuple("abc"))])
    run.finish()
    assert sorted(path.name for path in tmp_path.glob("contact_sheet*")) == ["contact_sheet-2.png", "contact_sheet.png"]


def test_names_that_file_systems_take_for_one_are_kept_apart(robust: ph.Network, tmp_path: Path) -> None:
    run = MapFolder(tmp_path, command="explain", model=MODEL)
    items = run.add([explained(robust, images=("Cat.jpg", "cat.png", "../cat.gif"))])
    assert len({item["file"].casefold() for item in items}) == 3
    assert all(Path(item["file"]).name == item["file"] for item in items)


def test_rows_of_different_methods_are_one_sheet(robust: ph.Network, tmp_path: Path) -> None:
    run = MapFolder(tmp_path, command="explain", model=MODEL)
    run.add([explained(robust), explained(robust, "gradient")])
    run.add([explained(robust, images=("c",))])
    run.finish()
    assert (tmp_path / "contact_sheet.png").is_file()


@pytest.mark.parametrize(("reference", "title"), [("demo:robust", "demo:robust"), ("dir/net.py:make?size=8", "net.py:make")])
def test_a_sheet_names_the_network_without_folder_and_options(tmp_path: Path, reference: str, title: str) -> None:
    assert MapFolder(tmp_path, command="explain", model={"ref": reference, "sha256": ""})._title == title
