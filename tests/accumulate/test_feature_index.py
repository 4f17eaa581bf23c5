"""FeatureIndex: exact neighbours, changes, reopening, and what is refused. Real tables on disk."""

from __future__ import annotations

import importlib.util
import io
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from torch import Tensor

import phosphene as ph
from phosphene.accumulate import feature_index
from phosphene.accumulate.feature_quality import retrieval
from phosphene.accumulate.feature_store import Store
from phosphene.accumulate.feature_vectors import before_head, vectors_of
from phosphene.errors import FolderError, ModelError, PictureError, RequestError
from phosphene.network.grid import Grid
from phosphene.network.layout import Layout
from phosphene.pictures import files
from tests import nets

pytestmark = pytest.mark.skipif(importlib.util.find_spec("lancedb") is None, reason="no LanceDB")
COUNT = 30


def pictures(count: int = COUNT, seed: int = 0) -> Tensor:
    return torch.rand(count, 3, 12, 12, generator=torch.Generator().manual_seed(seed))


def labelled(count: int = COUNT) -> list[tuple[Tensor, str]]:
    """Three kinds of pictures that a mean of their features tells apart."""
    rows = pictures(count)
    for i in range(count):
        rows[i, i % 3] *= 0.1
    return [(row, "rgb"[i % 3]) for i, row in enumerate(rows)]


@pytest.fixture
def net() -> ph.Network:
    return nets.network("plain")


@pytest.fixture
def index(net: ph.Network, tmp_path: Path) -> ph.FeatureIndex:
    return ph.FeatureIndex.build(net, pictures(), tmp_path / "features.lance")


def distances(net: ph.Network, metric: str, query: Tensor) -> Tensor:
    """By brute force, in double precision."""
    all_of, one = (net.features(p, "6").double() for p in (pictures(), query))
    likeness: Tensor = torch.nn.functional.cosine_similarity(all_of, one)
    away: Tensor = torch.linalg.vector_norm(all_of - one, dim=1)
    return away if metric == "l2" else 1 - likeness


@pytest.mark.parametrize("metric", ["cosine", "l2"])
def test_neighbours_are_those_of_brute_force(net: ph.Network, tmp_path: Path, metric: str) -> None:
    index = ph.FeatureIndex.build(net, pictures(), tmp_path / "features.lance", metric=metric)
    assert (len(index), index.layer, index.exact) == (COUNT, "6", True)
    for query in pictures(5, seed=1).split(1):
        away = distances(net, metric, query)
        found = index.query(query, k=7).features
        assert [one.id for one in found] == [f"item-{i}" for i in away.argsort()[:7].tolist()]
        torch.testing.assert_close(
            torch.tensor([one.distance for one in found]).double(), away.sort().values[:7], rtol=1e-3, atol=1e-6
        )


def test_pixel_neighbours_are_those_of_brute_force(index: ph.FeatureIndex) -> None:
    query = pictures(1, seed=1)
    levels = (pictures() * 255).round(), (query * 255).round()
    away = ((levels[0] - levels[1]) ** 2).mean((1, 2, 3)).sqrt() / 255
    found = index.query(query, k=4).pixels
    assert [one.id for one in found] == [f"item-{i}" for i in away.argsort()[:4].tolist()]
    assert [one.distance for one in found] == pytest.approx(away.sort().values[:4].tolist(), rel=1e-4)


def test_what_is_left_out_is_not_found(index: ph.FeatureIndex) -> None:
    own = pictures()[3:4]
    assert index.query(own, k=1).features[0].id == "item-3"
    without = index.query(own, k=COUNT, exclude=["item-3"])
    assert "item-3" not in [one.id for one in (*without.features, *without.pixels)]
    assert len(without.features) == len(without.pixels) == COUNT - 1
    assert without.notes == (f"{COUNT - 1} neighbours: there are no more than that",)


def test_reopened_it_answers_the_same(index: ph.FeatureIndex, net: ph.Network, tmp_path: Path) -> None:
    again = ph.FeatureIndex.open(tmp_path / "features.lance", net)
    query = pictures(1, seed=1)
    assert again.query(query).to_dict() == index.query(query).to_dict()
    assert again.about == index.about


def test_upsert_replaces_what_has_the_id_and_adds_the_rest(index: ph.FeatureIndex, net: ph.Network, tmp_path: Path) -> None:
    assert index.upsert(pictures(COUNT + 2, seed=5)) == COUNT + 2
    assert index.ids() == sorted(f"item-{i}" for i in range(COUNT + 2))
    new = pictures(COUNT + 2, seed=5)
    for place in (0, COUNT + 1):
        nearest = index.query(new[place : place + 1], k=1).features[0]
        assert nearest.id == f"item-{place}"
        assert nearest.distance == pytest.approx(0, abs=1e-5)
    assert len(ph.FeatureIndex.open(tmp_path / "features.lance", net)) == COUNT + 2


def test_what_is_deleted_is_gone_also_from_disk(index: ph.FeatureIndex, net: ph.Network, tmp_path: Path) -> None:
    assert index.delete(["item-3", "none"]) == 1
    assert index.delete("it's; DROP") == 0
    again = ph.FeatureIndex.open(tmp_path / "features.lance", net)
    assert "item-3" not in again.ids()
    assert again.query(pictures()[3:4], k=1).features[0].id != "item-3"


def test_an_index_for_large_sets_finds_the_same(net: ph.Network, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feature_index, "EXACT_UP_TO", 400)
    many = pictures(600)
    index = ph.FeatureIndex.build(net, many, tmp_path / "features.lance")
    assert not index.exact
    hits = []
    for query in pictures(20, seed=1).split(1):
        near, all_of = index.query(query, 10, pixels=False), index.query(query, 10, pixels=False, exact=True)
        assert (near.exact, all_of.exact) == (False, True)
        hits.append(len({one.id for one in near.features} & {one.id for one in all_of.features}) / 10)
    assert sum(hits) / len(hits) >= 0.95
    index.upsert([torch.zeros(3, 12, 12)])
    assert index.query(torch.zeros(1, 3, 12, 12), 1).features[0].id == "item-0"


def test_an_index_of_other_weights_or_preprocessing_is_refused(index: ph.FeatureIndex, tmp_path: Path) -> None:
    place = tmp_path / "features.lance"
    other = ph.Network(nets.made("plain", seed=1), ph.Preprocess(size=12, mean=0.5, std=0.25))
    with pytest.raises(RequestError, match=r"is of another model: .* vectors of two networks do not compare"):
        ph.FeatureIndex.open(place, other)
    with pytest.raises(RequestError, match=r"was made with another preprocessing"):
        ph.FeatureIndex.open(place, ph.Network(nets.made("plain"), ph.Preprocess(size=12, mean=0.4, std=0.25)))


def test_a_vector_of_another_length_is_refused(index: ph.FeatureIndex) -> None:
    assert index.search(index.vector(pictures()[:1]), 1)[0].id == "item-0"
    with pytest.raises(RequestError, match=r"vector is \(7,\); \(12,\) is needed, as 6 gives it"):
        index.search(torch.zeros(7))


def test_an_index_that_is_there_is_not_written_over(index: ph.FeatureIndex, net: ph.Network, tmp_path: Path) -> None:
    place = tmp_path / "features.lance"
    with pytest.raises(RequestError, match=r"is there already; open it, upsert into it, or pass overwrite=True"):
        ph.FeatureIndex.build(net, pictures(), place)
    assert len(ph.FeatureIndex.build(net, pictures(4), place, overwrite=True)) == 4
    assert len(ph.FeatureIndex.open(place, net)) == 4


class Stopping:
    """A data set at whose n-th item Ctrl-C comes."""

    def __init__(self, at: int) -> None:
        self.at = at

    def __len__(self) -> int:
        return COUNT

    def __getitem__(self, place: int) -> Tensor:
        if place == self.at:
            raise KeyboardInterrupt
        return pictures()[place]


def test_an_interrupted_build_goes_on_where_it_stopped(net: ph.Network, tmp_path: Path) -> None:
    place = tmp_path / "features.lance"
    with pytest.raises(ph.Interrupted):
        ph.FeatureIndex.build(net, Stopping(17), place, batch=4)
    with pytest.raises(RequestError, match=r"is half-written, 16 pictures; build it again with the same data"):
        ph.FeatureIndex.open(place, net)
    done: list[int] = []
    index = ph.FeatureIndex.build(net, Stopping(-1), place, batch=4, progress=done.append)
    assert done[0] == 16
    assert sum(done) == COUNT
    whole = ph.FeatureIndex.build(net, pictures(), tmp_path / "whole.lance")
    assert index.ids() == whole.ids()
    query = pictures(1, seed=1)
    assert [one.id for one in index.query(query, COUNT).features] == [one.id for one in whole.query(query, COUNT).features]


def test_a_half_written_index_of_other_settings_is_not_gone_on_with(net: ph.Network, tmp_path: Path) -> None:
    place = tmp_path / "features.lance"
    with pytest.raises(ph.Interrupted):
        ph.FeatureIndex.build(net, Stopping(17), place, batch=4)
    with pytest.raises(RequestError, match=r"is of another metric; overwrite=True \(--rebuild\) begins anew"):
        ph.FeatureIndex.build(net, Stopping(-1), place, metric="l2")


KILLED = """
import sys, torch, phosphene as ph
from tests import nets
from tests.accumulate.test_feature_index import pictures
from phosphene.accumulate import feature_index
feature_index._AT_ONCE = 4
class Stopping:
    def __len__(self): return 30
    def __getitem__(self, i):
        if i == 12:
            print("12 are written", flush=True)
            import time; time.sleep(60)
        return pictures()[i]
ph.FeatureIndex.build(nets.network("plain"), Stopping(), sys.argv[1], batch=4)
"""


def test_a_killed_build_leaves_what_goes_on_with_nothing_twice(net: ph.Network, tmp_path: Path) -> None:
    place = tmp_path / "features.lance"
    with subprocess.Popen([sys.executable, "-c", KILLED, str(place)], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "12 are written\n"
        process.send_signal(signal.SIGKILL)
    half = Store.open(str(place), half=True)
    assert (len(half), half.complete) == (12, False)
    index = ph.FeatureIndex.build(net, Stopping(-1), place, batch=4)
    assert index.ids() == sorted(f"item-{i}" for i in range(COUNT))
    assert len(index) == COUNT


def test_what_is_no_index_is_refused_in_a_sentence(net: ph.Network, tmp_path: Path) -> None:
    with pytest.raises(RequestError, match=r"there is no index at .*; FeatureIndex.build makes one"):
        ph.FeatureIndex.open(tmp_path / "none" / "features.lance", net)
    (tmp_path / "empty.lance").mkdir()
    (tmp_path / "broken.lance").mkdir()
    (tmp_path / "broken.lance" / "_versions").write_bytes(b"no folder")
    for name in ("empty", "broken"):
        with pytest.raises(RequestError, match=rf"{name}.lance'"):
            ph.FeatureIndex.open(tmp_path / f"{name}.lance", net)
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize(
    "about",
    [b"", b"[]", b"{" * 5000, b'{"format": 1}', b'{"format": 2, "model": {}}'],
    ids=["nothing", "list", "deep", "bare", "other format"],
)
def test_a_table_of_someone_else_is_refused(net: ph.Network, tmp_path: Path, about: bytes) -> None:
    import lancedb
    import pyarrow

    schema = pyarrow.schema([pyarrow.field("vector", pyarrow.list_(pyarrow.float32(), 4))], metadata={b"phosphene": about})
    lancedb.connect(tmp_path).create_table("features", schema=schema)
    with pytest.raises(RequestError, match=r"is no index of this version of Phosphene"):
        ph.FeatureIndex.open(tmp_path / "features.lance", net)


def test_a_table_whose_vectors_are_not_as_long_as_it_says_is_refused(
    index: ph.FeatureIndex, net: ph.Network, tmp_path: Path
) -> None:
    import lancedb
    import pyarrow

    about = json.dumps(index.about | {"dimension": 13}).encode()
    table = lancedb.connect(tmp_path).open_table("features")
    schema = table.schema.with_metadata({b"phosphene": about})
    lancedb.connect(tmp_path).create_table("lying", data=pyarrow.Table.from_batches([], schema), schema=schema)
    with pytest.raises(RequestError, match=r"lacks columns or has vectors of another length than it says"):
        ph.FeatureIndex.open(tmp_path / "lying.lance", net)


def test_a_damaged_index_is_told_without_the_words_of_its_makers(
    index: ph.FeatureIndex, net: ph.Network, tmp_path: Path
) -> None:
    (file,) = (tmp_path / "features.lance" / "data").iterdir()
    file.write_bytes(b"")
    with pytest.raises(RequestError, match=r"features\.lance' cannot be read: [a-z ]+$"):
        ph.FeatureIndex.open(tmp_path / "features.lance", net).ids()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_that_is_read_only_is_told(net: ph.Network, tmp_path: Path) -> None:
    (tmp_path / "locked").mkdir(mode=0o500)
    with pytest.raises(FolderError, match=r"locked' cannot be written"):
        ph.FeatureIndex.build(net, pictures(), tmp_path / "locked" / "features.lance")


def test_a_place_that_is_a_file_is_told(net: ph.Network, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(FolderError, match=r"file' cannot be written"):
        ph.FeatureIndex.build(net, pictures(), tmp_path / "file" / "features.lance")


def test_of_a_folder_the_paths_and_labels_are_kept_and_what_is_no_picture_is_named(net: ph.Network, tmp_path: Path) -> None:
    for name in ("cat/a.png", "dog/a.png", "dog/it's.png"):
        path = tmp_path / "data" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.effect_noise((20, 16), 80).save(path)
    (tmp_path / "data" / "dog" / "notes.txt").write_text("no picture")
    index = ph.FeatureIndex.build(net, str(tmp_path / "data"), tmp_path / "data" / "features.lance")
    rows: dict[str, Any] = next(index.rows(("id", "path", "label")))
    assert sorted(rows["label"]) == ["cat", "dog", "dog"]
    assert rows["path"] == rows["id"]
    assert [one.name.endswith("notes.txt") for one in index.refused] == [True]
    assert index.delete(str(tmp_path / "data" / "dog" / "it's.png")) == 1


def test_data_without_a_picture_are_refused(net: ph.Network, tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "a.txt").write_text("no picture")
    with pytest.raises(PictureError, match=r"the one item read of .* is no picture: "):
        ph.FeatureIndex.build(net, str(tmp_path / "data"), tmp_path / "features.lance")
    assert len(ph.FeatureIndex.build(net, pictures(3), tmp_path / "features.lance")) == 3  # what is empty stands in no way


def test_features_that_are_not_finite_are_refused(tmp_path: Path) -> None:
    class Huge(torch.nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x.mean((2, 3)) / (x.amax((1, 2, 3)) > 0)[:, None]

    module = torch.nn.Sequential(Huge(), torch.nn.Linear(3, 2))
    net = ph.Network(module, ph.Preprocess(size=12))
    with pytest.raises(ModelError, match=r"layer '0' gives NaN or infinite values for a picture"):
        ph.FeatureIndex.build(net, torch.zeros(2, 3, 12, 12), tmp_path / "features.lance")


@pytest.mark.parametrize(("habit", "layer"), [("plain", "6"), ("inplace", "4"), ("dict", "body"), ("random at training", "5")])
def test_the_default_layer_is_what_the_head_reads(habit: str, layer: str) -> None:
    assert before_head(nets.network(habit)) == layer


def test_of_maps_the_mean_and_of_tokens_the_class_token() -> None:
    maps, tokens, signal = torch.rand(2, 5, 8, 8), torch.rand(2, 17, 6), torch.rand(2, 5, 9)
    torch.testing.assert_close(vectors_of(maps, Layout((5, 8, 8))), maps.mean((2, 3)))
    torch.testing.assert_close(vectors_of(maps, Layout((5, 8, 8), -1)), maps.mean((1, 2)))
    assert vectors_of(tokens, Layout((17, 6), -1, Grid("bnk", (4, 4), 1))).equal(tokens[:, 0])
    assert vectors_of(tokens.mT, Layout((6, 17), 1, Grid("bkn", (4, 4), 1))).equal(tokens[:, 0])
    torch.testing.assert_close(vectors_of(tokens[:, 1:], Layout((16, 6), -1, Grid("bnk", (4, 4)))), tokens[:, 1:].mean(1))
    torch.testing.assert_close(vectors_of(signal, Layout((5, 9), 1, Grid("bkn", (1, 9)))), signal.mean(2))


def test_retrieval_is_that_of_brute_force(net: ph.Network, tmp_path: Path) -> None:
    data = labelled()
    index = ph.FeatureIndex.build(net, data, tmp_path / "features.lance", metric="l2")
    found = retrieval(index, k=3)
    assert found is not None
    vectors = net.features(torch.stack([picture for picture, _ in data]), "6")
    away = torch.cdist(vectors, vectors).fill_diagonal_(torch.inf).argsort(1)[:, :3]
    labels = torch.tensor(["rgb".index(label) for _, label in data])
    right = (labels[away] == labels[:, None]).double()
    assert (found.queries, found.top1) == (COUNT, float(right[:, 0].mean()))
    assert found.precision == pytest.approx(float(right.mean()))
    assert found.chance == pytest.approx(9 / 29)


def test_without_labels_nothing_is_said_of_retrieval(index: ph.FeatureIndex) -> None:
    assert retrieval(index) is None


def test_a_sheet_has_the_query_and_two_rows(index: ph.FeatureIndex, tmp_path: Path) -> None:
    found = index.query(pictures(1, seed=1), k=3, image="street.jpg")
    rows = found.rows()
    assert [[tile.lines[-1].split()[0] for tile in row] for row in rows] == [
        ["the", "features", "features", "features"],
        ["the", "pixels", "pixels", "pixels"],
    ]
    assert index.query(pictures()[3:4], k=1).rows()[0][1].lines[-1] == "features 0"  # and not 5.96e-08
    said = json.loads(found.save(tmp_path / "out").read_text("utf-8"))
    (item,) = said["items"]
    assert item["features"] == [one.to_dict() for one in found.features]
    image, record = files.read_png(tmp_path / "out" / item["file"])
    assert image.tobytes() == found.sheet().tobytes()
    assert json.loads(record)["verb"] == "neighbours"
    assert "<img" in found._repr_html_()


def test_a_thumbnail_that_is_none_is_grey() -> None:
    from phosphene.results.neighbours import opened

    memory = io.BytesIO()
    Image.new("L", (2000, 4)).save(memory, "PNG")
    for damaged in (b"", b"no picture", memory.getvalue()):
        assert opened(damaged).getpixel((0, 0)) == (160, 160, 160)


@pytest.fixture
def s3() -> Iterator[dict[str, str]]:
    """A real S3-compatible server in another process: moto's, in the environment that PHOSPHENE_MOTO names."""
    program = os.environ.get("PHOSPHENE_MOTO")
    if not program:
        pytest.skip("PHOSPHENE_MOTO names no moto_server")
    import urllib.request

    port = 5000 + os.getpid() % 1000
    process = subprocess.Popen([program, "-p", str(port)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    address = f"http://127.0.0.1:{port}"
    try:
        for _ in range(100):
            try:
                urllib.request.urlopen(urllib.request.Request(f"{address}/bucket", method="PUT"), timeout=2).close()
                break
            except OSError:
                time.sleep(0.2)
        keys = {"aws_access_key_id": "any", "aws_secret_access_key": "any", "aws_region": "us-east-1"}
        yield {"aws_endpoint": address, "allow_http": "true", **keys}
    finally:
        process.terminate()
        process.wait()


def test_an_index_in_an_object_store(net: ph.Network, s3: dict[str, str]) -> None:
    uri = "s3://bucket/mine/features.lance"
    ph.FeatureIndex.build(net, pictures(), uri, storage_options=s3)
    index = ph.FeatureIndex.open(uri, net, storage_options=s3)
    query = pictures(1, seed=1)
    away = distances(net, "cosine", query)
    assert [one.id for one in index.query(query, 5).features] == [f"item-{i}" for i in away.argsort()[:5].tolist()]
    assert index.delete("item-3") == 1
    assert len(ph.FeatureIndex.open(uri, net, storage_options=s3)) == COUNT - 1
    with pytest.raises(RequestError, match=r"none.lance' cannot be read: there is no index there"):
        ph.FeatureIndex.open("s3://bucket/mine/none.lance", net, storage_options=s3)


def test_a_neighbour_without_a_label_is_not_of_the_same(net: ph.Network, tmp_path: Path) -> None:
    data = [(picture, label if i % 2 else None) for i, (picture, label) in enumerate(labelled())]
    found = retrieval(ph.FeatureIndex.build(net, data, tmp_path / "features.lance", metric="l2"), k=29)
    assert found is not None
    assert found.queries == COUNT // 2
    assert found.precision == pytest.approx(4 / 29)  # of all other pictures 4 have the query's label
