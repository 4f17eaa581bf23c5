"""Writing whole files, and PNGs that carry a Record."""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as some
from PIL import Image, ImageChops
from PIL.PngImagePlugin import PngInfo

from phosphene.errors import FolderError, RecordError
from phosphene.pictures import files, reading
from tests.pictures.test_reading import header

IMAGE = Image.fromarray(np.arange(36, dtype=np.uint8).reshape(3, 4, 3))
here = settings(max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture])


def with_text(path: Path, text: str, *, keyword: str = files.CHUNK) -> Path:
    info = PngInfo()
    info.add_itxt(keyword, text)
    IMAGE.save(path, pnginfo=info)
    return path


@here
@given(some.text(some.characters(exclude_categories=["Cs"], exclude_characters="\0")))
def test_a_png_gives_back_its_pixels_and_its_record(tmp_path: Path, record: str) -> None:
    image, read = files.read_png(files.write_png(tmp_path / "a.png", IMAGE, record))
    assert read == record
    assert ImageChops.difference(image, IMAGE).getbbox() is None


def test_a_png_without_a_record_says_so(tmp_path: Path) -> None:
    with pytest.raises(RecordError, match=r"^picture .* carries no record; a PNG that Phosphene wrote is needed$"):
        files.read_png(files.write_png(tmp_path / "a.png", IMAGE))


def test_another_programs_text_is_no_record(tmp_path: Path) -> None:
    with pytest.raises(RecordError, match="carries no record"):
        files.read_png(with_text(tmp_path / "a.png", "{}", keyword="Comment"))


def test_a_record_too_long_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "LARGEST_RECORD", 10)
    with pytest.raises(RecordError, match="carries no record"):
        files.read_png(with_text(tmp_path / "a.png", "x" * 11))


def test_a_text_that_unpacks_to_very_much_is_refused(tmp_path: Path) -> None:
    files.write_png(tmp_path / "a.png", IMAGE, "0" * (100 << 20))
    assert (tmp_path / "a.png").stat().st_size < 1 << 20
    with pytest.raises(RecordError, match=r"carries no record|cannot be read"):
        files.read_png(tmp_path / "a.png")


@pytest.mark.parametrize("content", [b"", b"words", b"\xff\xd8\xff\xe0"])
def test_what_is_no_png_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.png").write_bytes(content)
    with pytest.raises(RecordError, match=r"^'.* is not a PNG; one that Phosphene wrote is needed$"):
        files.read_png(tmp_path / "a.png")


def test_a_jpeg_with_the_suffix_of_a_png_is_refused(tmp_path: Path) -> None:
    IMAGE.save(tmp_path / "a.png", "JPEG")
    with pytest.raises(RecordError, match="is not a PNG"):
        files.read_png(tmp_path / "a.png")


def test_a_png_that_is_not_there_is_said_once() -> None:
    with pytest.raises(RecordError, match=r"^picture 'none\.png' is not there; a PNG that Phosphene wrote is needed$"):
        files.read_png("none.png")


def test_a_truncated_png_is_refused(tmp_path: Path) -> None:
    whole = with_text(tmp_path / "a.png", "{}").read_bytes()
    (tmp_path / "a.png").write_bytes(whole[:-30])
    with pytest.raises(RecordError, match="cannot be read"):
        files.read_png(tmp_path / "a.png")


def test_a_png_of_too_many_pixels_is_refused_unread(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "LARGEST_PIXELS", 11)
    with pytest.raises(RecordError, match=r"^picture .* has over 11 pixels$"):
        files.read_png(with_text(tmp_path / "a.png", "{}"))


@pytest.mark.parametrize("side", [10_000, 30_000])
def test_a_png_that_claims_very_much_is_refused_without_a_warning(tmp_path: Path, side: int) -> None:
    (tmp_path / "a.png").write_bytes(header(side, side))
    with pytest.raises(RecordError, match="cannot be read"):
        files.read_png(tmp_path / "a.png")


def test_a_png_of_too_many_bytes_is_refused_unread(tmp_path: Path) -> None:
    with (tmp_path / "a.png").open("wb") as file:
        file.truncate(reading.LARGEST_BYTES + 1)  # a hole: it takes no room
    with pytest.raises(RecordError, match=r"^picture .* has over 512 MiB$"):
        files.read_png(tmp_path / "a.png")


@here
@given(some.lists(some.tuples(some.integers(0, 10_000), some.integers(0, 255)), min_size=1, max_size=6), some.integers(0, 40))
def test_a_damaged_png_is_read_or_refused(tmp_path: Path, damage: list[tuple[int, int]], cut: int) -> None:
    content = bytearray(with_text(tmp_path / "a.png", '{"a": 1}').read_bytes())
    for place, byte in damage:
        content[place % len(content)] = byte
    (tmp_path / "a.png").write_bytes(content[: len(content) - cut])
    with suppress(RecordError):
        image, record = files.read_png(tmp_path / "a.png")
        assert image.size
        assert isinstance(record, str)


@given(some.text() | some.text("./\\~-_ a\0\n") | some.text("𝐀漢é", min_size=60))
@example("../../etc/passwd")
@example("..")
@example("/")
@example("C:\\a")
@example("a" * 500)
@example("漢" * 200)
@example("𝐀" * 200)
def test_a_slug_is_a_plain_file_name(text: str) -> None:
    name = files.slug(text)
    assert Path(name).name == name
    assert not set(name) & set('/\\:*?"<>| \0\n')
    assert not name.startswith((".", "-", "_"))
    assert len(f"{name}-999.apng".encode()) <= 255  # what file systems take


@given(some.text())
def test_a_slug_is_its_own_slug(text: str) -> None:
    assert files.slug(files.slug(text)) == files.slug(text)


@here
@given(name=some.text(some.characters(exclude_categories=["Cs"])))
def test_a_slug_can_be_written_inside_the_folder(tmp_path: Path, name: str) -> None:
    path = files.write_text(tmp_path / f"{files.slug(name)}.txt", name)
    assert path.resolve().parent == tmp_path.resolve()


def test_a_write_that_fails_leaves_what_was_there(tmp_path: Path) -> None:
    files.write_text(tmp_path / "a.txt", "old")

    def half(beside: Path) -> None:
        beside.write_text("ne")
        raise OSError(28, "No space left on device")

    with pytest.raises(FolderError, match=r"cannot be written: No space left on device$"):
        files.write_whole(tmp_path / "a.txt", half)
    assert [path.name for path in tmp_path.iterdir()] == ["a.txt"]
    assert (tmp_path / "a.txt").read_text() == "old"


def test_a_bug_while_writing_leaves_no_half_file_either(tmp_path: Path) -> None:
    def half(beside: Path) -> None:
        beside.write_text("ne")
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        files.write_whole(tmp_path / "a.txt", half)
    assert not list(tmp_path.iterdir())


def test_a_file_is_replaced_whole(tmp_path: Path) -> None:
    for text in ("one", "zwei: ü"):
        files.write_text(tmp_path / "a.txt", text)
    assert (tmp_path / "a.txt").read_text("utf-8") == "zwei: ü"


def test_json_with_a_lone_surrogate_is_written_as_json(tmp_path: Path) -> None:
    said = {"picture": "\udcff.png"}  # a file name that is no UTF-8, as Python holds it
    path = files.write_text(tmp_path / "run.json", json.dumps(said, ensure_ascii=False))
    assert json.loads(path.read_text("utf-8")) == said


def test_a_file_cannot_take_the_place_of_a_folder(tmp_path: Path) -> None:
    (tmp_path / "a.txt").mkdir()
    with pytest.raises(FolderError, match="cannot be written: Is a directory"):
        files.write_text(tmp_path / "a.txt", "")
    assert [path.name for path in tmp_path.iterdir()] == ["a.txt"]


def test_a_folder_is_made_with_its_parents_and_left_empty(tmp_path: Path) -> None:
    assert files.folder(tmp_path / "a" / "b").is_dir()
    assert not list((tmp_path / "a" / "b").iterdir())
    assert files.folder(str(tmp_path / "a")) == tmp_path / "a"


@pytest.mark.parametrize("below", ["file", "file/deeper", "file/a/b", "n" * 400, "nul\0"])
def test_a_folder_that_cannot_be_is_refused(tmp_path: Path, below: str) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(FolderError, match="cannot be written: "):
        files.folder(tmp_path / below)


@pytest.mark.parametrize("name", ["file/a.txt", "none/a.txt", "n" * 400])
def test_a_file_that_cannot_be_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(FolderError, match="cannot be written: "):
        files.write_text(tmp_path / name, "")
