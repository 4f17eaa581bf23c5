"""`phosphene neighbours`: the index, what is found, and what is said."""

from __future__ import annotations

import importlib.util
import json
import shlex
import signal
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from phosphene.accumulate import feature_index
from phosphene.accumulate.feature_index import FeatureIndex
from phosphene.accumulate.feature_store import Store
from phosphene.pictures import files
from phosphene.pictures.data import Batch

from .conftest import Phosphene
from .test_commands import example

pytestmark = pytest.mark.skipif(importlib.util.find_spec("lancedb") is None, reason="no LanceDB")
NEIGHBOURS = ("neighbours", "-m", "demo:standard")


@pytest.fixture(autouse=True)
def photos(tmp_path: Path) -> Path:
    """Six pictures of two labels, one of which is the query's, and a file that is none."""
    for i in range(6):
        path = tmp_path / "photos" / "ab"[i % 2] / f"{i}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.effect_noise((40, 40), 20 * (i + 1)).convert("RGB").save(path)
    Image.effect_noise((40, 30), 70).convert("RGB").save(tmp_path / "photo.jpg")
    (tmp_path / "photos" / "notes.txt").write_text("no picture")
    return tmp_path / "photos"


def said() -> dict[str, Any]:
    read: dict[str, Any] = json.loads(Path("out/run.json").read_text("utf-8"))
    return read


def test_the_example_of_the_help_runs_and_then_takes_the_index_that_is_there(phosphene: Phosphene) -> None:
    ran = phosphene(*shlex.split(example("neighbours"))[1:])
    assert (ran.status, ran.out) == (0, "the neighbours of 1 picture among 6 and run.json are in out\n")
    first = said()
    assert "notes.txt" in ran.err
    assert "labels: nearest of the same label" in ran.err
    assert [one["name"].endswith("notes.txt") for one in first["index"]["refused"]] == [True]
    (item,) = first["items"]
    assert [len(item["features"]), len(item["pixels"])] == [5, 5]
    assert json.loads(files.read_png(f"out/{item['file']}")[1])["verb"] == "neighbours"
    again = phosphene(*NEIGHBOURS, "--index", "out/features.lance", "--query", "photo.jpg", "-o", "out")
    assert again.status == 0
    assert said()["items"][0]["features"] == item["features"]


def test_a_query_is_not_its_own_neighbour(phosphene: Phosphene) -> None:
    assert phosphene(*NEIGHBOURS, "photos", "--query", "photos/a/0.png", "-k", "9", "-o", "out").status == 0
    (item,) = said()["items"]
    assert len(item["features"]) == 5
    assert "photos/a/0.png" not in [one["path"] for one in (*item["features"], *item["pixels"])]
    assert item["notes"] == ["5 neighbours: there are no more than that"]


def test_a_map_is_a_page(phosphene: Phosphene) -> None:
    pytest.importorskip("plotly")
    ran = phosphene(*NEIGHBOURS, "photos", "--map", "pca", "-o", "out")
    assert (ran.status, ran.out) == (0, "map.html and run.json are in out\n")
    assert "Plotly.newPlot" in Path("out/map.html").read_text("utf-8")
    assert (said()["map"]["points"], said()["map"]["method"]) == (6, "pca")


def test_an_index_of_another_model_layer_or_data_is_refused_until_it_is_rebuilt(phosphene: Phosphene, photos: Path) -> None:
    asked = ("photos", "--query", "photo.jpg", "-o", "out")
    assert phosphene(*NEIGHBOURS, *asked).status == 0
    other = phosphene("neighbours", "-m", "demo:robust", *asked)
    assert other.status == 2
    assert "vectors of two networks do not compare" in other.line
    assert "is of another layer; --rebuild makes it again" in phosphene(*NEIGHBOURS, *asked, "--layer", "stage3").line
    (photos / "a" / "0.png").unlink()
    assert "is of another data; --rebuild makes it again" in phosphene(*NEIGHBOURS, *asked).line
    assert phosphene(*NEIGHBOURS, *asked, "--layer", "stage3", "--metric", "l2", "--rebuild").status == 0
    assert (said()["index"]["layer"], said()["index"]["metric"], said()["index"]["pictures"]) == ("stage3", "l2", 5)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--query", "photo.jpg"), "among what? give DATA, a folder of pictures, or --index PATH"),
        (("photos",), "of what? give --query PHOTO, once or several times, or --map pca"),
        (("photos", "--query", "photo.jpg", "-k", "0"), "-k is 0; 1 to 1000 is needed"),
        (("photos", "--query", "photo.jpg", "--map", "tsne"), "--map 'tsne'; one of auto, pca, umap is needed"),
        (("photos", "--query", "photo.jpg", "--metric", "dot"), "metric is 'dot'; cosine or l2 is needed"),
        (("photos", "--query", "photo.jpg", "--layer", "stage9"), "no layer 'stage9'; nearest: stage"),
        (("photos", "--query", "none.jpg"), "picture 'none.jpg' is not there"),
        (("none", "--query", "photo.jpg"), "data 'none' is not there"),
        (("--index", "none.lance", "--query", "photo.jpg"), "there is no index there"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(phosphene: Phosphene, arguments: tuple[str, ...], words: str) -> None:
    ran = phosphene(*NEIGHBOURS, *arguments, "-o", "out")
    assert ran.status == 2
    assert words in ran.line


def test_ctrl_c_keeps_what_is_written_and_the_same_command_goes_on(
    phosphene: Phosphene, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feature_index, "_AT_ONCE", 2)
    monkeypatch.setattr(FeatureIndex, "build", partial(FeatureIndex.build, batch=2))
    read, columns = [], FeatureIndex._columns

    def pressed(self: FeatureIndex, some: Batch, seen: set[str]) -> dict[str, Any]:
        read.append(len(some))
        if len(read) == 2:
            signal.raise_signal(signal.SIGINT)
        return columns(self, some, seen)

    monkeypatch.setattr(FeatureIndex, "_columns", pressed)
    command = (*NEIGHBOURS, "photos", "--query", "photo.jpg", "-o", "out")
    ran = phosphene(*command)
    assert ran.status == 1
    assert "interrupted: what is done is in index out/features.lance; the same command goes on from there" in ran.err
    half = Store.open("out/features.lance", half=True)
    assert (len(half), half.complete) == (2, False)
    assert phosphene(*command).status == 0
    assert said()["index"]["pictures"] == 6
    assert read == [2, 2, 2, 2]  # those that were written are not read again
