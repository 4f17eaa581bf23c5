"""How boxes agree with true ones: closed forms, algebra, and the reference figures of a plain script."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest
import torch

import phosphene as ph
from phosphene.errors import RequestError
from phosphene.evaluation import localisation_error, max_box_acc, pointing_game
from phosphene.evaluation.boxes import box_accuracy, met
from phosphene.evaluation.localised import Case, Locating, _Found, centred, localised
from phosphene.localisation.boxes import boxes_of
from phosphene.localisation.locate import locate
from phosphene.localisation.threshold import SWEEP, mask_of
from tests.localisation.blobs import blob, heatmap

TRUE = torch.tensor([[0.0, 0, 10, 10]])
HALF = torch.tensor([0.0, 0, 10, 5])  # an overlap of one half, exactly
LESS = torch.tensor([0.0, 0, 10, 4.99])


def test_the_true_box_is_no_error_and_another_place_is() -> None:
    assert localisation_error(TRUE, [TRUE]) == 0
    assert localisation_error(TRUE + 20, [TRUE]) == 1


def test_an_overlap_of_one_half_counts() -> None:
    assert localisation_error(torch.stack([HALF, LESS]), [TRUE, TRUE]) == 0.5
    assert localisation_error(LESS[None], [TRUE], least=0.49) == 0


def test_any_true_box_counts() -> None:
    assert localisation_error(TRUE, [torch.cat([TRUE + 30, TRUE])]) == 0


def test_a_guess_needs_the_class_and_the_box() -> None:
    boxes = torch.stack([TRUE[0] + 30, TRUE[0], TRUE[0]]).expand(3, 3, 4)
    classes = torch.tensor([[7, 8, 9]] * 3)
    labels = torch.tensor([7, 8, 1])  # right class and wrong box; both right; no class
    assert localisation_error(boxes, [TRUE] * 3, classes=classes, labels=labels) == pytest.approx(2 / 3)
    assert localisation_error(boxes[:, :1], [TRUE] * 3, classes=classes[:, :1], labels=labels) == 1


def test_the_error_grows_with_the_overlap_asked_for() -> None:
    draws = torch.Generator().manual_seed(0)
    corners = torch.rand(50, 2, 2, generator=draws).sort(1).values * 100
    boxes = torch.stack([corners[:, 0, 0], corners[:, 0, 1], corners[:, 1, 0], corners[:, 1, 1]], 1)
    truth = [torch.tensor([[20.0, 20, 80, 80]])] * 50
    errors = [localisation_error(boxes, truth, least=least) for least in (0.0, 0.1, 0.3, 0.5, 0.9)]
    assert errors[0] == 0
    assert errors == sorted(errors)
    assert errors[3] == pytest.approx(1 - float(met(boxes, truth).double().mean()))


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        (lambda: localisation_error(torch.zeros(4), []), r"boxes are \(4,\)"),
        (lambda: localisation_error(TRUE, [TRUE], least=-0.1), "least is -0.1"),
        (lambda: localisation_error(TRUE, []), "true boxes of 0 pictures for 1"),
        (lambda: localisation_error(TRUE, [torch.zeros(0, 4)]), "a picture has no true box"),
        (lambda: localisation_error(TRUE, [TRUE], labels=torch.tensor([1])), "classes and labels belong together"),
        (
            lambda: localisation_error(TRUE, [TRUE], classes=torch.tensor([[1, 2]]), labels=torch.tensor([1])),
            r"classes \(1, 2\) and labels \(1,\) for boxes \(1, 4\)",
        ),
        (lambda: max_box_acc(torch.ones(1, 4, 4), [TRUE], thresholds=[2]), "thresholds is 2"),
        (lambda: max_box_acc(torch.ones(1, 4, 4), [TRUE], ious=[]), "no thresholds, no ious or no maps"),
        (lambda: pointing_game(torch.zeros(1, 3), [TRUE], [(9, 9)]), r"points are \(1, 3\)"),
        (lambda: pointing_game(torch.zeros(1, 2), [TRUE], []), "0 sizes for 1 points"),
    ],
)
def test_what_does_not_fit_is_refused(wrong: object, words: str) -> None:
    with pytest.raises(RequestError, match=words):
        wrong()  # type: ignore[operator]  # it is a lambda


def test_a_pyramid_reaches_the_box_at_its_own_threshold() -> None:
    values = (6 - (torch.arange(24.0)[:, None] - 11.5).abs()).clamp(min=0).minimum(6 - (torch.arange(24.0) - 11.5).abs()) / 5.5
    found = max_box_acc(values[None], [torch.tensor([[9.0, 9, 15, 15]])], ious=(0.5, 1.0))
    assert found.best(1.0)[0] == 1
    assert boxes_of(mask_of(values, found.best(1.0)[1])).tolist() == [[9, 9, 15, 15]]
    assert found.mean == 1


def test_the_threshold_is_the_same_for_all() -> None:
    two = torch.stack([blob((0, 0, 10, 10)) + 2 * blob((0, 0, 4, 4)), blob((0, 0, 4, 4), height=2) + blob((0, 0, 10, 10))])
    found = max_box_acc(two, [TRUE, torch.tensor([[0.0, 0, 4, 4]])])
    assert found.best(0.5)[0] == 0.5


def test_of_all_components_the_best_counts() -> None:
    values = blob((12, 0, 32, 20)) + blob((0, 0, 10, 10))
    assert max_box_acc(values[None], [TRUE]).mean == 1
    assert max_box_acc(values[None], [TRUE], all_components=False).mean == 0


def test_accuracy_does_not_depend_on_the_scale_of_a_map() -> None:
    values = torch.rand(2, 12, 12, generator=torch.Generator().manual_seed(1))
    one, other = (max_box_acc(values * k, [TRUE] * 2, thresholds=(0.1, 0.5, 0.8)).accuracy for k in (1.0, 1e9))
    assert torch.equal(one, other)


def test_an_overlap_that_was_not_asked_for_is_refused() -> None:
    with pytest.raises(RequestError, match=r"overlap is 0.4; one of 0.3, 0.5, 0.7"):
        max_box_acc(torch.ones(1, 12, 12), [TRUE], thresholds=(0.5,)).best(0.4)


@pytest.mark.parametrize(("x", "hit"), [(5.0, True), (10.0, True), (24.9, True), (25.1, False)])
def test_a_point_may_be_15_pixels_of_500_away(x: float, hit: bool) -> None:
    assert pointing_game(torch.tensor([[x, 5.0]]), [TRUE], [(300, 500)]) == hit
    small = pointing_game(torch.tensor([[x, 5.0]]) / 5, [TRUE / 5], [(60, 100)])
    assert small == hit


def test_the_distance_to_a_corner_is_along_the_diagonal() -> None:
    point = torch.tensor([[10 + 12.0, 10 + 12.0]])
    assert pointing_game(point, [TRUE], [(500, 500)]) == 0
    assert pointing_game(point, [TRUE], [(500, 500)], tolerance=17) == 1


def test_centred_maps_have_centred_boxes() -> None:
    for share in (0.1, 0.4, 0.7):
        (left, top, right, bottom), *_ = boxes_of(mask_of(centred((40, 60)), share)).tolist()
        assert (left, top) == (60 - right, 40 - bottom)


def test_the_table_counts_what_its_parts_count(robust: ph.Network) -> None:
    photos = torch.rand(3, 3, 40, 48, generator=torch.Generator().manual_seed(0))
    truth = torch.tensor([[[4.0, 4, 40, 36]], [[0, 0, 10, 10]], [[10, 10, 47, 39]]])
    labels = net_labels = robust.scores(robust.preprocess.fit(photos)).argmax(1)
    cases = [Case(str(i), photos[i : i + 1], int(labels[i]), truth[i]) for i in range(3)]
    way = Locating("cam", "cam", "threshold", 0.2)
    (row,) = (table := localised(robust, cases, [way])).rows
    found = [locate(ph.cam(robust, photos[i : i + 1]), "threshold", threshold=0.2, picture=photos[i : i + 1]) for i in range(3)]
    boxes = torch.cat([one.boxes for one in found])
    assert row.class_known == pytest.approx(1 - localisation_error(boxes, list(truth)))
    assert row.top1 == pytest.approx(localisation_error(boxes, list(truth), classes=net_labels, labels=labels))
    assert row.pointing == pytest.approx(pointing_game(torch.cat([one.points for one in found]), list(truth), [(40, 48)] * 3))
    assert (table.count, table.top1, table.top5) == (3, 1, 1)


def test_no_photographs_are_refused(robust: ph.Network) -> None:
    with pytest.raises(RequestError, match="no photographs"):
        localised(robust, [])


def test_locating_what_is_drawn_is_right() -> None:
    found = locate(heatmap(blob((0, 0, 10, 10))[None]), "threshold")
    assert localisation_error(found.boxes, [TRUE]) == 0


def lab_cases(lab: Path, net: ph.Network) -> list[Case]:
    boxes: dict[str, list[list[float]]] = {}
    labels: dict[str, int] = {}
    with (lab / "boxes" / "boxes.csv").open() as lines:
        for row in csv.DictReader(lines):
            labels[row["file"]] = int(row["class"])
            boxes.setdefault(row["file"], []).append([float(row[side]) for side in ("left", "top", "right", "bottom")])
    return [Case(name, ph.read(lab / "boxes" / name), labels[name], torch.tensor(boxes[name])) for name in boxes]


@pytest.mark.lab
@pytest.mark.slow
def test_the_reference_figures_of_cam_and_those_of_the_default(lab: Path) -> None:
    options = f"classes={lab}/classes.json&size=224&mean=0.5&std=0.5"
    net = ph.load(f"{lab}/mobilenets.py:MobileNetV2?weights={lab}/mobilenet_v2_imagenet.safetensors&{options}")
    ways = [Locating("centre", None), Locating("cam", "cam", "threshold", 0.2), Locating("default", "fine_cam")]
    table = localised(net, lab_cases(lab, net), ways)
    centre, cam, default = table.rows
    assert table.count == 250
    assert (table.top1, table.top5) == pytest.approx((0.672, 0.884))
    assert (centre.class_known, centre.pointing) == pytest.approx((0.52, 0.836))  # 0.772 without the 15 pixels
    figures = (cam.class_known, cam.top1, cam.top5, cam.pointing)
    assert figures == pytest.approx((0.540, 0.624, 0.492, 0.872), abs=0.01)
    assert cam.max_box_acc == pytest.approx(0.576, abs=0.01)
    assert default.class_known >= 0.64 - 1e-9
    assert default.top5 <= 0.42
    assert default.pointing >= 0.90


def test_of_thresholds_that_do_equally_well_the_first_is_the_best() -> None:
    found = box_accuracy(torch.tensor([[0.2, 0.8, 0.8, 0.1]]), (0.1, 0.2, 0.3, 0.4), (0.5,))
    assert found.best(0.5) == (1.0, 0.2)


def test_a_component_of_exactly_the_least_share_is_kept() -> None:
    mask = torch.zeros(8, 8, dtype=torch.bool)
    mask[0, :4] = mask[4, :2] = True
    assert len(boxes_of(mask, 5, 0.5)) == 2
    assert len(boxes_of(mask, 5, 0.51)) == 1


def test_of_the_first_guesses_of_each_photograph_any_may_be_right() -> None:
    guesses = [torch.tensor(one) for one in ([True, False, False], [False, False, True], [False, True, False])]
    overlaps = [torch.zeros(len(SWEEP))] * 3
    found = _Found(Locating("cam", "cam"), [True, False, False], guesses, [True, True, False], overlaps, overlaps)
    row = found.row(top=2)
    assert row.top1 == pytest.approx(2 / 3)
    assert row.top5 == pytest.approx(1 / 3)
    assert found.row(top=3).top5 == 0
