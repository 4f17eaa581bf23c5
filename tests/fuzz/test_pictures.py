"""Picture files of anyone's: a picture in [0, 1] or a PhospheneError, and nothing on standard error."""

from __future__ import annotations

import io
import random
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image, features

import phosphene as ph
from phosphene import read
from phosphene.errors import PictureError
from phosphene.pictures import files

from .damage import damaged
from .held import held

COLOUR = Image.merge("RGB", [Image.effect_noise((24, 20), 40 * (i + 1)) for i in range(3)])


def saved(image: Image.Image, kind: str, **options: Any) -> bytes:
    memory = io.BytesIO()
    image.save(memory, kind, **options)
    return memory.getvalue()


def array(values: np.ndarray[Any, Any]) -> bytes:
    memory = io.BytesIO()
    np.save(memory, values)
    return memory.getvalue()


def seeds() -> list[bytes]:
    found = [
        saved(COLOUR, "PNG"),
        saved(COLOUR.convert("P"), "PNG", transparency=3),
        saved(Image.fromarray(np.arange(480, dtype=np.uint16).reshape(20, 24) * 100), "PNG"),
        saved(COLOUR, "JPEG", quality=80, exif=b"Exif\0\0II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x06\0\0\0\0\0\0\0"),
        saved(COLOUR, "JPEG", progressive=True),
        saved(COLOUR, "TIFF"),
        saved(Image.fromarray(np.linspace(0, 1, 480, dtype=np.float32).reshape(20, 24)), "TIFF"),
        saved(COLOUR, "GIF", save_all=True, append_images=[COLOUR.rotate(90)]),
        saved(COLOUR, "BMP"),
        saved(COLOUR, "PPM"),
        array(np.linspace(0, 1, 5 * 6 * 7).reshape(5, 6, 7)),
        array(np.arange(60, dtype=np.uint16).reshape(3, 4, 5)),
    ]
    if features.check("libtiff"):
        found += [saved(COLOUR, "TIFF", compression=kind) for kind in ("tiff_lzw", "tiff_adobe_deflate", "packbits", "jpeg")]
        found.append(saved(COLOUR.convert("1"), "TIFF", compression="group4"))
    found += [saved(COLOUR, "WEBP")] if features.check("webp") else []
    found += [saved(COLOUR, "JPEG2000")] if features.check("jpg_2000") else []
    return found


@pytest.mark.filterwarnings("ignore:picture .* is nearly black")
@pytest.mark.parametrize("count", [300, pytest.param(12_000, marks=pytest.mark.slow)])
def test_pictures(tmp_path: Path, capfd: pytest.CaptureFixture[str], count: int) -> None:
    draw, whole, file = random.Random(36), seeds(), tmp_path / "picture"
    pictures = 0
    for i in range(count):
        file.write_bytes(damaged(whole[i % len(whole)], draw))
        found = held(partial(read, file, channels=draw.choice((None, None, 3, 5))))
        if isinstance(found, torch.Tensor):
            pictures += 1
            assert found.ndim == 4
            assert float(found.min()) >= 0
            assert float(found.max()) <= 1  # no NaN either
        else:
            assert isinstance(found, PictureError)
    assert 0 < pictures < count
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("count", [150, pytest.param(6000, marks=pytest.mark.slow)])
def test_directions_in_files(tmp_path: Path, count: int) -> None:
    draw, file = random.Random(44), tmp_path / "v.npy"
    whole = [array(np.linspace(0, 1, 8)), array(np.arange(8, dtype=object))]
    np.savez(tmp_path / "v.npz", np.ones(8))
    whole.append((tmp_path / "v.npz").read_bytes())
    for i in range(count):
        file.write_bytes(damaged(whole[i % 3], draw))
        held(partial(ph.direction, "layer", str(file)))


@pytest.mark.parametrize("count", [100, pytest.param(4000, marks=pytest.mark.slow)])
def test_records_in_pictures(tmp_path: Path, count: int) -> None:
    draw, file = random.Random(37), tmp_path / "picture.png"
    whole = files.write_png(file, COLOUR, '{"verb": "render"}' * 9).read_bytes()
    for _ in range(count):
        file.write_bytes(damaged(whole, draw))
        held(partial(files.read_png, file))
