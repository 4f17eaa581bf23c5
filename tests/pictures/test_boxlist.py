"""Tables of boxes that are too large."""

from __future__ import annotations

from pathlib import Path

import pytest

from phosphene.errors import RequestError
from phosphene.pictures import boxlist


def test_a_table_that_is_too_large_is_refused_unread(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(boxlist, "LARGEST_BYTES", 1 << 20)
    (tmp_path / "boxes.csv").write_bytes(b"," * ((1 << 20) + 1))
    with pytest.raises(RequestError, match=r"boxes.csv' has over 1 MiB"):
        boxlist.read_boxes(tmp_path / "boxes.csv", tmp_path)
