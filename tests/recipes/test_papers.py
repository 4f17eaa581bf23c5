"""Settings that a paper gives in numbers."""

from __future__ import annotations

import pytest

from phosphene.recipes import yosinski2015
from phosphene.rendering.projections import Projection, blur, clip_contribution, clip_norm, decay

# Yosinski et al. 2015, table 1: decay, blur's width and every, percentile of norm, percentile of contribution.
TABLE = {
    "a": (blur(0.5, every=4), clip_norm(50)),
    "b": (decay(0.3), clip_norm(20)),
    "c": (decay(0.0001), blur(1.0, every=4)),
    "d": (blur(0.5, every=4), clip_contribution(90)),
}


@pytest.mark.parametrize(("letter", "projections"), TABLE.items())
def test_at_the_size_of_the_paper_s_network_the_projections_are_those_of_its_table(
    letter: str, projections: tuple[Projection, ...]
) -> None:
    assert getattr(yosinski2015, letter)((3, 227, 227)).projections == projections
