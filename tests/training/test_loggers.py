"""Weights & Biases offline, MLflow's local store, TensorBoard's files: written in a training, and read back."""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from phosphene.training import ClassModels

from . import small
from .test_lightning import images

pytestmark = [pytest.mark.filterwarnings("ignore::DeprecationWarning"), pytest.mark.filterwarnings("ignore::FutureWarning")]


def trained(watch: ClassModels) -> None:
    with watch.for_loop() as loop:
        small.by_hand(watch.net.module, loop, workers=0)
    assert watch.problems == []
    assert watch.drawings == small.EPOCHS


@pytest.fixture
def offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    for name in ("WANDB_DIR", "WANDB_CACHE_DIR", "WANDB_CONFIG_DIR", "WANDB_DATA_DIR"):
        monkeypatch.setenv(name, str(tmp_path))
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")
    yield tmp_path
    import wandb

    wandb.teardown()


def rows(folder: Path) -> list[dict[str, Any]]:
    """The history that an offline run holds, once its writer has ended, as with the program."""
    import wandb
    from wandb.proto import wandb_internal_pb2

    wandb.teardown()
    (file,) = folder.glob("wandb/offline-run-*/run-*.wandb")
    found = []
    for data in logged(file.read_bytes()):
        record = wandb_internal_pb2.Record()
        record.ParseFromString(data)
        if record.WhichOneof("record_type") == "history":
            found.append({"/".join(item.nested_key) or item.key: json.loads(item.value_json) for item in record.history.item})
    return found


def logged(data: bytes) -> Iterator[bytes]:
    """The records of a log as LevelDB keeps it: blocks of 32 KiB, of pieces with (checksum, length, kind) before each."""
    place, piece = 7, b""
    while place + 7 <= len(data):
        left = 32768 - place % 32768
        if left < 7:
            place += left
            continue
        length, kind = struct.unpack_from("<HB", data, place + 4)
        piece += data[place + 7 : place + 7 + length]
        place += 7 + length
        if kind in (1, 4):  # whole, or the last part
            yield piece
            piece = b""


def test_an_offline_run_of_wandb_holds_a_picture_per_class_and_epoch(offline: Path) -> None:
    _, net = small.network()
    trained(small.watch(net).on_val().to_wandb(project="phosphene-test", directory=offline))
    told = [row for row in rows(offline) if "phosphene/epoch" in row]
    assert [(row["phosphene/epoch"], row["phosphene/step"]) for row in told] == [(0, 2), (1, 4), (2, 6)]
    assert all(row["class models/red/width"] == 8 for row in told)
    (media,) = offline.glob("wandb/offline-run-*/files/media/images/class models")
    assert {path.name.partition("_")[0] for path in media.iterdir()} == {"red", "green", "blue-..-up"}
    assert len(list(media.glob("red*.png"))) == small.EPOCHS
    with Image.open(next(media.glob("red*.png"))) as image:
        assert image.size == (8, 8)


def test_a_run_that_is_open_keeps_its_own_steps(offline: Path) -> None:
    import wandb

    _, net = small.network()
    with wandb.init(project="phosphene-test", dir=str(offline)) as run:
        loop = small.watch(net).on_val().to_wandb().for_loop()
        for step in range(3):
            loop.val()
            run.log({"loss": float(step)}, step=step)
        loop.val()
        loop.val()
    found = rows(offline)
    assert [row["loss"] for row in found if "loss" in row] == [0.0, 1.0, 2.0]
    assert len([row for row in found if "class models/red/width" in row]) == 5


def test_mlflows_store_holds_the_pictures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")  # a database takes seconds to be made
    from mlflow import MlflowClient

    _, net = small.network()
    store = (tmp_path / "store").as_uri()
    client = MlflowClient(tracking_uri=store)
    home = client.create_experiment("watch", artifact_location=(tmp_path / "artifacts").as_uri())
    trained(small.watch(net).on_val().to_mlflow(tracking_uri=store, experiment="watch"))
    (run,) = client.search_runs([home])
    assert run.info.status == "FINISHED"
    names = [Path(file.path).name for file in client.list_artifacts(run.info.run_id, "images")]
    reds = sorted(name for name in names if "red" in name and name.endswith(".png"))
    assert [name.split("+")[1:3] for name in reds] == [["step", "2"], ["step", "4"], ["step", "6"]]
    with Image.open(tmp_path / "artifacts" / run.info.run_id / "artifacts" / "images" / reds[0]) as image:
        assert image.size == (8, 8)


def test_tensorboards_files_hold_the_pictures(tmp_path: Path) -> None:
    _, net = small.network()
    trained(small.watch(net).on_val().to_tensorboard(tmp_path / "runs"))
    found = images(tmp_path / "runs")
    assert [image.step for image in found["class models/green"]] == [2, 4, 6]
    assert len({image.encoded_image_string for image in found["class models/green"]}) == small.EPOCHS


def test_a_writer_that_is_gone_is_told_once(tmp_path: Path) -> None:
    class Gone:
        def add_image(self, *_: Any, **__: Any) -> None:
            raise ConnectionError("the logger is gone")

    _, net = small.network()
    watch = small.watch(net).on_val().to_tensorboard(writer=Gone()).to_file(tmp_path / "{epoch}-{class}.png")
    with (
        pytest.warns(RuntimeWarning, match="TensorBoard failed: the logger is gone; the training goes on"),
        watch.for_loop() as loop,
    ):
        small.by_hand(net.module, loop, workers=0)
    assert len(watch.problems) == 1
    assert len(list(tmp_path.iterdir())) == 9
