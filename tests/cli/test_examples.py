"""`phosphene examples`: sheet, patches and run.json; going on; what is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

import phosphene as ph
from phosphene.cli import examples as command
from phosphene.pictures.colour import image_of
from phosphene.seeding import stream
from tests.cli.conftest import Phosphene

LINE = ("examples", "-m", "demo:standard", "photos", "--layer", "stage1", "--top", "3", "-o", "out")


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    for index in range(6):
        place = tmp_path / "photos" / ("cat" if index % 2 else "dog") / f"{index}.png"
        place.parent.mkdir(parents=True, exist_ok=True)
        image_of(torch.rand(3, 40 + index, 50, generator=stream(index, "photo"))).save(place)
    return tmp_path / "photos"


def said(path: Path | str = "out") -> dict[str, Any]:
    read: dict[str, Any] = json.loads(Path(path, "run.json").read_text("utf-8"))
    return read


def opened(path: str | Path) -> Image.Image:
    with Image.open(path) as image:
        return image.convert("RGB")


@pytest.mark.usefixtures("photos")
def test_it_writes_a_sheet_patches_and_what_they_are(phosphene: Phosphene, standard: ph.Network) -> None:
    ran = phosphene(*LINE, "--channel", "0-1", "--channel", "5", "--lowest", "2")
    assert (ran.status, ran.out) == (0, "9 patches of 3 units, contact_sheet.png and run.json are in out/\n")
    run = said()
    found = ph.examples(standard, "photos", ph.channel("stage1", [0, 1, 5]), top=3, bottom=2)
    assert [item["objective"] for item in run["items"]] == list(found.objectives)
    for row, item in enumerate(run["items"]):
        assert [patch["value"] for patch in item["patches"]] == found.values[row].tolist()
        assert [patch["index"] for patch in item["patches"]] == found.indices[row].tolist()
        assert len(item["lowest"]) == 2
        for rank, patch in enumerate(item["patches"]):
            left, top, right, bottom = patch["box"]
            assert patch["label"] == Path(patch["image"]).parent.name
            whole = opened(patch["image"]).crop((left, top, right, bottom))
            assert opened(Path("out", patch["file"])).tobytes() == whole.tobytes()
            assert (left, top, right, bottom) == found.box(row, rank)
    assert opened("out/contact_sheet.png").height > 3 * 112
    assert run["data"] == {"name": "photos", "pictures": 6, "refused": 0}


@pytest.mark.usefixtures("photos")
def test_the_guided_gradient_and_the_rendering_stand_beside(phosphene: Phosphene) -> None:
    ran = phosphene(*LINE, "--channel", "5", "--guided", "--render")
    assert ran.status == 0
    (item,) = said()["items"]
    for patch in item["patches"]:
        beside = opened(Path("out", patch["beside"]))
        assert len(set(beside.tobytes())) > 10  # not all grey
        assert max(beside.size) <= 13  # what a unit of stage1 sees
    assert opened(Path("out", item["rendered"])).size == (32, 32)


@pytest.mark.usefixtures("photos")
def test_all_channels_of_several_layers_make_several_sheets(phosphene: Phosphene) -> None:
    ran = phosphene(*LINE, "--layer", "stem", "--objective", "logit:cat", "--top", "1")
    assert ran.status == 0
    assert len(said()["items"]) == 65
    assert sorted(path.name for path in Path("out").glob("*.png")) == [
        "contact_sheet-2.png",
        "contact_sheet-3.png",
        "contact_sheet.png",
    ]


def test_what_is_no_picture_is_named_and_the_rest_is_done(phosphene: Phosphene, photos: Path) -> None:
    (photos / "cat" / "junk.png").write_text("junk")
    ran = phosphene(*LINE, "--channel", "0")
    assert ran.status == 0
    assert "phosphene: 'photos/cat/junk.png' is not a picture that can be read\n" in ran.err
    assert said()["refusals"][0]["image"] == "photos/cat/junk.png"


def test_a_second_run_into_the_folder_that_is_read_does_not_read_its_own_sheet(phosphene: Phosphene, photos: Path) -> None:
    line = (*LINE[:-1], "photos/out", "--channel", "0")
    assert phosphene(*line).status == 0
    assert phosphene(*line).status == 0
    assert said(photos / "out")["data"]["pictures"] == 6


@pytest.mark.usefixtures("photos")
def test_ctrl_c_keeps_what_is_scanned_and_the_same_line_goes_on(phosphene: Phosphene, monkeypatch: pytest.MonkeyPatch) -> None:
    from phosphene.exemplars import scan

    line = (*LINE, "--channel", "0-3", "--batch", "2")
    values, calls = scan._values, []

    def interrupted(*given: Any) -> Any:
        calls.append(len(given[2]))
        if len(calls) == 3:
            raise KeyboardInterrupt
        return values(*given)

    monkeypatch.setattr(scan, "_values", interrupted)
    ran = phosphene(*line)
    assert ran.status == 1
    assert ran.err.splitlines()[-1] == "interrupted: 4 of 6 pictures are scanned; the same line goes on there"
    assert phosphene(*line).status == 0
    assert calls == [2, 2, 2, 2]
    first = said()["items"]
    assert phosphene(*line[:-4], "--channel", "0-3", "--batch", "2", "-o", "other").status == 0
    assert said("other")["items"] == first


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (["--layer", "nowhere"], "no layer 'nowhere'"),
        (["--channel", "99"], "channel 99 is outside stage1, which has 32"),
        (["--channel", "junk"], "place 'junk'; whole numbers"),
        (["--top", "0"], "top is 0; 1 to 10000 is needed"),
        (["--objective", "logit:unicorn"], "no class 'unicorn'"),
    ],
)
@pytest.mark.usefixtures("photos")
def test_a_wrong_request_is_one_line(phosphene: Phosphene, change: list[str], words: str) -> None:
    ran = phosphene(*LINE, *change)
    assert ran.status == 2
    assert words in ran.err.splitlines()[-1]
    assert not Path("out").exists()


@pytest.mark.parametrize(
    ("line", "words"),
    [
        (["photos"], "which units? give --layer"),
        (["photos", "--channel", "3"], "which units? give --layer"),
        (["photos", "--objective", "logit:cat", "--channel", "3"], "--channel 3 of which layer?"),
        (["nowhere", "--layer", "stem"], "data 'nowhere' is not there"),
        (["empty", "--layer", "stem"], "folder 'empty' holds no files"),
        (["junk", "--layer", "stem"], "the one item read of junk is no picture: 'junk/a.png' is not a picture"),
    ],
)
def test_data_that_hold_nothing_are_one_line(phosphene: Phosphene, line: list[str], words: str) -> None:
    Path("empty").mkdir()
    Path("junk").mkdir()
    Path("junk/a.png").write_text("junk")
    ran = phosphene("examples", "-m", "demo:standard", *line, "-o", "out")
    assert ran.status == 2
    assert words in ran.err.splitlines()[-1]


@pytest.mark.usefixtures("photos")
def test_a_place_that_cannot_be_written_is_one_line(phosphene: Phosphene) -> None:
    Path("out").write_text("a file")
    ran = phosphene(*LINE)
    assert ran.status == 2
    assert "'out' cannot be written" in ran.err.splitlines()[-1]


def test_the_names_of_units_are_those_of_render() -> None:
    assert command._wanted(["a.b", "c:d"], ["0-3"], ["logit:1"]) == ["channel:a.b:0-3", 'channel:"c:d":0-3', "logit:1"]
