"""Lists of paths and URLs, Parquet, and data sets of the hub's format."""

from __future__ import annotations

import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import phosphene as ph
from phosphene.errors import RequestError
from phosphene.pictures.data import Label, open_data

FIT = ph.Preprocess(size=(6, 8)).taken
fsspec = pytest.importorskip("fsspec")
pyarrow = pytest.importorskip("pyarrow")


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    (tmp_path / "in").mkdir()
    for index in range(3):
        Image.fromarray(np.full((9, 12, 3), 10 * index, np.uint8)).save(tmp_path / "in" / f"{index}.png")
    return tmp_path


@pytest.fixture
def memory() -> Iterator[str]:
    """A file system of URLs that lies in memory, with a picture, and one beside its folder."""
    files = fsspec.filesystem("memory")
    for name in ("data/0.png", "secret.png"):
        with files.open(f"/{name}", "wb") as file:
            Image.fromarray(np.zeros((9, 12, 3), np.uint8)).save(file, format="PNG")
    yield "memory://data"
    files.rm("/data", recursive=True)
    files.rm("/secret.png")


def read(data: str | Path) -> tuple[list[str], list[Label], list[str]]:
    """Names and labels of what is read, reasons of what is not."""
    batches = list(open_data(data).batches(FIT, 10))
    names = [Path(name).name for batch in batches for name in batch.names]
    labels = [label for batch in batches for label in batch.labels]
    return names, labels, [one.reason for batch in batches for one in batch.refused]


def test_a_csv_names_pictures_from_its_own_folder_on(photos: Path) -> None:
    (photos / "list.csv").write_text("label,path\ncat,in/2.png\ndog,in/0.png\n,in/9.png\n")
    names, labels, reasons = read(photos / "list.csv")
    assert (names, labels) == (["2.png", "0.png"], ["cat", "dog"])
    assert "is not there" in reasons[0]


def test_a_tsv_and_whole_paths(photos: Path) -> None:
    (photos / "list.tsv").write_text(f"file\ttarget\n{photos}/in/1.png\t7\n")
    assert read(photos / "list.tsv")[:2] == (["1.png"], ["7"])


def test_parquet_says_the_same(photos: Path) -> None:
    import pyarrow.parquet

    table = pyarrow.table({"path": ["in/2.png", "in/0.png"], "label": [1, 0], "more": [[1], [2]]})
    pyarrow.parquet.write_table(table, photos / "list.parquet")
    assert read(photos / "list.parquet") == (["2.png", "0.png"], [1, 0], [])


def test_parquet_without_paths_is_told_by_its_columns(photos: Path) -> None:
    import pyarrow.parquet

    pyarrow.parquet.write_table(pyarrow.table({"where": ["in/2.png"], "label": [1]}), photos / "list.parquet")
    with pytest.raises(RequestError, match=r"has the columns \['where', 'label'\]; one of path, file"):
        open_data(photos / "list.parquet")


def test_urls_are_read_as_files_are(photos: Path, memory: str) -> None:
    (photos / "list.csv").write_text(f"url\n{memory}/0.png\n{memory}/none.png\n")
    names, _, reasons = read(photos / "list.csv")
    assert names == ["0.png"]
    assert "cannot be read" in reasons[0]


def test_a_list_from_elsewhere_names_no_file_of_this_machine(photos: Path, memory: str) -> None:
    places = [
        "0.png",
        "../secret.png",
        f"{photos}/in/0.png",
        f"file://{photos}/in/0.png",
        f"simplecache::file://{photos}/in/0.png",
        f"zip://0.png::{photos}/in.zip",
        f"git://{photos}:in/0.png",
    ]
    with zipfile.ZipFile(photos / "in.zip", "w") as archive:
        archive.write(photos / "in" / "0.png", "0.png")
    fsspec.filesystem("memory").pipe("/data/all.zip", (photos / "in.zip").read_bytes())
    places.append(f"zip://0.png::{memory}/all.zip")  # which is of elsewhere
    with fsspec.open(f"{memory}/list.csv", "w") as file:
        file.write("\n".join(["path", *places]))
    names, _, reasons = read(f"{memory}/list.csv")
    assert names == ["0.png", "all.zip"]
    assert ["leaves the folder" in reason for reason in reasons] == [True, True, False, False, False, False]
    assert all("of this machine" in reason for reason in reasons[2:])


def test_a_list_of_this_machine_may_be_named_as_a_url_and_name_archives(photos: Path) -> None:
    with zipfile.ZipFile(photos / "in.zip", "w") as archive:
        archive.write(photos / "in" / "2.png", "2.png")
    (photos / "list.csv").write_text(f"path\nin/0.png\nfile://{photos}/in/1.png\nzip://2.png::{photos}/in.zip\n")
    names, _, reasons = read(f"file://{photos}/list.csv")
    assert (names, reasons) == (["0.png", "1.png", "in.zip"], [])


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("a.csv", "", "names no pictures"),
        ("a.csv", "path\n", "names no pictures"),
        ("a.csv", "words\nin/0.png\n", "one of path, file"),
        ("a.csv", "path,label\nin/0.png\n", "line 2 has 1 cells; 2 are needed"),
        ("a.csv", "path,label\n,cat\n", "holds what is no path"),
        ("a.csv", 'path\n"in/0.png\n', "is no CSV"),
        ("a.csv", "path\n\udcff\n", "is no CSV in UTF-8"),
        ("a.parquet", "junk", "is no Parquet file"),
        ("none.csv", None, "is not there|cannot be read"),
    ],
)
def test_a_list_that_is_none_is_refused(photos: Path, name: str, content: str | None, words: str) -> None:
    if content is not None:
        (photos / name).write_bytes(content.encode(errors="surrogateescape"))
    with pytest.raises(RequestError, match=words):
        open_data(photos / name)


def test_a_url_that_is_not_there_is_refused(memory: str) -> None:
    with pytest.raises(RequestError, match="cannot be read: FileNotFoundError"):
        open_data(f"{memory}/none.csv")


@pytest.fixture
def offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    datasets = pytest.importorskip("datasets")
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    datasets.disable_progress_bars()


@pytest.mark.usefixtures("offline")
def test_a_data_set_of_the_hubs_format_is_read(tmp_path: Path) -> None:
    for index, name in enumerate(["cat", "dog"]):
        (tmp_path / "set" / "train" / name).mkdir(parents=True)
        Image.fromarray(np.full((9, 12, 3), 10 * index, np.uint8)).save(tmp_path / "set" / "train" / name / "a.png")
    assert read(f"hf:{tmp_path}/set?split=train")[1:] == (["cat", "dog"], [])
    with pytest.raises(RequestError, match="does not open"):
        open_data(f"hf:{tmp_path}/set?split=other")


@pytest.mark.usefixtures("offline")
def test_a_data_set_that_is_not_there_is_refused() -> None:
    with pytest.raises(RequestError, match=r"hf:\./nowhere does not open"):
        open_data("hf:./nowhere")


def test_an_option_that_is_none_is_refused() -> None:
    with pytest.raises(RequestError, match="it takes split and config"):
        open_data("hf:NAME?shard=1")
    with pytest.raises(RequestError, match="data hf: names no data set; hf:NAME is needed"):
        open_data("hf:")
