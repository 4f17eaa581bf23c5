"""The map of features: where points stand, and the page, in a real browser where there is one."""

from __future__ import annotations

import html
import importlib.util
import io
import re
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import phosphene as ph
from phosphene.accumulate.feature_plane import feature_map, pca
from phosphene.errors import RequestError
from phosphene.results import feature_map as page_of
from phosphene.results.feature_map import FeatureMap
from phosphene.results.neighbours import within
from tests import nets
from tests.accumulate.test_feature_index import COUNT, labelled, pictures

pytestmark = pytest.mark.skipif(
    not all(map(importlib.util.find_spec, ("lancedb", "plotly"))), reason="no LanceDB or no Plotly: the extra examples"
)
BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome", "chrome"))), None)
EVIL = "<img src=x onerror=document.title='ran'>"
# A pointer comes over one point after the other once the page is drawn.
HOVER = """<script>
setTimeout(() => document.querySelectorAll('.point').forEach((point, nth) => setTimeout(() => {
  const {x, y, width: w} = point.getBoundingClientRect(), at = {clientX: x + w / 2, clientY: y + w / 2, bubbles: true};
  document.querySelector('.nsewdrag').dispatchEvent(new MouseEvent('mousemove', at));
}, 500 * nth)), 1000);
</script>"""


@pytest.fixture
def net() -> ph.Network:
    return nets.network("plain")


@pytest.fixture
def index(net: ph.Network, tmp_path: Path) -> ph.FeatureIndex:
    return ph.FeatureIndex.build(net, labelled(), tmp_path / "features.lance")


def thumbnail(side: int) -> bytes:
    memory = io.BytesIO()
    Image.effect_noise((side, side), 90).convert("RGB").save(memory, "JPEG", quality=95)
    return memory.getvalue()


def made(count: int, **changed: Any) -> FeatureMap:
    """A map of points on a line, of one name each."""
    ids = tuple(f"folder/{i}.png" for i in range(count))
    points = torch.arange(2.0 * count).view(count, 2)
    one = FeatureMap(points, ids, (None,) * count, ids, (thumbnail(64),) * count, "pca", (0.6, 0.3), "of a test", ())
    return replace(one, **changed)


def test_principal_components_are_those_of_the_singular_values() -> None:
    for n, d in ((40, 7), (7, 40)):
        x = torch.randn(n, d, generator=torch.Generator().manual_seed(n))
        points, shares = pca(x)
        u, s, _ = torch.linalg.svd((x - x.mean(0)).double(), full_matrices=False)
        torch.testing.assert_close(points.abs().double(), (u * s)[:, :2].abs(), rtol=1e-4, atol=1e-4)
        assert shares == pytest.approx(((s**2)[:2] / (s**2).sum()).tolist())


@pytest.mark.slow  # UMAP is compiled first
def test_by_umap_kinds_stand_together_and_the_seed_decides(index: ph.FeatureIndex) -> None:
    pytest.importorskip("umap")
    first, again, other = (feature_map(index, method="umap", seed=seed) for seed in (0, 0, 1))
    assert torch.equal(first.points, again.points)
    assert not torch.equal(first.points, other.points)
    assert (first.method, first.explained) == ("umap", ())
    assert first.notes == ("distances between far points mean nothing in a map by UMAP",)
    away = torch.cdist(first.points, first.points).fill_diagonal_(torch.inf)
    same = [first.labels[i] == first.labels[j] for i, j in enumerate(away.argmin(1).tolist())]
    assert sum(same) > 0.8 * COUNT  # chance: a third


def test_three_pictures_are_too_few_for_umap(net: ph.Network, tmp_path: Path) -> None:
    pytest.importorskip("umap")
    few = ph.FeatureIndex.build(net, pictures(3), tmp_path / "few.lance")
    assert feature_map(few, method="umap").notes == ("by PCA: 3 pictures are too few for UMAP",)


def test_a_map_is_saved_as_a_page_and_its_points(index: ph.FeatureIndex, tmp_path: Path) -> None:
    found = feature_map(index, method="pca")
    page = found.save(tmp_path / "map").read_text("utf-8")
    assert page == found.page()
    assert page.rpartition("Plotly.newPlot(")[2].count(";base64,iVBOR") == COUNT  # as PNGs begin
    assert np.load(tmp_path / "map" / "map.npy").shape == (COUNT, 2)
    assert (found.method, len(found.explained), len(found)) == ("pca", 2, COUNT)
    assert found._repr_html_().count("<iframe") == 1
    assert html.escape(page) in found._repr_html_()


def test_no_word_of_the_data_ends_the_script(net: ph.Network, tmp_path: Path) -> None:
    data = [(picture, "</script><script>alert(1)</script>") for picture in pictures(3)]
    page = feature_map(ph.FeatureIndex.build(net, data, tmp_path / "features.lance"), method="pca").page()
    assert "<script>alert(1)" not in page
    assert "src=" not in page.partition("<body>")[2].partition("data:image")[0].replace('src=""', "")


def test_of_many_pictures_some_are_shown_and_the_page_says_so(index: ph.FeatureIndex) -> None:
    some = feature_map(index, method="pca", most=10)
    assert (len(some), some.notes) == (10, ("10 of 30 pictures are shown",))
    assert "10 of 30 pictures are shown" in some.page()
    with pytest.raises(RequestError, match="most is 10001; 2 to 10000 is needed"):
        feature_map(index, most=10_001)


def test_the_pictures_of_a_page_fit_into_what_it_may_hold(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(page_of, "THUMBNAILS", 60_000)
    page = made(12, thumbnails=(thumbnail(1000),) * 12).page()
    sizes = [len(found) for found in re.findall(r"base64,([A-Za-z0-9+\\/=]{99,})", page.rpartition("Plotly.newPlot(")[2])]
    assert len(sizes) == 12
    assert sum(sizes) < 60_000 * 1.5


def test_a_thumbnail_is_kept_or_made_smaller_or_left_out() -> None:
    small, large = thumbnail(160), thumbnail(1000)
    assert within(small, len(small)) == small
    with Image.open(io.BytesIO(within(large, len(large)))) as image:
        assert image.size == (160, 160)
    with Image.open(io.BytesIO(within(small, 1))) as image:
        assert image.size == (48, 48)
    assert [within(damaged, 9000) for damaged in (b"", b"no picture", small[:90], thumbnail(1025))] == [b""] * 4


def test_names_that_stand_often_have_a_colour_and_those_without_a_label_none() -> None:
    labels = (None, *("often" for _ in range(5)), *(f"{i}" for i in range(30)), "twice", "twice")
    groups = made(len(labels), labels=labels)._groups()
    assert [(name, len(rows)) for name, _, rows in groups] == [
        ("without a label", 1),
        ("others", 30),
        ("often", 5),
        ("twice", 2),
    ]
    assert len(made(24)._groups()) == 24
    markers = [tuple(page_of._marker(i).values()) for i in range(page_of.MOST_COLOURS)]
    assert len(set(markers)) == len(markers)


def seen(page: Path) -> tuple[str, list[str]]:
    """The document after its scripts have run, and what they said."""
    if BROWSER is None:
        pytest.skip("no Chromium or Chrome on the PATH to open the page in")
    command = [BROWSER, "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={page.parent / 'profile'}"]
    command += ["--window-size=1000,700", "--virtual-time-budget=5000", "--enable-logging=stderr", "--dump-dom", page.as_uri()]
    ran = subprocess.run(command, capture_output=True, timeout=120, check=False)
    if ran.returncode:
        pytest.skip(f"{BROWSER} does not start here: {ran.stderr.decode(errors='replace').strip()[-200:]}")
    return ran.stdout.decode(), [line for line in ran.stderr.decode(errors="replace").splitlines() if "CONSOLE" in line]


def test_in_a_browser_a_point_shows_its_picture_and_nothing_of_the_data_runs(net: ph.Network, tmp_path: Path) -> None:
    for name in (f"{EVIL}/{EVIL}.png", "<b>b/2.png", "$c$'\"`${1}/3.png"):
        path = tmp_path / "data" / name
        path.parent.mkdir(parents=True)
        Image.effect_noise((20, 16), 80).save(path)
    index = ph.FeatureIndex.build(net, str(tmp_path / "data"), tmp_path / "features.lance")
    page = feature_map(index, method="pca").save(tmp_path)
    page.write_text(page.read_text("utf-8").replace("</body>", f"{HOVER}</body>"), "utf-8")
    document, said = seen(page)
    assert len(re.findall('<path class="point[ "]', document)) == 3
    card = re.search(r'<div id="card" style="display: block.*?</div>', document, re.DOTALL)
    assert card is not None
    assert '<img alt="" src="data:image/' in card[0]
    assert html.escape(EVIL, quote=False) in document
    assert "<title>ran" not in document
    assert [line for line in said if "MathJax is not loaded" not in line] == []


def test_vectors_that_are_all_equal_lie_in_one_point_and_explain_nothing() -> None:
    points, shares = pca(torch.ones(4, 3))
    assert points.abs().max() == 0
    assert shares == (0, 0)


def test_vectors_of_one_number_lie_on_a_line_of_the_plane() -> None:
    points, shares = pca(torch.tensor([[1.0], [2.0], [6.0]]))
    assert points[:, 0].tolist() == pytest.approx([-2, -1, 3])
    assert points[:, 1].tolist() == [0, 0, 0]
    assert shares[0] == pytest.approx(1)
