"""RunFolder: what an earlier run of the same request left is taken over, if it is there and whole."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

import phosphene as ph
from phosphene.results.folder import RunFolder
from phosphene.results.kinds import Item

from .test_folder import RECORD, drawn, said

NAMES = ("cat", "dog", "cat")


def folder(path: Path, *, request: dict[str, Any] | None = None, **options: Any) -> RunFolder:
    wanted = [f"logit:{i}" for i in range(3)]
    about = {"command": "test", "model": RECORD.model, "wanted": wanted, "request": request or {"size": 4}, **options}
    return RunFolder(path, **about)


def pictures(*finished: bool) -> ph.Rendering:
    """Of three classes, two of which share their name."""
    made = drawn(*NAMES[: len(finished)])
    kept = (replace(item, finished=done) for item, done in zip(made.items, finished, strict=True))
    return replace(made, items=tuple(kept), pictures=torch.rand(len(finished), 3, 4, 4))


def files_of(path: Path, word: str = "items") -> list[tuple[str, str]]:
    return [(item["objective"], item["file"]) for item in said(path).get(word, [])]


def test_an_item_comes_back_from_its_dict() -> None:
    for item in (
        Item("logit:cat", "cat", 3, 7, 1.25, 0.5, 2, ("a note",), False),
        Item("channel:a:0", None, None, 0, -1.0, None, None),
    ):
        assert Item.from_dict(json.loads(json.dumps(item.to_dict()))) == item


def test_finished_pictures_are_held_and_others_give_way_under_their_names(tmp_path: Path) -> None:
    first = folder(tmp_path)
    first.add(pictures(False, True, False), batches=[3])
    assert files_of(tmp_path) == [("logit:1", "dog.png")]
    assert files_of(tmp_path, "unfinished") == [("logit:0", "cat.png"), ("logit:2", "cat-2.png")]
    again = folder(tmp_path)
    assert [again.holds(f"logit:{i}", 0) for i in range(3)] == [False, True, False]
    assert again.batches_before(3) == [3]
    again.add(pictures(True, True, True).chosen([0, 2]))
    assert files_of(tmp_path) == [("logit:0", "cat.png"), ("logit:1", "dog.png"), ("logit:2", "cat-2.png")]
    assert "unfinished" not in said(tmp_path)
    assert len(again) == 3


def test_the_sheet_shows_what_was_taken_over(tmp_path: Path) -> None:
    whole, parts = folder(tmp_path / "whole"), folder(tmp_path / "parts")
    made = pictures(True, True, True)
    whole.add(made)
    whole.finish()
    parts.add(made.chosen([0, 1]))
    again = folder(tmp_path / "parts")
    again.add(made.chosen([2]))
    again.finish()
    sheets = [(tmp_path / name / "contact_sheet.png").read_bytes() for name in ("whole", "parts")]
    assert sheets[0] == sheets[1]


@pytest.mark.parametrize("change", [{"request": {"size": 5}}, {"command": "other"}])
def test_another_request_takes_nothing_over(tmp_path: Path, change: dict[str, Any]) -> None:
    folder(tmp_path).add(pictures(True, True, False))
    other = folder(tmp_path, **change)
    assert (len(other), other.before, other.replaces_unfinished) == (0, {}, True)


def test_a_picture_that_was_changed_or_lost_is_not_held(tmp_path: Path) -> None:
    folder(tmp_path).add(pictures(True, True, True))
    (tmp_path / "cat.png").unlink()
    Image.new("RGB", (4, 4)).save(tmp_path / "dog.png")
    again = folder(tmp_path)
    assert [again.holds(f"logit:{i}", 0) for i in range(3)] == [False, False, True]


def test_files_beside_a_picture_are_asked_for_too(tmp_path: Path) -> None:
    folder(tmp_path).add(pictures(True, True, True), transparent=False, animate="gif")
    (tmp_path / "dog.gif").unlink()
    assert [folder(tmp_path).holds(f"logit:{i}", 0) for i in range(3)] == [True, False, True]


@pytest.mark.parametrize(
    "change",
    [
        {"items": 3},
        {"items": [3, {}, {"file": "../x.png"}]},
        {"items": [{"objective": "logit:0", "class": None, "index": None, "seed": -1, "score": "x", "file": 7}]},
        {"batches": [0], "seconds": "long"},
        {"batches": [2, 2]},
    ],
)
def test_a_run_that_says_nonsense_is_not_obeyed(tmp_path: Path, change: dict[str, Any]) -> None:
    folder(tmp_path).add(pictures(True, True, True))
    (tmp_path / "run.json").write_text(json.dumps(said(tmp_path) | change))
    again = folder(tmp_path)
    assert again.batches_before(3) == []
    assert len(again) == (0 if "items" in change else 3)


def test_a_run_json_that_cannot_be_read_is_none(tmp_path: Path) -> None:
    (tmp_path / "run.json").write_text("[" * 100_000)
    assert folder(tmp_path).before == {}


def test_an_older_list_does_not_outlive_its_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder(tmp_path).add(pictures(True, True, True))

    def killed(*_: object) -> None:
        raise OSError("killed")

    monkeypatch.setattr("phosphene.results.folder.files.write_png", killed)
    with pytest.raises(OSError, match="killed"):
        folder(tmp_path, request={"size": 5}).add(pictures(True, True, True))
    assert len(folder(tmp_path)) == 0
