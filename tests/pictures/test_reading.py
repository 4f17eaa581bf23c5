"""`read`: pictures of every kind, and what only looks like one."""

from __future__ import annotations

import struct
import zlib
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as some
from PIL import Image, features

import phosphene as ph
from phosphene.errors import PictureError
from phosphene.pictures import reading

GREY = np.arange(12, dtype=np.uint8).reshape(3, 4) * 20
RGB = np.stack([GREY, 255 - GREY, GREY[::-1]], 2)


def kept(path: Path, array: np.ndarray, mode: str | None = None, **options: Any) -> Path:
    Image.fromarray(array).convert(mode).save(path, **options)
    return path


def header(width: int, height: int) -> bytes:
    """A PNG that claims a size and holds nothing of it."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    claimed = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", claimed) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


def test_a_png_is_read_number_for_number(tmp_path: Path) -> None:
    picture = ph.read(kept(tmp_path / "a.png", RGB))
    assert picture.dtype == torch.float32
    assert torch.equal(picture, torch.from_numpy(RGB).permute(2, 0, 1)[None] / 255)


def test_greyscale_has_one_channel(tmp_path: Path) -> None:
    assert torch.equal(ph.read(str(kept(tmp_path / "a.png", GREY))), torch.from_numpy(GREY)[None, None] / 255)


def test_a_jpeg_is_read_up_to_its_losses(tmp_path: Path) -> None:
    path = kept(tmp_path / "a.jpg", np.full((16, 24, 3), (200, 100, 50), dtype=np.uint8), quality=95)
    picture = ph.read(path)
    assert picture.shape == (1, 3, 16, 24)
    torch.testing.assert_close(picture.mean((0, 2, 3)) * 255, torch.tensor([200.0, 100.0, 50.0]), atol=3, rtol=0)


def test_a_cmyk_jpeg_becomes_rgb(tmp_path: Path) -> None:
    picture = ph.read(kept(tmp_path / "a.jpg", np.full((16, 16, 3), 200, dtype=np.uint8), "CMYK"))
    assert picture.shape == (1, 3, 16, 16)
    torch.testing.assert_close(picture * 255, torch.full((1, 3, 16, 16), 200.0), atol=4, rtol=0)


def test_transparency_is_laid_over_white(tmp_path: Path) -> None:
    clear = np.zeros((2, 2, 4), dtype=np.uint8)
    clear[0, 0] = (255, 0, 0, 255)
    picture = ph.read(kept(tmp_path / "a.png", clear))
    assert picture.shape == (1, 3, 2, 2)
    assert picture[0, :, 0, 0].tolist() == [1, 0, 0]
    assert picture[0, :, 1, 1].tolist() == [1, 1, 1]


def test_grey_with_transparency_stays_grey(tmp_path: Path) -> None:
    picture = ph.read(kept(tmp_path / "a.png", np.array([[[100, 255], [0, 0]]], dtype=np.uint8)))
    assert (picture * 255).round().tolist() == [[[[100, 255]]]]


def test_a_transparent_colour_of_a_palette_is_white(tmp_path: Path) -> None:
    image = Image.new("P", (2, 1))
    image.putpalette([10, 20, 30, 40, 50, 60])
    image.putpixel((1, 0), 1)
    image.save(tmp_path / "a.png", transparency=1)
    assert (ph.read(tmp_path / "a.png")[0] * 255).round().permute(1, 2, 0).tolist() == [[[10, 20, 30], [255, 255, 255]]]


def test_a_palette_becomes_its_colours(tmp_path: Path) -> None:
    image = Image.new("P", (2, 1))
    image.putpalette([10, 20, 30, 40, 50, 60])
    image.putpixel((1, 0), 1)
    image.save(tmp_path / "a.png")
    assert (ph.read(tmp_path / "a.png")[0] * 255).round().permute(1, 2, 0).tolist() == [[[10, 20, 30], [40, 50, 60]]]


def test_one_bit_is_black_and_white(tmp_path: Path) -> None:
    assert ph.read(kept(tmp_path / "a.png", np.array([[True, False]]))).tolist() == [[[[1.0, 0.0]]]]


def test_sixteen_bits_keep_their_depth(tmp_path: Path) -> None:
    deep = np.array([[0, 1, 256, 65535]], dtype=np.uint16)
    assert torch.equal(ph.read(kept(tmp_path / "a.png", deep)), torch.tensor([[[[0, 1, 256, 65535]]]]) / 65535)


def test_real_numbers_are_taken_as_they_are(tmp_path: Path) -> None:
    real = np.array([[0, 0.25, 1]], dtype=np.float32)
    assert ph.read(kept(tmp_path / "a.tiff", real)).tolist() == [[[[0, 0.25, 1]]]]


@pytest.mark.parametrize("number", [-0.5, 1.5, np.nan, np.inf])
def test_real_numbers_outside_are_refused(tmp_path: Path, number: float) -> None:
    path = kept(tmp_path / "a.tiff", np.array([[0, number]], dtype=np.float32))
    with pytest.raises(PictureError, match=r"^picture .* of mode F leaves \[0, 1\]: "):
        ph.read(path)


def test_the_orientation_in_exif_is_obeyed(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # turned by a quarter: to be shown turned clockwise
    upright = ph.read(kept(tmp_path / "a.png", GREY))
    turned = ph.read(kept(tmp_path / "b.png", GREY, exif=exif))
    assert torch.equal(turned, upright.rot90(-1, (2, 3)))


def test_of_an_animation_the_first_frame_is_taken(tmp_path: Path) -> None:
    frames = [Image.new("RGB", (4, 3), colour) for colour in ("red", "lime", "blue")]
    frames[0].save(tmp_path / "a.gif", save_all=True, append_images=frames[1:])
    picture = ph.read(tmp_path / "a.gif")
    assert picture.shape == (1, 3, 3, 4)
    assert picture[0, :, 0, 0].tolist() == [1, 0, 0]


@pytest.mark.parametrize("content", [b"", b"just words\n", b"\x89PNG\r\n\x1a\n", b"\0" * 1000])
def test_what_is_no_picture_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.png").write_bytes(content)
    with pytest.raises(PictureError, match=r"^'.* is not a picture that can be read$"):
        ph.read(tmp_path / "a.png")


def test_what_is_not_there_is_said_once() -> None:
    with pytest.raises(PictureError, match=r"^picture 'none\.png' is not there; a file is needed$"):
        ph.read("none.png")


def test_a_folder_is_no_picture() -> None:
    with pytest.raises(PictureError, match=r"^picture 'tests' is a folder; a file is needed$"):
        ph.read("tests")


@pytest.mark.parametrize("name", ["n" * 400, "nul\0"])
def test_an_impossible_name_is_refused(name: str) -> None:
    with pytest.raises(PictureError, match=r"^picture '.* (is not there|cannot be read)"):
        ph.read(name)


def test_a_truncated_jpeg_is_refused(tmp_path: Path) -> None:
    whole = kept(tmp_path / "a.jpg", np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8))
    whole.write_bytes(whole.read_bytes()[:2000])
    with pytest.raises(PictureError, match=r"cannot be read: .*truncated"):
        ph.read(whole)


@pytest.mark.parametrize("side", [14_100, 30_000, 2**31 - 1])
def test_a_picture_that_claims_too_many_pixels_is_refused_unread(tmp_path: Path, side: int) -> None:
    (tmp_path / "a.png").write_bytes(header(side, side))
    with pytest.raises(PictureError, match=r"too large|pixels; up to"):
        ph.read(tmp_path / "a.png")


def test_a_picture_larger_than_ours_but_not_pillows_limit_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "LARGEST_PIXELS", 11)
    with pytest.raises(PictureError, match=r"has 4×3 pixels; up to 11 are read$"):
        ph.read(kept(tmp_path / "a.png", GREY))


def test_a_large_claim_within_the_limit_is_no_warning(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(header(10_000, 10_000))  # Pillow warns from 89 megapixels on; warnings are errors here
    with pytest.raises(PictureError, match="cannot be read"):
        ph.read(tmp_path / "a.png")


def test_a_file_of_too_many_bytes_is_refused_unread(tmp_path: Path) -> None:
    with (tmp_path / "a.png").open("wb") as file:
        file.truncate(reading.LARGEST_BYTES + 1)  # a hole: it takes no room
    with pytest.raises(PictureError, match=r"^picture '.* has over 512 MiB$"):
        ph.read(tmp_path / "a.png")


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    some.sampled_from(["png", "jpg", "gif", "webp", "tiff", "bmp"]),
    some.lists(some.tuples(some.integers(0, 10_000), some.integers(0, 255)), min_size=1, max_size=8),
    some.integers(0, 40),
)
def test_a_damaged_file_is_a_picture_or_an_error_of_ours(
    tmp_path: Path, kind: str, damage: list[tuple[int, int]], cut: int
) -> None:
    path = kept(tmp_path / f"a.{kind}", RGB)
    content = bytearray(path.read_bytes())
    for place, byte in damage:
        content[place % len(content)] = byte
    path.write_bytes(content[: len(content) - cut])
    with suppress(PictureError):
        picture = ph.read(path)
        assert picture.ndim == 4
        assert 0 <= picture.min() <= picture.max() <= 1


@pytest.mark.parametrize("kind", ["jpg", "avif"])
def test_any_byte_may_be_damaged(tmp_path: Path, kind: str) -> None:
    if kind == "avif" and not features.check("avif"):
        pytest.skip("this Pillow reads no AVIF")
    exif = Image.Exif()
    exif[0x0112], exif[0x010E] = 6, "a description"
    whole = kept(tmp_path / f"whole.{kind}", RGB, exif=exif).read_bytes()
    for place in range(len(whole)):
        for byte in (0, 255):
            (tmp_path / "a").write_bytes(whole[:place] + bytes([byte]) + whole[place + 1 :])
            with suppress(PictureError):
                assert ph.read(tmp_path / "a").ndim == 4
