"""What the recipes are for: pictures that networks recognise which took no part."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

import phosphene as ph


@pytest.fixture(scope="module")
def models(robust: ph.Network) -> ph.Rendering:
    return ph.render(robust, [ph.logit(name) for name in robust.classes], recipe="pixels", frames=0)


def test_class_models_of_the_robust_network_are_recognised_by_both(
    models: ph.Rendering, robust: ph.Network, standard: ph.Network
) -> None:
    for judge in (robust, standard):
        assert judge.scores(models.pictures).argmax(1).tolist() == list(range(10))


@pytest.mark.slow
def test_class_models_of_the_pair_are_recognised_by_each_other(robust: ph.Network, standard: ph.Network) -> None:
    """By default, five seeds: 50 of 50 of the one that was trained as usual, which had 40 with `pixels`; 43 of the other."""
    for net, judge, least in ((standard, robust, 48), (robust, standard, 40)):
        hits = 0
        for seed in range(5):
            drawn = ph.render(net, [f"logit:{i}" for i in range(10)], seed=seed, frames=0)
            assert drawn.record.recipe["name"] == "natural"
            hits += int((judge.scores(drawn.pictures).argmax(1) == torch.arange(10)).sum())
        assert hits >= least


def test_class_models_are_neither_saturated_nor_grey(models: ph.Rendering) -> None:
    ends = (models.pictures <= 0) | (models.pictures >= 1)
    assert ends.float().mean() < 0.02
    assert models.pictures.flatten(1).std(1).min() > 0.1


def test_simonyan_pays_for_contrast(robust: ph.Network) -> None:
    paid = ph.render(robust, "logit:horse", recipe="simonyan2013", frames=0)
    free = ph.render(robust, "logit:horse", recipe="simonyan2013", priors=[], frames=0)
    assert paid.pictures.std() < 0.8 * free.pictures.std()
    assert paid.items[0].rank == 1


@pytest.mark.lab
@pytest.mark.slow
def test_a_real_imagenet_network_renders_three_classes(lab: Path) -> None:
    weights = lab / "mobilenet_v2_imagenet.safetensors"
    reference = f"{lab}/mobilenets.py:MobileNetV2?weights={weights}&classes={lab}/classes.json&size=224&mean=0.5&std=0.5"
    net = ph.load(reference)
    rendering = ph.render(net, ["logit:goose", "logit:flamingo", "logit:lemon"], steps=24, frames=0)
    assert rendering.pictures.shape == (3, 3, 224, 224)
    assert [item.rank for item in rendering.items] == [1, 1, 1]
    assert torch.isfinite(rendering.history).all()
