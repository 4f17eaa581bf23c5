"""RunFolder: whole after every batch, no two files of one name."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as some

import phosphene as ph
from phosphene.errors import FolderError
from phosphene.results.folder import RunFolder
from phosphene.results.kinds import Item
from phosphene.results.record import Record

RECORD = Record({"ref": "net", "sha256": "0"}, {}, {"name": "none", "steps": 1}, (4, 4), 0, ("logit:0",), 0, {"device": "cpu"})


def drawn(*names: str | None, objectives: tuple[str, ...] | None = None) -> ph.Rendering:
    texts = objectives or tuple(f"logit:{i}" for i in range(len(names)))
    items = tuple(
        Item(text, name, None if name is None else i, 0, 1.0, None, None)
        for i, (name, text) in enumerate(zip(names, texts, strict=True))
    )
    count = len(items)
    pictures = torch.rand(count, 3, 4, 4)
    frames = (torch.rand(2, count, 3, 4, 4) * 255).byte()
    return ph.Rendering(pictures, torch.ones(count), torch.ones(1, count), items, (RECORD,) * count, frames, (0, 1))


def run_in(path: Path, **options: Any) -> RunFolder:
    return RunFolder(path, command="test", model=RECORD.model, **options)


def said(path: Path) -> dict[str, Any]:
    read: dict[str, Any] = json.loads((path / "run.json").read_text("utf-8"))
    return read


def test_classes_of_one_name_are_told_apart_by_their_index(tmp_path: Path) -> None:
    paths = run_in(tmp_path).add(drawn("crane", "crane"))
    assert [path.name for path in paths] == ["crane.png", "crane-1.png"]


def test_names_that_look_alike_as_files_are_told_apart(tmp_path: Path) -> None:
    paths = run_in(tmp_path).add(drawn("a/b", "a b", "a-b-1", None, objectives=("logit:0", "logit:1", "logit:2", "a:b")))
    assert [path.name for path in paths] == ["a-b.png", "a-b-1.png", "a-b-1-2.png", "a-b-2.png"]


def test_a_class_called_contact_sheet_is_not_overwritten_by_it(tmp_path: Path) -> None:
    run = run_in(tmp_path)
    (path,) = run.add(drawn("contact_sheet"))
    before = path.read_bytes()
    run.finish()
    assert path.name == "contact_sheet-0.png"
    assert path.read_bytes() == before
    assert (tmp_path / "contact_sheet.png").is_file()


def test_names_differ_also_where_case_does_not_count(tmp_path: Path) -> None:
    paths = run_in(tmp_path).add(drawn("Cat", "cat", "CONTACT_SHEET"))
    assert len({path.name.lower() for path in paths} | {"contact_sheet.png"}) == 4


@pytest.mark.parametrize("kind", ["gif", "png"])
def test_an_animation_never_takes_the_place_of_a_picture(tmp_path: Path, kind: str) -> None:
    run = run_in(tmp_path)
    run.add(drawn("cat.animated", "cat", "cat.gif", "cat.apng"), animate=kind)
    items = said(tmp_path)["items"]
    names = [item["file"] for item in items] + [item["animation"] for item in items]
    assert len({name.lower() for name in names}) == len(names) == 8


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(some.lists(some.text("aA-/. 12\n漢", max_size=4) | some.none(), min_size=1, max_size=8))
def test_no_two_pictures_share_a_file(tmp_path: Path, names: list[str | None]) -> None:
    run = run_in(tmp_path)
    paths = [path for name in names for path in run.add(drawn(name))]
    run.finish()
    assert len({path.name.lower() for path in paths} | {"contact_sheet.png"}) == len(names) + 1
    assert all(path.parent == tmp_path and path.is_file() for path in paths)


def test_the_run_is_whole_after_every_batch_and_says_what_is_missing(tmp_path: Path) -> None:
    run = run_in(tmp_path, wanted=["logit:0", "logit:1", "logit:2"], arguments={"seed": 0})
    run.add(drawn("cat"))
    assert said(tmp_path)["missing"] == ["logit:1", "logit:2"]
    assert run.missing == ["logit:1", "logit:2"]
    run.add(drawn("cat", "dog", "ship"))
    assert "missing" not in said(tmp_path)


def test_the_run_says_how_it_was_made(tmp_path: Path) -> None:
    run_in(tmp_path, device="cuda:0", arguments={"seed": 5}).finish()
    run = said(tmp_path)
    assert (run["command"], run["model"], run["device"], run["arguments"]) == ("test", RECORD.model, "cuda:0", {"seed": 5})
    assert run["phosphene"] == ph.__version__
    assert run["seconds"] >= 0


def test_a_run_of_nothing_has_no_sheet(tmp_path: Path) -> None:
    run_in(tmp_path, wanted=["logit:0"]).finish()
    assert said(tmp_path)["items"] == []
    assert said(tmp_path)["missing"] == ["logit:0"]
    assert not (tmp_path / "contact_sheet.png").exists()


def test_the_sheet_shows_the_pictures_of_all_batches(tmp_path: Path) -> None:
    one, both = run_in(tmp_path / "one"), run_in(tmp_path / "both")
    one.add(drawn("cat"))
    both.add(drawn("cat"))
    both.add(drawn("dog"))
    one.finish()
    both.finish()
    assert ph.read(tmp_path / "both" / "contact_sheet.png").shape[3] > ph.read(tmp_path / "one" / "contact_sheet.png").shape[3]


def test_names_beyond_ascii_are_written_as_they_are(tmp_path: Path) -> None:
    (path,) = run_in(tmp_path).add(drawn("猫: é"))
    assert path.name == "猫-é.png"
    assert said(tmp_path)["items"][0]["class"] == "猫: é"


def test_numbers_that_are_not_finite_are_no_json(tmp_path: Path) -> None:
    bad = drawn("cat")
    with pytest.raises(ValueError, match="Out of range float"):
        run_in(tmp_path).add(replace(bad, items=(replace(bad.items[0], score=float("nan")),)))


def test_a_place_that_cannot_be_written_is_refused_at_once(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(FolderError, match="cannot be written: Not a directory"):
        run_in(tmp_path / "file" / "out")
