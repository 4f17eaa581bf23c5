"""Plots are pictures of the right size; of their looks a person judges."""

from __future__ import annotations

import io

import pytest
from bench.figure import Panel, drawn
from PIL import Image

pytest.importorskip("matplotlib")


def test_panels_stand_two_in_a_row() -> None:
    panel = Panel("Batch", "pictures", "a second", {"one": [(1, 2), (2, 3)]}, ("ideal", [(1, 2), (2, 4)]))
    one, three = (Image.open(io.BytesIO(drawn([panel] * count, "Curves"))) for count in (1, 3))
    assert one.width == three.width
    assert one.height < three.height
