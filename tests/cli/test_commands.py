"""Each command, its help and the example in it."""

from __future__ import annotations

import json
import re
import shlex
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

import phosphene as ph
from phosphene.cli.app import app
from phosphene.cli.options import size_of
from phosphene.errors import RequestError
from phosphene.pictures import files
from phosphene.results.record import Record

from .conftest import Phosphene

COMMANDS = {str(command.name): str(command.callback.__doc__) for command in app.registered_commands if command.callback}


def example(command: str) -> str:
    found = re.search(r"Example: (phosphene .*)", COMMANDS[command])
    assert found, f"phosphene {command} --help has no example"
    return found.group(1).strip()


def said(path: str) -> dict[str, Any]:
    read: dict[str, Any] = json.loads(Path(path, "run.json").read_text("utf-8"))
    return read


def test_the_commands_are_these() -> None:
    first = ["doctor", "class-model", "explain", "render", "dream", "sweep", "tune", "rerun"]
    assert list(COMMANDS) == [
        *first,
        "locate",
        "activations",
        "neighbours",
        "examples",
        "layers",
        "filters",
        "statistics",
        "gap-head",
    ]


@pytest.mark.parametrize("command", COMMANDS)
def test_help_shows_what_a_command_does_and_an_example(phosphene: Phosphene, command: str) -> None:
    ran = phosphene(command, "--help")
    words = " ".join(ran.out.split())
    assert (ran.status, ran.err) == (0, "")
    assert COMMANDS[command].splitlines()[0] in words
    assert example(command) in words


def test_the_help_of_the_program_lists_every_command(phosphene: Phosphene) -> None:
    ran = phosphene("--help")
    assert ran.status == 0
    assert all(f" {command} " in ran.out for command in COMMANDS)


@pytest.mark.parametrize("command", ["class-model", "render", "layers"])
def test_the_example_in_the_help_runs(phosphene: Phosphene, command: str) -> None:
    program, *arguments = shlex.split(example(command))
    ran = phosphene(*arguments, *(() if command == "layers" else ("--steps", "2")))
    assert (program, ran.status) == ("phosphene", 0)


def test_the_example_of_rerun_runs_after_that_of_class_model(phosphene: Phosphene) -> None:
    phosphene(*shlex.split(example("class-model"))[1:], "--steps", "2")
    ran = phosphene(*shlex.split(example("rerun"))[1:])
    assert (ran.status, ran.out) == (0, "identical, pixel for pixel: again/cat.png\n")
    assert Path("again/cat.png").read_bytes() == Path("out/cat.png").read_bytes()


def test_the_example_of_doctor_runs(phosphene: Phosphene) -> None:
    pytest.importorskip("torchvision")
    assert phosphene(*shlex.split(example("doctor"))[1:]).status == 0


def test_the_version_is_told(phosphene: Phosphene) -> None:
    ran = phosphene("--version")
    assert (ran.status, ran.out, ran.err) == (0, f"phosphene {ph.__version__}\n", "")


def test_class_model_draws_the_classes_asked_for(phosphene: Phosphene) -> None:
    ran = phosphene("class-model", "-m", "demo:robust", "-c", "cat", "-c", "8", "--steps", "2", "-o", "new/out")
    assert (ran.status, ran.out) == (0, "2 pictures, contact_sheet.png and run.json are in new/out/\n")
    assert {path.name for path in Path("new/out").iterdir()} == {"cat.png", "ship.png", "contact_sheet.png", "run.json"}


def test_class_model_draws_what_render_does(phosphene: Phosphene, robust: ph.Network) -> None:
    phosphene("class-model", "-m", "demo:robust", "-c", "cat", "--steps", "2", "--seed", "3", "-o", "out")
    wanted = ph.render(robust, "logit:cat", steps=2, seed=3)
    assert files.read_png("out/cat.png")[0].tobytes() == wanted.image().tobytes()
    assert Record.from_json(files.read_png("out/cat.png")[1]) == wanted.signed_record(0)


def test_class_model_draws_all_classes(phosphene: Phosphene, robust: ph.Network) -> None:
    ran = phosphene("class-model", "-m", "demo:robust", "--all", "--steps", "1", "-o", "out")
    assert ran.status == 0
    assert [Path(f"out/{name}.png").is_file() for name in robust.classes] == [True] * 10


def test_a_class_asked_for_twice_is_drawn_once(phosphene: Phosphene) -> None:
    assert (
        "1 picture," in phosphene("class-model", "-m", "demo:robust", "-c", "cat", "-c", "3", "-c", "CAT", "--steps", "1").out
    )


def test_the_run_tells_the_arguments(phosphene: Phosphene) -> None:
    phosphene("class-model", "-m", "demo:robust", "-c", "cat", "--steps", "1", "--size", "24x40", "--batch", "1", "-o", "out")
    assert said("out")["command"] == "class-model"
    assert said("out")["arguments"] == {
        "classes": ["cat"],
        "all": False,
        "also_probability": False,
        "recipe": "auto",
        "steps": 1,
        "size": "24x40",
        "settings": None,
        "like": None,
        "seed": 0,
        "seeds": 1,
        "starts": 1,
        "judges": None,
        "batch": 1,
        "animate": None,
        "transparent": False,
        "precision": "auto",
        "compile": "auto",
    }
    assert files.read_png("out/cat.png")[0].size == (40, 24)


def test_a_judge_chooses_among_the_starts(phosphene: Phosphene) -> None:
    asked = ("class-model", "-m", "demo:robust", "-c", "cat", "--starts", "2", "--steps", "1", "-o", "out")
    ran = phosphene(*asked, "--judge", "demo:standard")
    note = "the best of 2 starts as demo:standard judged them, so their recognising it is no evidence"
    assert f"note: logit:cat: {note}" in ran.err
    assert said("out")["items"][0]["notes"] == [note]


def test_classes_whose_names_do_not_lead_back_are_drawn_by_index(phosphene: Phosphene) -> None:
    names = ["crane", "crane", "7", "Crane", " ", "a: b", "dog", "e", "f", "g"]
    Path("names.json").write_text(json.dumps(names))
    ran = phosphene("class-model", "-m", "demo:robust?classes=names.json", "--all", "--steps", "1", "-o", "out")
    items = said("out")["items"]
    assert ran.status == 0
    assert isinstance(items, list)
    assert [item["index"] for item in items] == list(range(10))
    assert [item["class"] for item in items] == names
    assert len({item["file"].lower() for item in items}) == 10


def test_render_draws_any_objectives(phosphene: Phosphene) -> None:
    ran = phosphene(
        "render", "-m", "demo:robust", "channel:stage3.0:5", "logit:cat - 0.5*logit:dog", "--steps", "2", "-o", "out/"
    )
    assert (ran.status, ran.out) == (0, "2 pictures, contact_sheet.png and run.json are in out/\n")
    assert said("out")["arguments"]["objectives"] == ["channel:stage3.0:5", "logit:cat - 0.5*logit:dog"]
    assert {path.name for path in Path("out").glob("*.png")} == {
        "channel-stage3.0-5.png",
        "logit-cat-0.5-logit-dog.png",
        "contact_sheet.png",
    }


@pytest.mark.parametrize("kind", ["gif", "webp", "apng"])
def test_the_ascent_is_animated(phosphene: Phosphene, kind: str) -> None:
    assert (
        phosphene("class-model", "-m", "demo:robust", "-c", "cat", "--steps", "3", "--animate", kind, "-o", "out").status == 0
    )
    with Image.open(f"out/cat.{kind}") as image:
        assert image.n_frames == 4  # type: ignore[attr-defined]  # of the plug-in's class


def test_a_note_on_a_dead_unit_is_told(phosphene: Phosphene, robust: ph.Network) -> None:
    dead = "direction:stage3.0:[1" + ", 0" * 127 + "]"
    given = phosphene("render", "-m", "demo:robust", f"0*{dead}", "--steps", "1", "-o", "out")
    assert given.status == 0
    assert "note: 0.0*direction:stage3.0:" in given.err
    assert "dead unit" in given.err


def test_layers_are_listed_as_a_table(phosphene: Phosphene, robust: ph.Network) -> None:
    ran = phosphene("layers", "-m", "demo:robust")
    heads, *rows = ran.out.splitlines()
    assert ran.status == 0
    assert heads.split() == ["address", "kind", "shape", "runs", "sees", "stride", "offset"]
    assert [row.split()[0] for row in rows] == [layer.address for layer in robust.layers()]


def test_layers_are_listed_as_json(phosphene: Phosphene, robust: ph.Network) -> None:
    ran = phosphene("layers", "-m", "demo:robust", "--json", "--size", "64")
    assert json.loads(ran.out) == json.loads(json.dumps([layer.to_dict() for layer in robust.layers(64)]))


def test_a_layer_whose_field_is_not_known_is_listed_too(phosphene: Phosphene) -> None:
    Path("odd.py").write_text(
        "from torch import nn\n"
        "class Net(nn.Module):\n    def forward(self, x):\n        return x.flatten(1)[:, :5]\n"
        "def net():\n    return nn.Sequential(Net(), nn.Linear(5, 5))\n"
    )
    ran = phosphene("layers", "-m", "odd.py:net?size=16")
    assert ran.status == 0
    assert "–" in ran.out


def test_rerun_says_what_changed_since(phosphene: Phosphene) -> None:
    phosphene("class-model", "-m", "demo:robust", "-c", "cat", "--steps", "1", "-o", "out")
    image, text = files.read_png("out/cat.png")
    then = json.loads(text)
    then["environment"]["torch"] = "1.0"
    files.write_png(Path("out/cat.png"), image, json.dumps(then))
    ran = phosphene("rerun", "out/cat.png")
    assert (ran.status, ran.out) == (0, "identical, pixel for pixel: rerun/cat.png\n")
    assert f"note: torch: 1.0 then, {torch.__version__} now\n" in ran.err


def test_rerun_of_a_changed_picture_fails(phosphene: Phosphene) -> None:
    phosphene("class-model", "-m", "demo:robust", "-c", "cat", "--steps", "1", "-o", "out")
    image, text = files.read_png("out/cat.png")
    files.write_png(Path("out/cat.png"), image.point(lambda level: min(level + 3, 255)), text)
    ran = phosphene("rerun", "out/cat.png", "-o", "again")
    assert (ran.status, ran.out) == (1, "not identical: up to 3 of 255 grey levels apart: again/cat.png\n")


def test_rerun_takes_the_network_it_is_given(phosphene: Phosphene) -> None:
    phosphene("class-model", "-m", "demo:robust", "-c", "cat", "--steps", "1", "-o", "out")
    assert phosphene("rerun", "out/cat.png", "-m", "demo:robust").status == 0
    ran = phosphene("rerun", "out/cat.png", "-m", "demo:standard")
    assert (ran.status, "has other weights now" in ran.line) == (2, True)


def test_doctor_tells_what_works_as_a_table(phosphene: Phosphene) -> None:
    ran = phosphene("doctor", "-m", "demo:robust")
    assert ran.status == 0
    assert "demo:robust" in ran.out.splitlines()[0]
    assert "✗" not in ran.out


def test_doctor_tells_what_works_as_json_and_what_a_photo_is_taken_for(phosphene: Phosphene, robust: ph.Network) -> None:
    phosphene("class-model", "-m", "demo:robust", "-c", "frog", "--steps", "40", "-o", "out")
    ran = phosphene("doctor", "-m", "demo:robust", "out/frog.png", "--json")
    told = json.loads(ran.out)
    assert ran.status == 0
    assert {"verdict", "question", "detail"} <= told["findings"][0].keys()
    assert told["top"][0]["class"] == "frog"
    assert [place["probability"] for place in told["top"]] == sorted((p["probability"] for p in told["top"]), reverse=True)


def test_doctor_lists_the_five_likeliest_classes(phosphene: Phosphene) -> None:
    Image.new("RGB", (50, 40), "green").save("a.png")
    ran = phosphene("doctor", "-m", "demo:robust", "a.png")
    assert len(re.findall(r"^ *[0-9.]+%  \w+  \(score -?[0-9.]+\)$", ran.out, re.MULTILINE)) == 5


def test_doctor_fails_where_something_does_not_work(phosphene: Phosphene) -> None:
    Path("odd.py").write_text(
        "import torch\nfrom torch import nn\n"
        "class Net(nn.Module):\n"
        "    def forward(self, x):\n        return torch.full((len(x), 4), float('nan'))\n"
    )
    ran = phosphene("doctor", "-m", "odd.py:Net?size=8", "--json")
    assert ran.status == 1
    assert any(finding["verdict"] == "no" for finding in json.loads(ran.out)["findings"])


@pytest.mark.parametrize(("text", "wanted"), [("64", (64, 64)), ("64x96", (64, 96)), ("64X96", (64, 96)), ("64,96", (64, 96))])
def test_a_size_is_one_side_or_height_by_width(text: str, wanted: tuple[int, int]) -> None:
    assert size_of(text) == wanted


@pytest.mark.parametrize("text", ["", "x", "0", "-5", "--5", "1x2x3", "1.5", "٣", "9" * 5000, "8193"])
def test_another_size_is_refused(text: str) -> None:
    with pytest.raises(RequestError, match="--size"):
        size_of(text)


def test_mp4_without_its_extra_is_refused_before_anything_is_drawn(
    phosphene: Phosphene, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "av", None)
    ran = phosphene("class-model", "-m", "demo:robust", "-c", "cat", "--animate", "mp4", "-o", "out")
    assert (ran.status, ran.line) == (
        2,
        "phosphene: MP4 needs PyAV; pip install 'phosphene[mp4]', or take gif, webp or apng",
    )
    assert not Path("out").exists()


def test_settings_of_the_recipe_are_changed_by_their_names(phosphene: Phosphene) -> None:
    phosphene(
        "render", "-m", "demo:robust", "logit:cat", "--steps", "1", "--set", "lr=0.5", "--set", "canvas=fourier", "-o", "out"
    )
    recipe = Record.from_json(files.read_png("out/cat.png")[1]).recipe
    assert (recipe["lr"], recipe["canvas"]["kind"]) == (0.5, "fourier")


def test_several_seeds_and_channels_have_their_own_files(phosphene: Phosphene) -> None:
    ran = phosphene("render", "-m", "demo:robust", "channel:stem.0:0-1", "--steps", "1", "--seeds", "2", "-o", "out")
    assert (ran.status, ran.out.partition(",")[0]) == (0, "4 pictures")
    assert [item["seed"] for item in said("out")["items"]] == [0, 1, 0, 1]
    assert Path("out/channel-stem.0-1-seed-1.png").is_file()
    assert "missing" not in said("out")


def test_a_transparent_copy_stands_beside_the_picture(phosphene: Phosphene) -> None:
    phosphene("class-model", "-m", "demo:robust", "-c", "cat", "--steps", "2", "--transparent", "-o", "out")
    (item,) = said("out")["items"]
    with Image.open(Path("out") / item["transparent"]) as image:
        assert image.mode == "RGBA"
