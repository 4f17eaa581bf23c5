"""Damaged TIFFs are refused in a sentence, and libtiff writes nothing past Python."""

from __future__ import annotations

import random
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from PIL import Image, features

from phosphene import read
from phosphene.errors import PictureError
from phosphene.pictures.libtiff import heard
from phosphene.pictures.reading import quiet, read_file

pytestmark = pytest.mark.skipif(not features.check("libtiff"), reason="this Pillow has no libtiff")


@pytest.fixture
def damaged(tmp_path: Path) -> Path:
    """A fax whose lines libtiff reads wrongly without an exception."""
    Image.effect_noise((40, 40), 90).convert("1").save(tmp_path / "fax.tif", compression="group4")
    content = bytearray((tmp_path / "fax.tif").read_bytes())
    for at in random.Random(0).sample(range(20, 200), 12):
        content[at] ^= 0x55
    (tmp_path / "fax.tif").write_bytes(content)
    return tmp_path / "fax.tif"


def test_a_damaged_fax_is_refused_and_nothing_is_written(damaged: Path, capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(PictureError, match="is damaged: Fax4Decode of libtiff found errors"):
        read(damaged)
    assert capfd.readouterr().err == ""


def test_each_thread_hears_of_its_own_file(damaged: Path, tmp_path: Path) -> None:
    Image.effect_noise((40, 40), 90).convert("1").save(tmp_path / "whole.tif", compression="group4")

    def whole(i: int) -> bool:
        try:
            return read_file(damaged if i % 2 else tmp_path / "whole.tif").numel() == 1600
        except PictureError:
            return False

    with quiet(), ThreadPoolExecutor(4) as pool:
        assert list(pool.map(whole, range(40))) == [True, False] * 20


def test_afterwards_libtiff_speaks_as_before(damaged: Path, capfd: pytest.CaptureFixture[str]) -> None:
    with heard(), heard(), Image.open(damaged) as image:
        image.load()
    assert capfd.readouterr().err == ""
    with Image.open(damaged) as image:
        image.load()
    assert "Fax4Decode" in capfd.readouterr().err
