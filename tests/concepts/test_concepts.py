"""Concepts and parts: closed forms of linear networks, Captum's and scikit-learn's own numbers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import phosphene as ph
from tests.nets import made


def colours(*means: float, count: int = 12, seed: int = 0) -> Tensor:
    """Noise about a colour, (count, 3, 8, 8)."""
    noise = torch.rand(count, 3, 8, 8, generator=torch.Generator().manual_seed(seed)) - 0.5
    return (torch.tensor(means).view(1, 3, 1, 1) + 0.3 * noise).clamp(0, 1)


def linear() -> ph.Network:
    """Its layer gives the colours, its classes are red, and blue less red."""
    conv, head = nn.Conv2d(3, 3, 1, bias=False), nn.Linear(3, 2, bias=False)
    conv.weight.data.copy_(torch.eye(3)[:, :, None, None])
    head.weight.data.copy_(torch.tensor([[1.0, 0.0, 0.0], [-1.0, 0.0, 1.0]]))
    module = nn.Sequential(conv, nn.AdaptiveAvgPool2d(1), nn.Flatten(), head)
    return ph.Network(module, ph.Preprocess(8), ["red", "blue less red"])


NET = linear()
RED, GREY = colours(0.8, 0.5, 0.5), colours(0.5, 0.5, 0.5, seed=1, count=24)


def test_the_direction_is_what_tells_the_pictures_apart() -> None:
    found = ph.concept(NET, RED, GREY, "0", runs=5)
    assert found.accuracy == 1
    assert float(found.vector[0]) > 0.9
    torch.testing.assert_close(found.vector.norm(), torch.tensor(1.0))
    assert not found.notes


def test_a_class_depends_on_the_concept_as_its_weights_say() -> None:
    found = ph.concept(NET, RED, GREY, "0")
    shown = torch.rand(4, 3, 8, 8)
    red, other = found.tcav(shown, "red"), found.tcav(shown, "blue less red")
    assert (red.score, other.score) == (1.0, 0.0)
    assert red.p < 0.05
    assert repr(red).startswith("Tcav(logit:0: 1.00")
    rows = found.table(shown, ["blue less red", 0]).rows
    assert [row[0] for row in rows] == ["logit:0", "logit:1"]


def test_what_is_no_concept_is_told() -> None:
    found = ph.concept(NET, colours(0.5, 0.5, 0.5, seed=2), GREY, "0", runs=6)
    assert found.accuracy < 0.7
    assert any("hardly better than chance" in note for note in found.notes)


def test_the_score_is_captums_for_the_same_direction() -> None:
    """Captum's own: the sign of the layer's gradient times the flattened direction."""
    from captum.attr import LayerActivation, LayerGradientXActivation

    module = made("plain", 12)
    net, shown = ph.Network(module, ph.Preprocess(12)), torch.rand(10, 3, 12, 12, generator=torch.Generator().manual_seed(3))
    bright, dark = torch.rand(8, 3, 12, 12) / 2 + 0.5, torch.rand(8, 3, 12, 12) / 2
    found = ph.concept(net, bright, dark, "3", runs=1)
    layer: Any = module[3]  # type: ignore[index]
    activation = LayerActivation(module, layer).attribute(shown)
    gradient = LayerGradientXActivation(module, layer, multiply_by_inputs=False).attribute(shown, target=2)
    theirs = ((gradient * found.vectors[0].view(1, -1, 1, 1)).sum((1, 2, 3)) > 0).float().mean()
    assert gradient.shape == activation.shape
    assert found.tcav(shown, 2).score == pytest.approx(float(theirs))


def test_a_concept_is_an_objective_like_any_other(tmp_path: Path) -> None:
    found = ph.concept(NET, RED, GREY, "0", runs=3)
    drawn = ph.render(NET, found.direction, recipe="pixels", steps=16).pictures[0]
    assert drawn[0].mean() > drawn[1].mean() + 0.1
    assert ph.explain(NET, RED[:1], found.direction).values.abs().sum() > 0
    assert ph.examples(NET, torch.cat([GREY, RED]), found.direction, top=1).indices.item() >= len(GREY)
    path = found.save(tmp_path / "red.npy")
    text = ph.parse(f"direction:0:{path}")
    assert torch.equal(ph.explain(NET, RED[:1], text).values, ph.explain(NET, RED[:1], found.direction).values)


def test_draws_are_of_their_seed_and_leave_the_callers_numbers() -> None:
    torch.manual_seed(5)
    before = torch.get_rng_state()
    one, same, other = (ph.concept(NET, RED, GREY, "0", runs=2, seed=seed) for seed in (0, 0, 1))
    assert torch.equal(one.vectors, same.vectors)
    assert not torch.equal(one.vectors, other.vectors)
    assert torch.equal(torch.get_rng_state(), before)


def test_parts_are_scikit_learns_factors() -> None:
    from sklearn.decomposition import NMF

    net = ph.Network(made("plain", 12), ph.Preprocess(12))
    shown = torch.rand(6, 3, 12, 12, generator=torch.Generator().manual_seed(4))
    found = ph.parts(net, shown, "4", 3)
    rows = net.features(shown, "4").movedim(1, -1).flatten(0, 2).double().numpy()
    model = NMF(3, init="nndsvda", random_state=0, max_iter=400).fit(rows)
    theirs = np.linalg.norm(rows - model.transform(rows) @ model.components_) / np.linalg.norm(rows)
    assert found.error == pytest.approx(theirs, abs=1e-3)
    again = torch.einsum("bphw,pk->bkhw", found.maps, found.vectors)
    assert float((net.features(shown, "4") - again).norm() / net.features(shown, "4").norm()) == pytest.approx(
        found.error, abs=1e-4
    )


def test_parts_are_found_where_they_are() -> None:
    """Half red, half blue pictures are made of red on the left and of blue on the right."""
    shown = torch.zeros(4, 3, 8, 8)
    shown[:, 0, :, :4] = 0.9
    shown[:, 2, :, 4:] = 0.6
    found = ph.parts(NET, shown, "0", 2)
    assert found.error < 1e-3
    red, blue = found.maps[0]
    assert red[:, :4].min() > 0.5 * red.max()
    assert red[:, 4:].max() < 1e-3 * red.max()
    assert blue[:, :4].max() < 1e-3 * blue.max()
    assert ph.explain(NET, shown[:1], found.directions[0]).values.abs().sum() > 0
    assert found.sheet().width > 300
    assert "data:image/png" in found._repr_html_()


def test_negative_activations_are_told() -> None:
    net = ph.Network(made("plain", 12), ph.Preprocess(12))
    assert any("are negative and counted as zero" in note for note in ph.parts(net, torch.rand(3, 3, 12, 12), "3", 2).notes)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: ph.concept(NET, RED[:3], GREY, "0"), "must be 6 pictures or more each, got 3 and 24"),
        (lambda: ph.concept(NET, RED, GREY, "nowhere"), "no layer 'nowhere'"),
        (lambda: ph.concept(NET, RED, GREY, "2"), "must have positions|positions"),
        (lambda: ph.concept(NET, RED, GREY, None), "layer must be the address"),  # type: ignore[arg-type]
        (lambda: ph.concept(NET, RED, GREY, "0", runs=0), "runs is 0"),
        (lambda: ph.parts(NET, RED, "0", 0), "k is 0"),
        (lambda: ph.parts(NET, RED, "0", 99), "k is 99; 1 to 3"),
        (lambda: ph.parts(NET, torch.zeros(2, 3, 8, 8), "0", 1), "must give numbers above 0"),
    ],
)
def test_a_wrong_request_is_one_sentence(call: Any, words: str) -> None:
    with pytest.raises(ph.PhospheneError, match=words) as caught:
        call()
    assert "\n" not in str(caught.value)
