"""Segmentation, detection, and numbers: what the verbs ask of networks that are no classifiers."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.models import detection, segmentation

import phosphene as ph
from tests.nets import made

COLOURS = torch.eye(3)
PHOTO = torch.zeros(1, 3, 24, 24)
PHOTO[:, 0, 2:10, 2:10] = 1.0  # red
PHOTO[:, 1, 14:22, 14:22] = 1.0  # green
MASK = torch.zeros(24, 24)
MASK[2:10, 2:10] = 1.0


class Segmenter(nn.Module):
    """Maps of red, green and blue."""

    def __init__(self, give: str = "tensor") -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 3, 1, bias=False)
        self.conv.weight.data.copy_(COLOURS[:, :, None, None])
        self.give = give

    def forward(self, x: Tensor) -> Any:
        maps = F.relu(self.conv(x))
        return {"out": maps, "aux": maps} if self.give == "dict" else maps


def of(give: str = "tensor", **more: Any) -> ph.Network:
    return ph.Network(Segmenter(give), ph.Preprocess(24), ["red", "green", "blue"], **more)


@pytest.mark.parametrize("give", ["tensor", "dict"])
def test_scores_of_a_segmentation_network_are_means_of_its_maps(give: str) -> None:
    net = of(give)
    torch.testing.assert_close(net.scores(PHOTO), torch.tensor([[64 / 576, 64 / 576, 0.0]]))
    assert any("scores are means over all positions of 3 maps of 24×24" in note for note in net.notes)


def test_a_mask_takes_its_own_positions() -> None:
    net = of("dict", output=ph.targets.mean(MASK))
    torch.testing.assert_close(net.scores(PHOTO), torch.tensor([[1.0, 0.0, 0.0]]))
    found = ph.explain(net, PHOTO, "red", method="gradient").values[0]
    torch.testing.assert_close(found != 0, MASK.bool() & (PHOTO[0, 0] > 0))
    torch.testing.assert_close(found.sum(), torch.tensor(1.0))  # a mean over the mask


@pytest.mark.parametrize("method", ["saliency", "grad_cam", "hires_cam"])
def test_maps_show_the_thing_that_is_segmented(method: str) -> None:
    h = ph.explain(of(), PHOTO, "green", method=method)
    values = h.upsampled()[0].abs()
    assert values[14:22, 14:22].sum() > 0.9 * values.sum()


def test_a_mask_is_fitted_to_maps_of_another_size() -> None:
    pick = ph.targets.mean(MASK.repeat_interleave(2, 0).repeat_interleave(2, 1).bool())
    torch.testing.assert_close(pick(PHOTO), ph.targets.mean(MASK)(PHOTO))


def test_peers_target_is_ours_times_the_number_of_positions() -> None:
    from pytorch_grad_cam.utils.model_targets import SemanticSegmentationTarget

    maps = torch.randn(1, 4, 24, 24)
    theirs = SemanticSegmentationTarget(2, MASK.numpy())(maps[0])
    torch.testing.assert_close(ph.targets.mean(MASK)(maps)[0, 2] * MASK.sum(), theirs)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("make", [segmentation.lraspp_mobilenet_v3_large, segmentation.deeplabv3_mobilenet_v3_large])
def test_networks_of_torchvision_are_asked_by_every_verb(make: Any) -> None:
    net = ph.Network(make(weights=None, weights_backbone=None, num_classes=4), ph.Preprocess(64))
    photo = torch.rand(1, 3, 64, 64)
    assert ph.explain(net, photo, 2).values.abs().sum() > 0
    assert ph.render(net, 1, steps=2, recipe="pixels").scores.isfinite().all()


FOUND = [
    {
        "boxes": torch.tensor([[0.0, 0.0, 10.0, 10.0], [20.0, 20.0, 30.0, 30.0], [0.0, 0.0, 10.0, 9.0]]),
        "labels": torch.tensor([1, 2, 2]),
        "scores": torch.tensor([0.9, 0.8, 0.3]),
    },
    {"boxes": torch.zeros(0, 4), "labels": torch.zeros(0, dtype=torch.long), "scores": torch.zeros(0)},
]


def test_the_highest_score_of_each_class() -> None:
    assert ph.targets.highest(4)(FOUND).tolist() == [[0, pytest.approx(0.9), pytest.approx(0.8), 0], [0, 0, 0, 0]]


@pytest.mark.parametrize(
    ("corners", "label", "score"),
    [
        ((0, 0, 10, 10), 1, 0.9),
        ((0, 0, 10, 10), 2, 0.3 * 0.9),
        ((0, 0, 10, 5), 1, 0.9 * 0.5),
        ((0, 0, 10, 4), 1, 0),
        ((50, 50, 60, 60), 1, 0),
    ],
)
def test_the_score_of_one_box(corners: tuple[int, ...], label: int, score: float) -> None:
    torch.testing.assert_close(ph.targets.box(corners, label)(FOUND), torch.tensor([[score], [0.0]]))


class Detector(nn.Module):
    """Finds one box about what is red, as sure as it is red."""

    def forward(self, x: Tensor) -> list[dict[str, Tensor]]:
        one = torch.ones(1, dtype=torch.long)
        return [
            {"boxes": torch.tensor([[2.0, 2.0, 10.0, 10.0]]), "labels": one, "scores": p[0, 2:10, 2:10].mean()[None]} for p in x
        ]


@pytest.mark.parametrize("method", ["saliency", "occlusion"])
def test_a_detectors_box_is_explained(method: str) -> None:
    net = ph.Network(Detector(), ph.Preprocess(24), ["red"], output=ph.targets.box((2, 2, 10, 10), label=1))
    values = ph.explain(net, PHOTO, "red", method=method).values[0].abs()
    assert values[2:10, 2:10].sum() > 0.7 * values.sum() > 0


@pytest.mark.filterwarnings("ignore")
def test_a_detector_of_torchvision_runs() -> None:
    module = detection.ssdlite320_mobilenet_v3_large(weights=None, weights_backbone=None, num_classes=3, score_thresh=0.0)
    net = ph.Network(module, ph.Preprocess(320), output=ph.targets.highest(3))
    photo = torch.rand(1, 3, 320, 320)
    theirs = module.eval()([photo[0]])[0]
    assert net.scores(photo)[0, 2] == pytest.approx(float(theirs["scores"][theirs["labels"] == 2].max()), abs=1e-5)
    assert ph.explain(net, photo, 2, method="saliency").values.abs().sum() > 0


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: ph.targets.mean(torch.zeros(3, 3)), "mask must hold numbers of 0 or more, and one above 0"),
        (lambda: ph.targets.mean("mask.png"), "mask must be a tensor"),  # type: ignore[arg-type]
        (lambda: ph.targets.box((10, 0, 0, 10), 1), "left < right"),
        (lambda: ph.targets.box((0, 0, 1, 1), -1), "label is -1"),
        (lambda: ph.targets.highest(0), "classes is 0"),
        (lambda: ph.targets.highest(2)([{"scores": 1}]), "a list of dictionaries with boxes"),
        (lambda: ph.targets.highest(2)(FOUND), "gave the label 2; classes must be more"),
        (lambda: ph.targets.mean()(torch.zeros(2, 3)), r"maps \(b, classes, h, w\) are needed, got a tensor \(2, 3\)"),
        (lambda: of(output=ph.targets.highest(2)), "a list of dictionaries with boxes"),
    ],
)
def test_a_wrong_target_is_one_sentence(make: Any, words: str) -> None:
    with pytest.raises(ph.PhospheneError, match=words) as caught:
        make()
    assert "\n" not in str(caught.value)


def test_one_number_is_explained_without_an_objective() -> None:
    net = ph.Network(nn.Sequential(made("plain", 12), nn.Linear(5, 1)), ph.Preprocess(12), ["age"])
    photo = torch.rand(1, 3, 12, 12)
    assert torch.equal(ph.explain(net, photo).values, ph.explain(net, photo, "age").values)
