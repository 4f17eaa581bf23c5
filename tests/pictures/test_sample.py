"""The picture in the package."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from examples.draw_sample import drawn

import phosphene as ph
from phosphene.pictures.colour import image_of


@pytest.mark.parametrize("name", ["demo:standard", "demo:robust"])
def test_the_bundled_networks_see_a_ship(name: str) -> None:
    net = ph.load(name)
    assert net.classes[int(net.scores(net.preprocess.fit(ph.sample())).argmax())] == "ship"


def test_it_is_what_its_script_draws() -> None:
    """Up to JPEG's rounding."""
    ours, again = (np.asarray(image, float) for image in (image_of(ph.sample()[0]), drawn()))
    assert np.abs(ours - again).mean() < 3


def test_each_call_gives_a_picture_of_its_own() -> None:
    ph.sample().zero_()
    assert ph.sample().mean() > 0.3


def test_its_name_stands_for_it_where_no_file_is_called_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert torch.equal(ph.read("sample"), ph.sample())
    (tmp_path / "sample").write_text("mine")
    with pytest.raises(ph.PhospheneError, match="sample"):
        ph.read("sample")
