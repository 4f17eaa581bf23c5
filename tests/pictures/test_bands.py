"""Pictures of many bands and of other scales: .npy, TIFF, `range=` and `channels=`."""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import phosphene as ph
from phosphene.errors import PhospheneError, PictureError
from phosphene.pictures.reading import decode

BANDS = np.arange(6 * 7 * 9, dtype=np.uint8).reshape(6, 7, 9) % 251


def saved(path: Path, array: np.ndarray) -> Path:
    np.save(path, array, allow_pickle=True)
    return path


def packed_by_pillow(strip: bytes, how: str) -> bytes:
    """A strip in a compression of TIFF, out of a grey picture of its bytes."""
    file = io.BytesIO()
    Image.fromarray(np.frombuffer(strip, np.uint8)[None]).save(file, "TIFF", compression=how)
    image: Any = Image.open(file)
    tags = image.tag_v2
    return file.getvalue()[tags[273][0] :][: tags[279][0]]


def tiff(
    array: np.ndarray,
    *,
    deflated: bool = False,
    planar: bool = False,
    rows: int = 3,
    order: Any = "<",
    pillow: tuple[int, str] | None = None,
    predictor: int = 1,
    tile: int = 0,
) -> bytes:
    """A TIFF of bands (c, h, w), as other programs write it, in strips of rows or in square tiles."""
    c, h, w = array.shape
    kind = {"u": 1, "i": 2, "f": 3}[array.dtype.kind]
    array = array.astype(array.dtype.newbyteorder(order))
    blocks = [array[k : k + 1, top : top + rows] for k in range(c) for top in range(0, h, rows)] if planar else None
    if tile:
        whole = np.pad(array, ((0, 0), (0, -h % tile), (0, -w % tile)))
        blocks = [whole[:, y : y + tile, x : x + tile] for y in range(0, h, tile) for x in range(0, w, tile)]
    blocks = blocks or [array[:, top : top + rows] for top in range(0, h, rows)]
    blocks = [np.ascontiguousarray(block.transpose(1, 2, 0)) for block in blocks]
    if predictor == 2:
        blocks = [np.diff(block, axis=1, prepend=np.zeros_like(block[:, :1])) for block in blocks]
    if predictor == 3:  # bytes of the row in planes, the most significant first, then their differences
        planes = [b.astype(">f4").view(np.uint8).reshape(len(b), -1, 4).swapaxes(1, 2).reshape(len(b), -1, c) for b in blocks]
        blocks = [np.diff(p, axis=1, prepend=np.zeros_like(p[:, :1])) for p in planes]
    strips = [block.tobytes() for block in blocks]
    strips = [packed_by_pillow(strip, pillow[1]) for strip in strips] if pillow else strips
    strips = [zlib.compress(strip) for strip in strips] if deflated else strips
    compression = pillow[0] if pillow else 8 if deflated else 1
    tags = [(256, [w]), (257, [h]), (258, [array.itemsize * 8] * c), (259, [compression]), (262, [1])]
    tags += [
        (273, []),
        (277, [c]),
        (278, [rows]),
        (279, [len(s) for s in strips]),
        (284, [2 if planar else 1]),
        (317, [predictor]),
        (339, [kind] * c),
    ]
    if tile:
        numbers = {273: 324, 278: 323, 279: 325}
        tags = sorted([(numbers.get(tag, tag), [tile] if tag == 278 else values) for tag, values in tags] + [(322, [tile])])
    start = 8 + 2 + 12 * len(tags) + 4
    extra, offset, places = b"", start, []
    total = sum(4 * max(len(v), len(strips) if t in (273, 324) else 0) for t, v in tags)
    at = start + total
    for strip in strips:
        places.append(at)
        at += len(strip)
    entries = b""
    for tag, values in tags:
        values = places if tag in (273, 324) else values
        packed = struct.pack(f"{order}{len(values)}I", *values)
        if len(values) == 1:
            entries += struct.pack(f"{order}HHI", tag, 4, 1) + packed
        else:
            entries += struct.pack(f"{order}HHII", tag, 4, len(values), offset + len(extra))
            extra += packed
    head = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(f"{order}IH", 8, len(tags))
    return head + entries + struct.pack(f"{order}I", 0) + extra.ljust(total, b"\0") + b"".join(strips)


@pytest.mark.parametrize("last", [False, True])
@pytest.mark.parametrize(
    ("kind", "scale"), [("uint8", 255), ("uint16", 65535), ("float32", 1), (">f8", 1), ("float16", 1), ("bool", 1)]
)
@pytest.mark.filterwarnings("ignore:picture")
def test_an_array_is_read_band_by_band(tmp_path: Path, kind: str, scale: float, last: bool) -> None:
    array = (BANDS / 255).astype(kind) if scale == 1 else BANDS.astype(kind)
    picture = ph.read(saved(tmp_path / "a.npy", array.transpose(1, 2, 0) if last else array))
    torch.testing.assert_close(picture[0], torch.from_numpy((array / scale).astype(np.float32)), atol=1e-6, rtol=0)


@pytest.mark.parametrize(
    ("array", "words"),
    [
        (np.array([{}], dtype=object), "Python objects"),
        (np.ones((4, 4), complex), "complex128; whole or real numbers"),
        (np.ones((5, 5, 5)), r"may be \(c, h, w\) or \(h, w, c\)"),
        (np.ones(4), r"is \(4,\); \(h, w\)"),
        (np.ones((0, 4)), "is .*0"),
        (np.full((4, 4), 2.0), r"leaves \[0, 1\]: its values reach from 2 to 2"),
        (np.full((4, 4), np.nan), "NaN"),
        (np.full((4, 4), -1, np.int16), r"leaves \[0, 65535\]"),
    ],
)
def test_an_array_that_is_no_picture_is_refused(tmp_path: Path, array: np.ndarray, words: str) -> None:
    with pytest.raises(PictureError, match=words):
        ph.read(saved(tmp_path / "a.npy", array))


def test_channels_tell_which_axis_they_are(tmp_path: Path) -> None:
    cube = np.random.default_rng(0).random((9, 9, 5), dtype=np.float32)
    assert ph.read(saved(tmp_path / "a.npy", cube), channels=5).shape == (1, 5, 9, 9)
    with pytest.raises(PictureError, match="7 channels, first or last, are needed"):
        ph.read(saved(tmp_path / "b.npy", np.ones((5, 5, 5))), channels=7)


def test_an_array_that_claims_too_much_is_refused_unread(tmp_path: Path) -> None:
    stream = io.BytesIO()
    np.lib.format.write_array_header_1_0(stream, {"descr": "|u1", "fortran_order": False, "shape": (100_000, 100_000)})
    (tmp_path / "a.npy").write_bytes(stream.getvalue())
    with pytest.raises(PictureError, match="cannot be read"):
        ph.read(tmp_path / "a.npy")


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("planar", [False, True])
@pytest.mark.parametrize("deflated", [False, True])
@pytest.mark.parametrize("kind", ["u1", "u2", "f4"])
@pytest.mark.filterwarnings("ignore:picture")
def test_every_band_of_a_tiff_is_read(tmp_path: Path, kind: str, deflated: bool, planar: bool, order: str) -> None:
    array = (BANDS / 255).astype(kind) if kind == "f4" else BANDS.astype(kind)
    (tmp_path / "a.tif").write_bytes(tiff(array, deflated=deflated, planar=planar, order=order))
    scale = {"u1": 255, "u2": 65535, "f4": 1}[kind]
    assert torch.allclose(ph.read(tmp_path / "a.tif")[0], torch.from_numpy((array / scale).astype(np.float32)), atol=1e-6)


def test_a_damaged_tiff_of_many_bands_is_a_picture_or_an_error_of_ours(tmp_path: Path) -> None:
    whole = tiff(BANDS, deflated=True)
    for place in range(0, len(whole), 3):
        for byte in (0, 255):
            (tmp_path / "a.tif").write_bytes(whole[:place] + bytes([byte]) + whole[place + 1 :])
            try:
                assert ph.read(tmp_path / "a.tif").ndim == 4
            except PhospheneError:
                pass


def test_four_bands_are_taken_as_they_stand_where_four_are_wanted(tmp_path: Path) -> None:
    bands = np.random.default_rng(0).integers(0, 255, (5, 6, 4), dtype=np.uint8)
    Image.fromarray(bands, "RGBA").save(tmp_path / "a.tif")
    assert torch.equal(ph.read(tmp_path / "a.tif", channels=4)[0], torch.from_numpy(bands).permute(2, 0, 1) / 255)
    with pytest.raises(PictureError, match="has 3 channels; 5 are needed"):
        ph.read(tmp_path / "a.tif", channels=5)


def test_a_deep_picture_in_the_dark_is_told_and_can_be_scaled(tmp_path: Path) -> None:
    deep = np.array([[0, 1000, 4095]], np.uint16)
    Image.fromarray(deep).save(tmp_path / "a.png")
    with pytest.warns(UserWarning, match=r"less than a tenth of its range \(0 to 4095 of 65535\).*range=\(0, 4095\)"):
        ph.read(tmp_path / "a.png")
    assert torch.equal(ph.read(tmp_path / "a.png", range=(0, 4095))[0, 0], torch.tensor([[0, 1000, 4095]]) / 4095)
    with pytest.raises(PictureError, match=r"leaves \[0, 1000\]"):
        ph.read(tmp_path / "a.png", range=(0, 1000))


@pytest.mark.parametrize("wrong", [5, (1, 0), (0,), "0,1", (0, float("nan"))])
def test_a_range_is_two_numbers(tmp_path: Path, wrong: object) -> None:
    with pytest.raises(PhospheneError, match="range"):
        ph.read(saved(tmp_path / "a.npy", np.ones((2, 2))), range=wrong)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("content", "kind"), [(b"\0\0\0\x18ftypheic", "HEIC"), (b"\0" * 128 + b"DICM", "DICOM"), (b"8BPS", "Photoshop")]
)
def test_formats_that_cannot_be_read_are_named(tmp_path: Path, content: bytes, kind: str) -> None:
    (tmp_path / "a.jpg").write_bytes(content)
    with pytest.raises(PictureError, match=f"is not a picture that can be read: it is {kind}; convert it to PNG"):
        ph.read(tmp_path / "a.jpg")


@pytest.mark.parametrize("pillow", [(5, "tiff_lzw"), (32773, "packbits")])
@pytest.mark.parametrize(("kind", "predictor"), [("uint8", 1), ("uint8", 2), ("uint16", 2), ("float32", 1), ("float32", 3)])
@pytest.mark.filterwarnings("ignore:picture")
def test_bands_that_libtiff_packed_are_read(tmp_path: Path, pillow: tuple[int, str], kind: str, predictor: int) -> None:
    array = (BANDS / 255).astype(kind) if kind == "float32" else BANDS.astype(kind)
    (tmp_path / "a.tif").write_bytes(tiff(array, pillow=pillow, predictor=predictor))
    scale = {"uint8": 255, "uint16": 65535, "float32": 1}[kind]
    wanted = torch.from_numpy((array / scale).astype(np.float32))
    torch.testing.assert_close(ph.read(tmp_path / "a.tif")[0], wanted, atol=1e-6, rtol=0)


def test_damaged_lzw_is_refused(tmp_path: Path) -> None:
    whole = tiff(BANDS, pillow=(5, "tiff_lzw"), rows=7)
    (tmp_path / "a.tif").write_bytes(whole[:-60] + b"\xff" * 60)
    with pytest.raises(PictureError, match="cannot be read"):
        ph.read(tmp_path / "a.tif")


@pytest.mark.parametrize("tags", [{"pillow": (5, "tiff_lzw"), "predictor": 7}])
def test_other_predictors_are_named(tmp_path: Path, tags: dict[str, Any]) -> None:
    (tmp_path / "a.tif").write_bytes(tiff(BANDS, **tags))
    with pytest.raises(PictureError, match="predictor 7; none, 2 of whole numbers or 3 of real ones is needed"):
        ph.read(tmp_path / "a.tif")


@pytest.mark.parametrize("kind", ["npy", "tif"])
def test_bands_of_a_stream_are_those_of_a_file(tmp_path: Path, kind: str) -> None:
    path = tmp_path / f"a.{kind}"
    if kind == "npy":
        np.save(path, BANDS)
    else:
        path.write_bytes(tiff(BANDS))
    assert decode(io.BytesIO(path.read_bytes()), "a").equal(ph.read(path))


@pytest.mark.parametrize("tile", [2, 4, 16])
def test_tiles_are_cut_at_the_border(tmp_path: Path, tile: int) -> None:
    (tmp_path / "a.tif").write_bytes(tiff(BANDS, tile=tile))
    assert torch.equal(ph.read(tmp_path / "a.tif")[0], torch.from_numpy(BANDS) / 255)
