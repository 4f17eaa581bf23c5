"""`phosphene locate` and `phosphene evaluate boxes`: what is written, bad files among good ones, hostile tables."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import phosphene as ph
from phosphene.cli import boxes as table
from phosphene.cli import locate as command
from phosphene.pictures import files

from .conftest import Phosphene, contents

ROBUST = ("locate", "-m", "demo:robust")
HEAD = "file,class,left,top,right,bottom\n"


def noise(width: int = 50, height: int = 40, seed: int = 0) -> Image.Image:
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8))


def said(folder: str = "out") -> dict[str, Any]:
    read: dict[str, Any] = json.loads(Path(folder, "run.json").read_text("utf-8"))
    return read


def test_the_example_in_the_help_runs(phosphene: Phosphene) -> None:
    example = re.search(r"Example: phosphene (.*)", str(command.locate.__doc__))
    assert example
    noise().save("photo.png")
    ran = phosphene(*example.group(1).split())
    assert (ran.status, ran.out) == (0, "1 picture with boxes, contact_sheet.png and run.json are in out/\n")


@pytest.mark.parametrize("method", ["threshold", "consensus"])
def test_it_writes_what_locate_gives(phosphene: Phosphene, robust: ph.Network, method: str) -> None:
    noise().save("photo.png")
    assert phosphene(*ROBUST, "photo.png", "-c", "cat", "--method", method, "--map", "cam", "--threshold", "0.3").status == 0
    photo = ph.read("photo.png")
    h = ph.cam(robust, photo, "logit:cat")
    found = ph.locate(h, method, picture=photo, threshold=0.3)  # type: ignore[arg-type]
    (item,) = said()["items"]
    assert item["boxes"] == [[pytest.approx(side, abs=0.051) for side in found.boxes[0].tolist()]]
    assert (item["class"], item["index"], item["method"], item["locate"], item["threshold"]) == ("cat", 3, "cam", method, 0.3)
    assert item["size"] == [40, 50]
    image, record = files.read_png(Path("out") / item["file"])
    assert image.size == (200, 160)  # small pictures are enlarged
    assert json.loads(record)["verb"] == "locate"
    assert Path("out/contact_sheet.png").is_file()


def test_many_pictures_classes_boxes_and_masks(phosphene: Phosphene) -> None:
    Path("in").mkdir()
    for k in range(2):
        noise(seed=k).save(f"in/{k}.png")
    ran = phosphene(*ROBUST, "in", "-c", "cat", "-c", "dog", "--method", "threshold", "--most", "3", "--masks")
    assert ran.status == 0
    items = said()["items"]
    assert [(Path(item["image"]).name, item["class"]) for item in items] == [
        (f"{k}.png", name) for k in range(2) for name in ("cat", "dog")
    ]
    assert all(1 <= len(item["boxes"]) <= 3 for item in items)
    with Image.open(Path("out") / items[0]["mask"]) as mask:
        assert mask.size == (50, 40)
        assert {level for _, level in mask.convert("L").getcolors() or ()} <= {0, 255}


def test_one_bad_file_among_good_ones(phosphene: Phosphene) -> None:
    Path("in").mkdir()
    noise().save("in/a.png")
    Path("in/b.txt").write_text("no picture")
    noise(1, 1).save("in/c.png")
    ran = phosphene(*ROBUST, "in", "--method", "threshold")
    assert (ran.status, ran.out.partition(",")[0]) == (1, "1 picture with boxes")
    assert [Path(failed["image"]).name for failed in said()["failed"]] == ["c.png"]
    assert "in/b.txt is no picture and was passed over" in ran.err


def test_nothing_that_can_be_read_is_an_error(phosphene: Phosphene) -> None:
    Path("b.txt").write_text("no picture")
    ran = phosphene(*ROBUST, "b.txt")
    assert (ran.status, ran.line) == (2, "phosphene: 'b.txt' is not a picture that can be read")
    assert not Path("out").exists()


def test_ctrl_c_keeps_what_is_there(phosphene: Phosphene, monkeypatch: pytest.MonkeyPatch) -> None:
    for k in range(3):
        noise(seed=k).save(f"{k}.png")
    of = command._Asking.of

    def stopped(self: Any, photos: Any) -> Any:
        if "1.png" in photos:
            raise KeyboardInterrupt
        return of(self, photos)

    line = (*ROBUST, "0.png", "1.png", "2.png", "--method", "threshold", "--masks")
    with monkeypatch.context() as during:
        during.setattr(command._Asking, "of", stopped)
        ran = phosphene(*line)
    assert ran.status == 1
    assert "interrupted: out holds 1 picture with boxes; missing are those of 1.png, 2.png" in ran.err
    assert (len(said()["items"]), said()["missing"]) == (1, ["1.png", "2.png"])
    asked = list[Any]()

    def of_these(self: Any, photos: Any) -> Any:
        asked.append(list(photos))
        return of(self, photos)

    monkeypatch.setattr(command._Asking, "of", of_these)
    assert phosphene(*line).status == 0
    assert asked == [["1.png"], ["2.png"]]
    phosphene(*line, "-o", "whole")
    assert contents("out") == contents("whole")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--method", "magic"), "method is 'magic'; auto, consensus, graphcut, thresholds or threshold is needed"),
        (("--threshold", "2"), "threshold is 2.0; 0 to 1 is needed"),
        (("--threshold", "nan"), "threshold is nan; a finite number is needed"),
        (("--threshold", "half"), "threshold is 'half'"),
        (("--map", "magic"), "no method 'magic'; nearest:"),
        (("--most", "0"), "most is 0; 1 or more is needed"),
        (("-c", "unicorn"), "no class 'unicorn'; nearest:"),
    ],
)
def test_a_wrong_request_is_one_line(phosphene: Phosphene, arguments: tuple[str, ...], words: str) -> None:
    noise().save("photo.png")
    ran = phosphene(*ROBUST, "photo.png", *arguments)
    assert (ran.status, words in ran.line, Path("out").exists()) == (2, True, False)


def boxed(*rows: str, count: int = 2) -> None:
    Path("photos").mkdir(exist_ok=True)
    for k in range(count):
        noise(seed=k).save(f"photos/{k}.png")
    Path("photos/boxes.csv").write_text(HEAD + "".join(f"{row}\n" for row in rows))


EVALUATE = ("evaluate", "boxes", "photos", "-m", "demo:robust")


def test_the_example_of_evaluate_boxes_runs(phosphene: Phosphene) -> None:
    example = re.search(r"Example: phosphene (.*)", str(table.boxes.__doc__))
    assert example
    boxed("0.png,cat,5,5,40,30", "1.png,5,0,0,50,40")
    ran = phosphene(*example.group(1).split())
    heads, *rows, last = ran.out.splitlines()
    assert (ran.status, ran.err) == (0, "")
    assert heads.split()[:3] == ["way", "class", "known"]
    assert [row.split("  ")[0] for row in rows][:3] == ["centre", "saliency at 20 %", "cam at 20 %"]
    assert last.startswith("2 pictures, of which ")


def test_the_table_as_json(phosphene: Phosphene) -> None:
    boxed("0.png,cat,5,5,40,30", "0.png,cat,1,1,9,9", "1.png,dog,0,0,50,40")
    ran = phosphene(*EVALUATE, "--json", "--limit", "1", "--map", "layer_cam")
    told = json.loads(ran.out)
    assert (ran.status, told["count"]) == (0, 1)
    assert [row["name"] for row in told["rows"]][-2:] == ["layer_cam, threshold", "layer_cam, consensus"]
    assert all(0 <= row[name] <= 1 for row in told["rows"] for name in row if name != "name")


def test_bad_rows_are_named_and_the_others_done(phosphene: Phosphene) -> None:
    boxed(
        "0.png,cat,5,5,40,30",
        "../secret.png,cat,5,5,40,30",
        "/etc/passwd,cat,5,5,40,30",
        "0.png,cat,5,5,x,30",
        "0.png,cat,5,5,inf,30",
        "0.png,cat,40,5,5,30",
        "0.png,unicorn,5,5,40,30",
        "gone.png,cat,5,5,40,30",
        ",cat,5,5,40,30",
        "0.png,cat,5",
    )
    Image.new("RGB", (9, 9)).save("secret.png")
    os.symlink(Path("secret.png").resolve(), "photos/link.png")
    with Path("photos/boxes.csv").open("a") as more:
        more.write("link.png,cat,1,1,5,5\n")
    ran = phosphene(*EVALUATE, "--json")
    assert (ran.status, json.loads(ran.out)["count"]) == (1, 1)
    for words in (
        "row 3: file '../secret.png' leads out of the folder",
        "row 4: file '/etc/passwd' leads out of the folder",
        "row 5: right is 'x'; pixels are needed",
        "row 6: right is 'inf'; pixels are needed",
        "row 7: box 40,5,5,30 is empty",
        "'0.png': no class 'unicorn'",
        "gone.png' is not there",
        "row 10: file or class is empty",
        "row 11: top is ''; pixels are needed",
        "row 12: file 'link.png' leads out of the folder",
    ):
        assert words.replace("''", "None") in ran.err or words in ran.err


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "has no column file; file,class,left,top,right,bottom are needed"),
        ("file,class,left\n", "has no column top"),
        ("\udcff", "cannot be read as a table"),
        (HEAD, "no photographs; at least one with a true box is needed"),
        (HEAD + "gone.png,cat,1,1,5,5\n", "nothing of 'photos' can be located; the first: picture"),
    ],
)
def test_what_is_no_table_is_refused(phosphene: Phosphene, text: str, words: str) -> None:
    boxed()
    Path("photos/boxes.csv").write_bytes(text.encode("utf-8", "surrogateescape"))
    ran = phosphene(*EVALUATE)
    assert (ran.status, words in ran.line) == (2, True)


def test_a_folder_or_a_table_that_is_not_there_is_refused(phosphene: Phosphene) -> None:
    assert "'photos' is no folder" in phosphene(*EVALUATE).line
    boxed()
    ran = phosphene(*EVALUATE, "--boxes", "gone.csv")
    assert "'gone.csv' is not there; a CSV file with file,class,left,top,right,bottom is needed" in ran.line
