"""Connected components: closed forms, and OpenCV's of the same masks."""

from __future__ import annotations

import pytest
import torch

from phosphene.errors import RequestError
from phosphene.localisation.boxes import area, boxes_of, centre_box, iou, to_fitted, to_photo
from phosphene.localisation.components import components
from phosphene.network.preprocess import Preprocess
from tests.localisation.blobs import blob


def test_a_mask_of_nothing_has_no_component() -> None:
    found = components(torch.zeros(5, 7, dtype=torch.bool))
    assert (len(found), tuple(found.boxes.shape), int(found.labels().sum())) == (0, (0, 4), 0)


def test_components_come_by_size_with_their_boxes() -> None:
    found = components(blob((1, 1, 3, 3), (6, 2, 12, 9), (20, 20, 32, 24)) > 0)
    assert found.sizes.tolist() == [48, 42, 4]
    assert found.boxes.tolist() == [[20, 20, 32, 24], [6, 2, 12, 9], [1, 1, 3, 3]]


def test_corners_touch() -> None:
    assert len(components(torch.eye(6, dtype=torch.bool))) == 1
    assert len(components(torch.eye(6, dtype=torch.bool).flip(1))) == 1


def test_a_ring_and_what_it_surrounds_are_two() -> None:
    mask = blob((2, 2, 12, 12)) - blob((4, 4, 10, 10)) + blob((6, 6, 8, 8)) > 0
    found = components(mask)
    assert found.sizes.tolist() == [64, 4]
    assert torch.equal(found.labels() == 2, blob((6, 6, 8, 8)) > 0)


def test_of_one_size_the_upper_comes_first() -> None:
    assert components(blob((9, 9, 11, 11), (1, 2, 3, 4), (20, 2, 22, 4)) > 0).boxes[:, 0].tolist() == [1, 20, 9]


@pytest.mark.parametrize("share", [0.02, 0.3, 0.45, 0.6, 0.99])
def test_they_are_those_that_opencv_finds(share: float) -> None:
    cv2 = pytest.importorskip("cv2")
    mask = torch.rand(37, 53, generator=torch.Generator().manual_seed(1)) < share
    found = components(mask)
    count, labels, stats, _ = cv2.connectedComponentsWithStats(mask.to(torch.uint8).numpy(), connectivity=8)
    assert len(found) == count - 1
    assert sorted(stats[1:, 4].tolist(), reverse=True) == found.sizes.tolist()
    theirs = torch.from_numpy(labels).long()
    pairs = {(int(a), int(b)) for a, b in zip(theirs.flatten(), found.labels().flatten(), strict=True)}
    assert len(pairs) == len({a for a, _ in pairs}) == len({b for _, b in pairs})
    first = theirs[found.labels() == 1][0]
    left, top, w, h = stats[first, :4].tolist()
    assert found.boxes[0].tolist() == [left, top, left + w, top + h]


def test_further_boxes_must_be_large_enough() -> None:
    mask = blob((0, 0, 10, 10), (20, 0, 25, 10), (0, 20, 2, 22)) > 0
    assert len(boxes_of(mask, 9)) == 3
    assert boxes_of(mask, 9, 0.1).tolist() == [[0, 0, 10, 10], [20, 0, 25, 10]]
    assert boxes_of(mask).tolist() == [[0, 0, 10, 10]]


def test_iou_is_that_of_the_areas() -> None:
    a = torch.tensor([[0.0, 0, 4, 4], [1, 1, 3, 3]])
    b = torch.tensor([[2.0, 0, 6, 4], [9, 9, 9, 9]])
    assert iou(a, b).tolist() == [[pytest.approx(8 / 24), 0], [pytest.approx(2 / 18), 0]]
    assert torch.equal(iou(a, b), iou(b, a).T)
    assert iou(a, a).diagonal().tolist() == [1, 1]
    assert iou(a * 7.5 + 3, b * 7.5 + 3)[0, 0] == pytest.approx(8 / 24)


def test_an_empty_box_meets_nothing_not_even_itself() -> None:
    nothing = torch.zeros(1, 4)
    assert float(iou(nothing, nothing)) == 0
    assert float(area(nothing)[0]) == 0


@pytest.mark.parametrize(
    ("boxes", "words"),
    [
        (torch.zeros(4), r"boxes are \(4,\)"),
        (torch.tensor([[3.0, 0, 1, 1]]), r"box \[3.0, 0.0, 1.0, 1.0\]; finite"),
        (torch.tensor([[0.0, 0, float("nan"), 1]]), "finite"),
        ([[0, 0, 1, 1]], r"boxes are \[\[0, 0, 1, 1\]\]"),
    ],
)
def test_what_is_no_box_is_refused(boxes: object, words: str) -> None:
    with pytest.raises(RequestError, match=words):
        iou(boxes, torch.zeros(1, 4))  # type: ignore[arg-type]  # what is wrong


def test_the_centre_box_has_the_share_of_the_sides() -> None:
    box = centre_box((30, 60), 0.5)
    assert box.tolist() == [15, 7.5, 45, 22.5]
    assert float(area(box)) == pytest.approx(0.25 * 30 * 60)


@pytest.mark.parametrize("resize", [None, 48])
def test_boxes_go_to_the_fitted_picture_and_back(resize: int | None) -> None:
    preprocess, size = Preprocess(size=(32, 40), resize=resize), (90, 70)
    inside = torch.tensor([[20.0, 30, 50, 60]])
    there = to_fitted(inside, preprocess, size)
    assert torch.allclose(to_photo(there, preprocess, size), inside, atol=1e-4)


def test_a_pixel_is_found_where_fitting_put_it() -> None:
    preprocess = Preprocess(size=16, resize=24)
    photo = blob((40, 36, 60, 56), size=(96, 144))[None, None].expand(1, 3, -1, -1)
    fitted = preprocess.fit(photo)[0, 0] > 0.5
    box = boxes_of(fitted)
    assert float((to_fitted(torch.tensor([[40.0, 36, 60, 56]]), preprocess, (96, 144)) - box).abs().max()) <= 0.5
