"""Every kind of source, and what is no picture in it."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, IterableDataset, TensorDataset, WeightedRandomSampler

import phosphene as ph
from phosphene.errors import PictureError, RequestError
from phosphene.pictures.data import Batch, open_data

FIT = ph.Preprocess(size=(6, 8)).taken


def levels(index: int, size: tuple[int, int] = (9, 12)) -> np.ndarray:
    return np.full((*size, 3), 10 * index, np.uint8)


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """An ImageFolder of two classes, with a text among the pictures, a hidden file and a broken picture."""
    for index, name in enumerate(["cat/a.png", "cat/b.png", "dog/c.png", "dog/deep/d.jpg"]):
        place = tmp_path / "photos" / name
        place.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(levels(index)).save(place)
    (tmp_path / "photos" / "dog" / "words.txt").write_text("no picture")
    (tmp_path / "photos" / ".hidden.png").write_text("")
    broken = tmp_path / "photos" / "cat" / "broken.png"
    broken.write_bytes((tmp_path / "photos" / "cat" / "a.png").read_bytes()[:36])
    return tmp_path / "photos"


def told(batches: list[Batch]) -> tuple[list[int], list[Any], list[int], list[int]]:
    """Indices, labels, levels; and the indices of the refused."""
    indices = [i for batch in batches for i in batch.indices]
    shades = [round(float(p.mean()) * 25.5) for batch in batches for p in batch.pictures]
    refused = [one.index for batch in batches for one in batch.refused]
    return indices, [label for batch in batches for label in batch.labels], shades, refused


def test_a_folder_is_read_in_the_order_of_its_names(photos: Path) -> None:
    batches = list(open_data(photos).batches(FIT, 4))
    assert told(batches) == ([0, 1, 3, 4], ["cat", "cat", "dog", "dog"], [0, 1, 2, 3], [2, 5])
    assert [Path(name).name for batch in batches for name in batch.names] == ["a.png", "b.png", "c.png", "d.jpg"]
    assert {size for batch in batches for size in batch.sizes} == {(9, 12)}
    assert {tuple(batch.pictures.shape[1:]) for batch in batches} == {(3, 6, 8)}
    assert "words.txt' is not a picture" in batches[1].refused[0].reason
    assert [batch.end for batch in batches] == [4, 6]


def test_a_flat_folder_has_no_labels(photos: Path) -> None:
    assert told(list(open_data(photos / "cat").batches(FIT, 9)))[1] == [None, None]


def test_what_is_written_inside_is_not_read(photos: Path) -> None:
    (photos / "out").mkdir()
    Image.fromarray(levels(9)).save(photos / "out" / "sheet.png")
    assert open_data(photos).count == 7
    assert open_data(photos, photos / "out").count == 6


@pytest.mark.parametrize("start", range(7))
def test_a_batch_ends_where_the_next_one_starts(photos: Path, start: int) -> None:
    whole = told(list(open_data(photos).batches(FIT, 2)))
    first = told(list(open_data(photos).batches(FIT, 2)))[0]
    later = told(list(open_data(photos).batches(FIT, 2, start=start)))
    assert later[0] == [i for i in first if i >= start]
    assert later[3] == [i for i in whole[3] if i >= start]


def test_shards_hold_every_item_once() -> None:
    data = open_data(torch.rand(11, 3, 6, 8))
    parts = [told(list(data.batches(FIT, 2, shard=(i, 3))))[0] for i in range(3)]
    assert sorted(index for part in parts for index in part) == list(range(11))
    assert [i % 3 for i in parts[1]] == [1] * len(parts[1])
    assert told(list(data.batches(FIT, 2, shard=(1, 3), start=5)))[0] == [7, 10]


def test_another_order_number_or_content_is_another_identity(photos: Path) -> None:
    before = open_data(photos).identity
    assert open_data(photos).identity == before
    (photos / "cat" / "e.png").write_text("x")
    assert open_data(photos).identity != before
    a, b = torch.zeros(4, 3, 6, 8), torch.zeros(4, 3, 6, 8)
    b[2] = 1
    assert open_data(a).identity != open_data(b).identity


def test_an_empty_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match="holds no files; pictures are needed"):
        open_data(tmp_path)


class Endless(IterableDataset[Any]):
    def __iter__(self) -> Any:
        return (((torch.full((3, 9, 9), i / 25.5)), i) for i in range(5))


@pytest.mark.parametrize(
    "data",
    [
        torch.stack([torch.full((3, 9, 9), i / 25.5) for i in range(5)]),
        [levels(i) for i in range(5)],
        [Image.fromarray(levels(i)) for i in range(5)],
        [{"image": Image.fromarray(levels(i)), "label": i} for i in range(5)],
        TensorDataset(torch.stack([torch.full((3, 9, 9), i / 25.5) for i in range(5)]), torch.arange(5)),
        TensorDataset(torch.stack([torch.full((3, 9, 9), 10 * i, dtype=torch.uint8) for i in range(5)])),
        Endless(),
    ],
    ids=["tensor", "arrays", "images", "mappings", "dataset", "bytes", "iterable"],
)
def test_every_kind_of_dataset_is_read(data: Any) -> None:
    indices, labels, shades, refused = told(list(open_data(data).batches(FIT, 2)))
    assert (indices, shades, refused) == ([0, 1, 2, 3, 4], [0, 1, 2, 3, 4], [])
    assert labels in ([None] * 5, [0, 1, 2, 3, 4])
    assert float(open_data(data).picture(3).mean()) == pytest.approx(30 / 255)


def test_labels_become_names_where_the_data_have_them() -> None:
    data = TensorDataset(torch.rand(2, 3, 9, 9), torch.tensor([1, 0]))
    data.classes = ["cat", "dog"]  # type: ignore[attr-defined]
    assert told(list(open_data(data).batches(FIT, 2)))[1] == ["dog", "cat"]


class Failing:
    def __len__(self) -> int:
        return 3

    def __getitem__(self, index: int) -> Tensor:
        if index == 1:
            raise KeyError("a bug")
        return torch.rand(3, 9, 9)


def test_what_a_dataset_raises_is_that_items_reason() -> None:
    (batch,) = open_data(Failing()).batches(FIT, 5)
    assert batch.indices == (0, 2)
    assert batch.refused[0].reason == "item-1: KeyError: 'a bug'"


@pytest.mark.parametrize(
    ("junk", "reason"),
    [
        (None, "it is None"),
        ("text", "it is 'text'"),
        (torch.rand(3, 4), None),  # a grey picture
        (torch.rand(2, 3, 4, 4), "it holds 2 pictures; one"),
        (torch.randn(3, 9, 9) * 3, "Pass the photograph itself, or normalised=True"),
        (torch.full((3, 4, 4), torch.nan), "reaches from nan to nan"),
        (torch.zeros(3, 0, 4), "it must hold pixels"),
        (torch.zeros(5, 9, 9), "with 1 or 3 channels, got float32 (5, 9, 9)"),
        ({"words": 1}, "it has"),
        ((), "it is None"),
        (torch.zeros(3, 2, 900), "too long"),
    ],
)
def test_junk_is_refused_with_a_reason(junk: Any, reason: str | None) -> None:
    (batch,) = open_data([junk, torch.rand(3, 9, 9)]).batches(FIT, 5)
    if reason is None:
        assert batch.indices == (0, 1)
    else:
        assert batch.indices == (1,)
        assert reason in batch.refused[0].reason


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (7, "a folder, a list or a Dataset"),
        ("nowhere", "is not there"),
        ((x for x in [1]), "can be read once alone"),
        ([], "is empty"),
        (torch.rand(3, 4, 4), r"pictures \(n, c, h, w\) are needed"),
        (DataLoader(TensorDataset(torch.rand(2, 3, 4, 4)), sampler=WeightedRandomSampler([1, 1], 2)), r"loader\.dataset"),
        ({"a": 1}, "a folder, a list or a Dataset"),
    ],
)
def test_what_is_no_data_is_refused(data: Any, words: str) -> None:
    with pytest.raises(RequestError, match=words):
        open_data(data)


def test_a_shard_that_is_none_is_refused() -> None:
    with pytest.raises(RequestError, match="shard is 3; 0 to 2 is needed"):
        list(open_data([1]).batches(FIT, 1, shard=(3, 3)))


def test_reading_in_threads_leaves_the_filters_of_warnings(photos: Path) -> None:
    before = list(warnings.filters)
    for _ in range(5):
        list(open_data(photos).batches(FIT, 3))
    assert list(warnings.filters) == before


def test_a_warning_that_is_an_error_does_not_lose_a_picture(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pillow warns of a picture that it can read; the user's filters make errors of warnings."""
    Image.fromarray(levels(3)).save(tmp_path / "a.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 60)
    assert told(list(open_data(tmp_path).batches(FIT, 3)))[0] == [0]


def test_originals_are_read_at_full_resolution(photos: Path) -> None:
    data = open_data(photos)
    assert {index: tuple(picture.shape) for index, picture in data.pictures([4, 0, 4])} == {0: (1, 3, 9, 12), 4: (1, 3, 9, 12)}
    with pytest.raises(PictureError, match="is not a picture"):
        data.picture(5)
    with pytest.raises(PictureError, match="has no item 99"):
        data.picture(99)


def dim(folder: Path, count: int) -> Path:
    """Pictures of 12 bits in 16."""
    folder.mkdir()
    for i in range(count):
        Image.fromarray((np.arange(64).reshape(8, 8) * 65).astype(np.uint16)).save(folder / f"{i}.png")
    return folder


def test_range_says_what_is_white_in_deep_pictures(tmp_path: Path) -> None:
    place = dim(tmp_path / "deep", 2)
    images = [np.array(Image.open(path)) for path in sorted(place.iterdir())]
    wanted = torch.from_numpy(images[0].astype(np.float32) / 4095)
    for data in (str(place), sorted(place.iterdir()), images, [Image.open(path) for path in sorted(place.iterdir())]):
        (batch,) = open_data(data, range=(0, 4095)).batches(lambda picture: picture, 2)
        assert (batch.refused, batch.notes) == ((), ())
        torch.testing.assert_close(batch.pictures[0, 0], wanted)


def test_range_is_part_of_what_the_data_are(tmp_path: Path) -> None:
    place = dim(tmp_path / "deep", 1)
    assert open_data(place).identity != open_data(place, range=(0, 4095)).identity


def test_dim_pictures_are_told_once(tmp_path: Path) -> None:
    net = ph.load("demo:standard")
    (note,) = [n for n in ph.examples(net, dim(tmp_path / "deep", 3), "channel:stage3.0:0").notes if "tenth" in n]
    assert "range=(0, 4095)" in note
    assert note.endswith("(2 more pictures likewise)")


def test_a_range_beside_data_that_are_open_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match="range must be given where data is opened"):
        open_data(open_data(dim(tmp_path / "deep", 1)), range=(0, 4095))


def test_whole_numbers_without_a_range_are_refused_with_the_way_out() -> None:
    (batch,) = open_data([torch.ones(3, 8, 8, dtype=torch.int64)]).batches(lambda picture: picture, 1)
    assert "is torch.int64, whose white can be 1, 255 or the largest number" in batch.refused[0].reason
