"""Results of several items are indexed, iterated over, arrays and drawn, all in one way."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import phosphene as ph
from tests.nets import network

NET = network("plain")
PHOTOS = torch.rand(3, 3, 12, 12, generator=torch.Generator().manual_seed(0))
MADE: dict[str, Callable[[], Any]] = {
    "Heatmap": lambda: ph.explain(NET, PHOTOS, [0, 1, 2], method="guided_backprop"),
    "Rendering": lambda: ph.render(NET, [0, 1, 2], steps=2, recipe="pixels"),
    "Located": lambda: ph.locate(ph.cam(NET, PHOTOS, [0, 1, 2]), "threshold"),
    "Examples": lambda: ph.examples(NET, PHOTOS, [0, 1, 2], top=2, bottom=1),
}


@pytest.mark.parametrize("kind", MADE)
def test_items_are_results_of_the_same_kind(kind: str) -> None:
    found = MADE[kind]()
    assert len(found) == len(list(found)) == 3
    assert [type(one) for one in found] == [type(found)] * 3
    for i in (0, 2, -1, np.int64(1)):
        assert np.array_equal(np.asarray(found[i])[0], np.asarray(found)[i], equal_nan=True)
    assert np.array_equal(np.asarray(found[1:]), np.asarray(found)[1:], equal_nan=True)
    assert found[1].title_of(0) == found.title_of(1)
    with pytest.raises(IndexError):
        found[3]
    with pytest.raises(ph.PhospheneError, match=f"{kind} must be indexed by a whole number or a slice, got 'a'"):
        found["a"]


@pytest.mark.parametrize("kind", MADE)
def test_the_array_is_a_copy_of_the_type_that_is_asked(kind: str) -> None:
    found = MADE[kind]()
    array = np.array(found)
    array[...] = 7
    assert not np.array_equal(np.asarray(found), array)
    assert np.asarray(found, dtype=np.float64).dtype == np.float64


@pytest.mark.parametrize("kind", MADE)
def test_matplotlib_draws_an_item(kind: str) -> None:
    pyplot = pytest.importorskip("matplotlib.pyplot")
    found, ax = MADE[kind](), pyplot.subplots()[1]
    assert found.plot(ax, item=1) is ax
    assert ax.get_title() == found.title_of(1).replace(" · ", "\n")
    assert np.array_equal(np.asarray(ax.images[0].get_array()), np.asarray(found.image(1)))
    pyplot.close("all")


@pytest.mark.parametrize("kind", MADE)
def test_it_saves_a_sheet_and_shows_itself(kind: str, tmp_path: Path) -> None:
    found = MADE[kind]()
    assert found.save(tmp_path / "out").name == "run.json"
    assert (tmp_path / "out" / "contact_sheet.png").is_file()
    assert found.sheet().width > 100
    assert "data:image/png;base64" in found._repr_html_()


def test_columns_are_what_pandas_takes() -> None:
    assert MADE["Heatmap"]().to_dict()["index"] == [0, 1, 2]
    assert MADE["Rendering"]().to_dict()["seed"] == [0, 0, 0]


def test_layers_and_trust_show_themselves_as_tables() -> None:
    layers = NET.layers()
    assert repr(layers).splitlines()[0].split() == ["address", "kind", "shape", "runs", "sees", "stride", "offset"]
    assert "<td" in layers._repr_html_()
    trust = ph.evaluation.trust(NET, PHOTOS[:1], 1, methods=["saliency"], stages=1, steps=2)
    assert repr(trust).splitlines()[0] == "trust, of 1 map a method"
    assert "random" in trust._repr_html_()


def test_an_error_in_a_notebook_is_the_users_line_and_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ph.PhospheneError) as caught:
        ph.explain(NET, PHOTOS, "no such class")
    line, sentence = caught.value._render_traceback_()
    assert line.endswith('ph.explain(NET, PHOTOS, "no such class")')
    assert sentence.startswith("UnknownNameError: no class or objective 'no such class'")
    monkeypatch.setenv("PHOSPHENE_DEBUG", "1")
    assert len(caught.value._render_traceback_()) > 10
