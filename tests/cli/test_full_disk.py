"""A disk that is full: one sentence, status 1, and no half of a file. A limit on files' sizes fails at the same calls."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image

from .conftest import Phosphene

resource = pytest.importorskip("resource")


@pytest.fixture
def full(tmp_path: Path) -> Iterator[None]:
    for i in range(2):
        Image.effect_noise((40, 40), 20 * (i + 1)).convert("RGB").save(tmp_path / f"{i}.png")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1500, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.usefixtures("full")
@pytest.mark.parametrize(
    "line",
    [
        "class-model -m demo:standard -c cat --steps 1 -o out",
        "explain -m demo:standard 0.png -o out",
        "examples -m demo:standard . --layer stage3.0 -o out",
        "statistics . -o out.safetensors",
        "tune -m demo:standard -c cat --trials 1 -o out",
    ],
)
def test_a_full_disk_is_status_1_in_one_sentence(phosphene: Phosphene, line: str) -> None:
    ran = phosphene(*line.split())
    assert ran.status == 1
    last = ran.err.splitlines()[-1]
    assert last.startswith("phosphene: ")
    assert last.endswith((": File too large", ": disk is full", ": disk I/O error"))
    written = [file for file in Path().rglob("*") if file.is_file() and file.suffix not in (".png", ".db")]
    assert {file.name for file in written} <= {"run.json"}
    assert all(json.loads(file.read_text())["items"] == [] for file in written)
