"""Preprocessing as torchvision, timm and transformers hold it does to a photograph what these do."""

from __future__ import annotations

from typing import Any

import pytest
import timm
import timm.data
import torch
import torchvision.models as tv
from torch import Tensor
from torchvision import transforms as v1
from torchvision.transforms import InterpolationMode, v2

import phosphene as ph
from phosphene.network.transforms import preprocess_of
from phosphene.pictures.colour import image_of
from tests.nets import made

PHOTO = ph.sample()
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
TRANSFORMS: dict[str, Any] = {
    "weights.transforms()": tv.ResNet50_Weights.IMAGENET1K_V2.transforms(),
    "bicubic preset": tv.EfficientNet_B0_Weights.IMAGENET1K_V1.transforms(),
    "v1": v1.Compose([v1.Resize(256), v1.CenterCrop(224), v1.ToTensor(), v1.Normalize(MEAN, STD)]),
    "v1 without crop": v1.Compose([v1.Resize((96, 128)), v1.ToTensor(), v1.Normalize([0.5] * 3, [0.5] * 3)]),
    "v1 of bytes": v1.Compose([v1.PILToTensor(), v1.Resize((64, 64), InterpolationMode.NEAREST)]),
    "v2": v2.Compose(
        [v2.ToImage(), v2.Resize(80), v2.CenterCrop(64), v2.ToDtype(torch.float32, scale=True), v2.Normalize(MEAN, STD)]
    ),
    "nested": v1.Compose([v1.Compose([v1.Resize(70), v1.CenterCrop(64)]), v1.ToTensor()]),
    "timm": timm.data.create_transform((3, 64, 64), interpolation="bilinear"),
}


@pytest.mark.parametrize("name", TRANSFORMS)
def test_it_does_to_a_photograph_what_the_transform_does(name: str) -> None:
    """Within a few of 255 steps: they resize bytes with Pillow, we floats."""
    transform = TRANSFORMS[name]
    preprocess = preprocess_of(transform)
    theirs: Tensor = transform(image_of(PHOTO[0]))[None].float()
    ours = preprocess.forward(preprocess.fit(PHOTO))
    assert ours.shape == theirs.shape
    step = (preprocess.range[1] - preprocess.range[0]) / 255 / min(preprocess.stds)
    assert float((ours - theirs).abs().mean()) < step
    assert float((ours - theirs).abs().max()) < 40 * step


def test_a_configuration_of_timm_and_an_image_processor_are_read() -> None:
    module = timm.create_model("resnet18", pretrained=False)
    config = timm.data.resolve_data_config({}, model=module)
    expected = ph.Preprocess((224, 224), MEAN, STD, resize=235, interpolation="bicubic")
    assert preprocess_of(config) == expected
    processor = {
        "do_normalize": True, "image_mean": [0.5] * 3, "image_std": [0.5] * 3, "size": {"shortest_edge": 72},
        "crop_size": {"height": 64, "width": 64}, "do_center_crop": True, "resample": 3,
    }  # fmt: skip
    assert preprocess_of(processor) == ph.Preprocess((64, 64), 0.5, 0.5, resize=72, interpolation="bicubic")
    from transformers import ViTImageProcessor

    assert preprocess_of(ViTImageProcessor(size={"height": 32, "width": 48})).sides == (32, 48)


def test_weights_words_and_mappings_are_taken() -> None:
    weights = tv.ResNet18_Weights.IMAGENET1K_V1
    assert preprocess_of(weights) == preprocess_of(weights.transforms()) == preprocess_of("imagenet")
    assert preprocess_of({"size": 32, "mean": 0.5}) == ph.Preprocess(32, 0.5)
    assert ph.Network(made("plain", 12), {"size": 12}).preprocess == ph.Preprocess(12)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (
            v1.Compose([v1.RandomHorizontalFlip(), v1.ToTensor()]),
            "the step RandomHorizontalFlip, which a Preprocess does not do",
        ),
        (v1.Compose([v1.ToTensor(), v1.Normalize(MEAN, STD)]), "resizes to no size"),
        (v1.Compose([v1.Lambda(lambda x: x)]), "the step Lambda"),
        ({"sise": 3}, "preprocess must be a ph.Preprocess"),
        ("image net", "preprocess must be a ph.Preprocess"),
        (3, "preprocess must be a ph.Preprocess"),
    ],
)
def test_what_is_no_preprocessing_is_one_sentence(given: Any, words: str) -> None:
    with pytest.raises(ph.PhospheneError, match=words):
        ph.Network(made("plain", 12), given)


@pytest.mark.parametrize(
    ("module", "preprocess", "words"),
    [
        (
            lambda: timm.create_model("resnet18", num_classes=5),
            ph.Preprocess((224, 224), MEAN, STD, resize=235, interpolation="bicubic"),
            "timm's",
        ),
        (lambda: tv.resnet18(num_classes=5), ph.Preprocess(224, MEAN, STD), "ImageNet's mean and std"),
        (lambda: made("plain", 12), ph.Preprocess(224), "as they are"),
    ],
)
def test_a_bare_module_is_a_network_with_a_note(module: Any, preprocess: ph.Preprocess, words: str) -> None:
    bare, photo = module(), torch.rand(1, 3, 224, 224)
    with pytest.warns(UserWarning, match=words):
        found = ph.explain(bare, photo, 1)
    assert any(words in note for note in found.notes)
    assert torch.equal(found.values, ph.explain(ph.Network(bare, preprocess), photo, 1).values)
