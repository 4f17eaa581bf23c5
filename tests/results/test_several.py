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


@pytest.mark.parametrize(("kind", "rows"), [("Heatmap", 3), ("Rendering", 3), ("Located", 3), ("Examples", 6)])
def test_columns_are_what_pandas_takes(kind: str, rows: int) -> None:
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame(MADE[kind]().to_dict())
    assert len(frame) == rows
    assert set(frame["objective"]) == {"logit:0", "logit:1", "logit:2"}
    assert not any(isinstance(cell, dict) for cell in frame.to_numpy().flat)


SINGLE: dict[str, tuple[Callable[[], Any], Callable[[Any], torch.Tensor]]] = {
    "Filters": (lambda: ph.filters(NET), lambda found: found.values),
    "Activations": (lambda: ph.activations(NET, PHOTOS[:1], NET.layers()[0].address), lambda found: found.maps[0].values),
    "ChannelMaps": (lambda: ph.activations(NET, PHOTOS[:1], NET.layers()[0].address)[0], lambda found: found.values),
    "Dream": (lambda: ph.dream(NET, PHOTOS[:1], 0, steps=0, octaves=1), lambda found: found.picture),
}


@pytest.mark.parametrize("kind", SINGLE)
def test_results_of_one_thing_are_arrays_sheets_and_plots(kind: str) -> None:
    pyplot = pytest.importorskip("matplotlib.pyplot")
    make, numbers = SINGLE[kind]
    found, ax = make(), pyplot.subplots()[1]
    assert np.array_equal(np.asarray(found), numbers(found).numpy())
    assert found.sheet().width > 0
    assert found.plot(ax) is ax
    assert ax.images
    pyplot.close("all")


def test_no_copy_is_none_or_an_error() -> None:
    found = MADE["Heatmap"]()
    assert np.shares_memory(np.array(found, copy=False), found.values.numpy())
    with pytest.raises(ph.PhospheneError, match="copy=False needs the type that the numbers have, float32"):
        found.__array__(np.float64, copy=False)


def test_activations_are_iterated_by_layer_and_several_are_no_array() -> None:
    addresses = [layer.address for layer in NET.layers()[:2]]
    found = ph.activations(NET, PHOTOS[:1], addresses)
    assert [one.layer for one in found] == [found[0].layer, found[-1].layer] == addresses
    with pytest.raises(IndexError):
        found[2]
    with pytest.raises(ph.PhospheneError, match="maps of 2 layers are no one array"):
        np.asarray(found)


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
