"""`locate`: known blobs give their boxes, whatever the scale; pictures, several boxes, nothing at all."""

from __future__ import annotations

import sys
from dataclasses import replace

import numpy as np
import pytest
import torch

import phosphene as ph
from phosphene.errors import ExtraError, RequestError
from phosphene.localisation.consensus import SHARES
from phosphene.localisation.locate import ROUGH, places
from phosphene.localisation.threshold import level_of, mask_of, otsu
from tests.localisation.blobs import SIZE, blob, heatmap

METHODS = ("threshold", "consensus", "graphcut")
BOX = (5, 3, 19, 15)


def painted(*boxes: tuple[int, int, int, int], size: tuple[int, int] = SIZE, seed: int = 0) -> torch.Tensor:
    """A picture (1, 3, h, w), blue with noise, red in boxes."""
    noise = 0.1 * torch.rand(1, 3, *size, generator=torch.Generator().manual_seed(seed))
    inside = blob(*boxes, size=size)
    colour = torch.stack([inside, torch.zeros(size), 1 - inside])
    return (0.8 * colour[None] + noise).clamp(0, 1)


@pytest.mark.parametrize("method", ["threshold", "consensus"])
@pytest.mark.parametrize("threshold", [0.2, 0.9, "otsu", "mean"])
def test_a_known_blob_gives_the_exact_box(method: str, threshold: float | str) -> None:
    found = ph.locate(heatmap(blob(BOX)[None], painted(BOX)), method, threshold=threshold)  # type: ignore[arg-type]
    assert found.boxes.tolist() == [list(map(float, BOX))]
    assert torch.equal(found.masks[0], blob(BOX) > 0)


def test_a_graph_cut_finds_the_whole_of_what_the_map_sees_a_part_of() -> None:
    y, x = torch.arange(48.0)[:, None], torch.arange(64.0)[None]
    seen = torch.exp(-((x - 24) ** 2 + (y - 20) ** 2) / 200)
    whole = (10, 8, 40, 34)
    found = ph.locate(heatmap(seen[None], painted(whole, size=(48, 64))), "graphcut")
    assert found.boxes.tolist() == [list(map(float, whole))]
    assert ph.locate(heatmap(seen[None]), "threshold", threshold=0.5).boxes.tolist() != found.boxes.tolist()


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("factor", [1e-12, 3.0, 1e12])
def test_the_scale_of_the_values_changes_nothing(method: str, factor: float) -> None:
    draws = torch.Generator().manual_seed(3)
    values = torch.nn.functional.interpolate(torch.rand(1, 1, 4, 5, generator=draws), SIZE, mode="bilinear")[0]
    shown = painted(BOX)
    one, other = (ph.locate(heatmap(v, shown), method) for v in (values, values * factor))  # type: ignore[arg-type]
    assert torch.equal(one.boxes, other.boxes)
    assert torch.equal(one.masks[0], other.masks[0])
    assert torch.equal(one.points, other.points)


@pytest.mark.parametrize("method", METHODS)
def test_a_map_is_located_the_same_whatever_its_neighbours(method: str) -> None:
    values = torch.stack([blob(BOX), blob((1, 1, 9, 20)), torch.zeros(SIZE)])
    shown = torch.cat([painted(BOX), painted((1, 1, 9, 20)), painted()])
    together = ph.locate(heatmap(values, shown), method)  # type: ignore[arg-type]
    for i in range(3):
        alone = ph.locate(heatmap(values[i : i + 1], shown[i : i + 1]), method)  # type: ignore[arg-type]
        assert torch.equal(together.boxes[i], alone.boxes[0])
        assert torch.equal(together.masks[i], alone.masks[0])


def test_negative_values_speak_against() -> None:
    values = blob(BOX) - 5 * blob((20, 16, 32, 24))
    assert ph.locate(heatmap(values[None]), "threshold").boxes.tolist() == [list(BOX)]


@pytest.mark.parametrize("method", METHODS)
def test_a_map_without_a_positive_place_has_no_box_and_says_so(method: str) -> None:
    found = ph.locate(heatmap(-blob(BOX)[None]), method)  # type: ignore[arg-type]
    assert (found.boxes.tolist(), len(found.every[0]), bool(found.masks[0].any())) == ([[0, 0, 0, 0]], 0, False)
    assert found.notes()[-1].startswith("nothing: no place of the map is positive")


@pytest.mark.parametrize("method", METHODS)
def test_a_constant_map_is_the_whole_picture(method: str) -> None:
    found = ph.locate(heatmap(torch.ones(1, *SIZE)), method, threshold=0.2)  # type: ignore[arg-type]
    assert found.boxes.tolist() == [[0, 0, 32, 24]]


def test_several_boxes_the_largest_first() -> None:
    values = blob((0, 0, 10, 10), (20, 0, 25, 10), (0, 20, 2, 22))
    found = ph.locate(heatmap(values[None]), "threshold", most=5)
    assert found.every[0].tolist() == [[0, 0, 10, 10], [20, 0, 25, 10]]
    assert found.boxes.tolist() == [[0, 0, 10, 10]]
    assert len(ph.locate(heatmap(values[None]), "threshold", most=5, least=0).every[0]) == 3


def test_boxes_and_masks_are_in_pixels_of_the_photograph() -> None:
    photo = torch.rand(1, 3, 48, 64, generator=torch.Generator().manual_seed(0))
    found = ph.locate(heatmap(blob(BOX)[None]), "threshold", picture=photo)
    assert found.boxes.tolist() == [[10, 6, 38, 30]]
    assert torch.equal(found.masks[0], blob((10, 6, 38, 30), size=(48, 64)) > 0)
    assert found.points.tolist() == [[11, 7]]


def test_what_was_cropped_away_is_outside() -> None:
    crop = ph.Preprocess(size=24, resize=24)
    found = ph.locate(
        heatmap(torch.ones(1, 24, 24), preprocess=crop), "threshold", threshold=0.2, picture=torch.rand(1, 3, 48, 96)
    )
    assert found.boxes.tolist() == [[24, 0, 72, 48]]
    assert int(found.masks[0].sum()) == 48 * 48


def test_photographs_of_several_sizes() -> None:
    values = blob(BOX).expand(2, -1, -1)
    photos = [torch.rand(1, 3, 48, 64), torch.rand(1, 3, 24, 64)]
    found = ph.locate(heatmap(values), "threshold", picture=photos)
    assert found.boxes.tolist() == [[10, 6, 38, 30], [10, 3, 38, 15]]
    assert [tuple(mask.shape) for mask in found.masks] == [(48, 64), (24, 64)]


def test_the_signs_of_a_gradient_do_not_matter() -> None:
    checked = blob(BOX) * (torch.arange(SIZE[1]) % 2 * 2 - 1)
    h = heatmap(checked[None])
    by_size = ph.Heatmap(h.values, h.pictures, h.items, h.record, by_size=True)
    (box,) = ph.locate(by_size, "threshold", threshold=0.5).boxes.tolist()
    assert box == pytest.approx(list(BOX), abs=1)


def test_nothing_is_changed() -> None:
    h, photo = heatmap(blob(BOX)[None]), painted(BOX)
    before = h.values.clone(), h.pictures.clone(), photo.clone()
    state = torch.get_rng_state()
    ph.locate(h, picture=photo)
    assert all(torch.equal(a, b) for a, b in zip(before, (h.values, h.pictures, photo), strict=True))
    assert torch.equal(state, torch.get_rng_state())


def test_the_random_numbers_of_opencv_are_left_alone() -> None:
    cv2 = pytest.importorskip("cv2")

    def drawn() -> list[float]:
        cv2.setRNGSeed(5)
        return list(cv2.randu(torch.zeros(4, 4).numpy(), 0, 1).flatten())

    def drawn_around() -> list[float]:
        cv2.setRNGSeed(5)
        ph.locate(heatmap(blob(BOX)[None], painted(BOX)), "graphcut")
        return list(cv2.randu(torch.zeros(4, 4).numpy(), 0, 1).flatten())

    assert drawn() == drawn_around()


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"method": "magic"}, "method is 'magic'; auto, consensus, graphcut, thresholds or threshold is needed"),
        ({"method": "threshold", "threshold": 1.5}, "threshold is 1.5; 0 to 1 is needed"),
        ({"method": "threshold", "threshold": "half"}, "threshold is 'half'; a share of the maximum from 0 to 1, otsu or mean"),
        ({"method": "threshold", "most": 0}, "most is 0"),
        ({"method": "threshold", "least": 2}, "least is 2"),
        ({"method": "threshold", "picture": torch.rand(5, 8, 8)}, r"picture must be .* got float32 \(5, 8, 8\)"),
        ({"method": "threshold", "picture": torch.rand(2, 3, 8, 8)}, r"picture is \(2, 3, 8, 8\)"),
    ],
)
def test_a_wrong_request_is_refused(settings: dict[str, object], words: str) -> None:
    with pytest.raises(RequestError, match=words):
        ph.locate(heatmap(blob(BOX)[None]), **settings)  # type: ignore[arg-type]  # what is wrong


@pytest.mark.parametrize("method", ["consensus", "graphcut"])
def test_without_opencv_the_extra_is_named_and_threshold_works(method: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cv2", None)
    h = heatmap(blob(BOX)[None])
    with pytest.raises(ExtraError, match=rf"{method}.* need OpenCV; pip install 'phosphene\[opencv\]', or take .*threshold"):
        ph.locate(h, method)  # type: ignore[arg-type]
    assert ph.locate(h, "threshold").boxes.tolist() == [list(BOX)]


def test_the_default_runs_without_opencv_and_says_what_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    h = heatmap(blob(BOX)[None])
    assert ph.locate(h).method == "consensus"
    monkeypatch.setitem(sys.modules, "cv2", None)
    found = ph.locate(h)
    assert found.method == "thresholds"
    assert any("located by thresholds alone" in note for note in found.notes())
    assert not any("thresholds alone" in note for note in ph.locate(h, "threshold").notes())


def test_thresholds_are_the_mean_of_their_boxes() -> None:
    values = blob(BOX)[None]
    at = [ph.locate(heatmap(values), "threshold", threshold=share).boxes[0] for share in SHARES]
    otsus = ph.locate(heatmap(values), "threshold").boxes[0]
    expected = (otsus + torch.stack(at).mean(0)) / 2
    torch.testing.assert_close(ph.locate(heatmap(values), "thresholds").boxes[0], expected)


def test_otsu_parts_two_levels_anywhere_between_them() -> None:
    values = torch.cat([torch.full((70,), 0.2), torch.full((30,), 0.8)])
    assert 0.2 < otsu(values) < 0.8
    assert otsu(values) == pytest.approx(0.5, abs=0.01)


def test_otsu_is_the_cut_of_least_variance() -> None:
    values = torch.rand(400, generator=torch.Generator().manual_seed(2)) ** 3

    def within(cut: float) -> float:
        parts = [values[values <= cut], values[values > cut]]
        return sum(float(part.var(correction=0)) * len(part) for part in parts if len(part))

    least = min(within(k / 256) for k in range(1, 256))
    assert within(otsu(values)) == pytest.approx(least, rel=1e-3)


def test_levels_are_shares_of_the_maximum_and_the_mean_of_what_is_positive() -> None:
    values = torch.tensor([[4.0, 0.0], [-3.0, 2.0]])
    assert level_of(values, 0.25) == 1
    assert level_of(values, "mean") == 1.5
    assert mask_of(values, 1.0).tolist() == [[True, False], [False, False]]


def test_a_located_map_shows_itself() -> None:
    found = ph.locate(heatmap(blob(BOX)[None], painted(BOX)), "threshold")
    image = found.image()
    assert image.size == (32 * 7, 24 * 7)  # small pictures are enlarged
    yellow = torch.from_numpy(np.array(image)) == torch.tensor([255, 217, 0], dtype=torch.uint8)
    rows, columns = yellow.all(2).any(1).nonzero()[:, 0], yellow.all(2).any(0).nonzero()[:, 0]
    assert [int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1] == [7 * side for side in BOX]
    assert found.sheet().width > image.width
    assert found.sheet().height < image.height + 160  # a title and lines of text, and nothing empty
    assert found._repr_html_().startswith("<figure>")


@pytest.mark.parametrize("method", ["saliency", "vargrad", "gradient_x_input", "integrated_gradients"])
def test_maps_of_single_pixels_are_blurred_before_boxes_are_looked_for(method: str) -> None:
    raw = heatmap(blob(BOX)[None])
    rough = replace(raw, record=replace(raw.record, recipe={"name": method}))
    assert method in ROUGH
    assert torch.equal(places(raw), raw.values)
    assert not torch.equal(places(rough), rough.values)


def test_an_image_has_the_outline_of_its_mask_but_for_who_wants_none() -> None:
    found = ph.locate(heatmap(blob(BOX)[None], painted(BOX)), "threshold")
    with_outline, without = found.image(contour=True), found.image(contour=False)
    assert found.image().tobytes() == with_outline.tobytes()
    assert with_outline.tobytes() != without.tobytes()


@pytest.mark.parametrize("threshold", [0.2, "otsu", "mean"])
@pytest.mark.parametrize("top", [0.0, -1.0])
def test_a_map_that_is_nowhere_positive_exceeds_no_level(threshold: float | str, top: float) -> None:
    values = torch.tensor([[top, -2.0], [-3.0, -4.0]])
    assert level_of(values, threshold) == float("inf")
    assert not mask_of(values, threshold).any()
