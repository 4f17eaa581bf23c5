"""A head of global average pooling, trained on pictures of one's own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import phosphene as ph
from phosphene.cams.surgery import gap_head
from phosphene.errors import RequestError, UnknownNameError, WeightsError
from phosphene.network.load import parse
from tests.cams.pooled import close, last, weights

CLASSES = ["red", "green", "blue"]


def vgg() -> nn.Module:
    """Pooling that leaves places, then layers that mix them."""
    made = nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1),
        nn.ReLU(inplace=True),
        nn.MaxPool2d(2),
        nn.AdaptiveAvgPool2d(3),
        nn.Flatten(),
        nn.Linear(72, 16),
        nn.ReLU(),
        nn.Linear(16, 5),
    )
    with torch.no_grad():
        for i, parameter in enumerate(made.parameters()):
            parameter.copy_(0.3 * weights(*parameter.shape, seed=i))
    return made


def base() -> ph.Network:
    return ph.Network(
        vgg(), ph.Preprocess(size=16, mean=0.5, std=0.25), name="tests.cams.test_surgery:vgg?size=16&mean=0.5&std=0.25"
    )


def patches(count: int = 10, seed: int = 0) -> list[tuple[Tensor, int]]:
    """A coloured square in noise; where it is differs."""
    draws = torch.Generator().manual_seed(seed)
    made = []
    for i in range(3 * count):
        picture = 0.4 * torch.rand(1, 3, 16, 16, generator=draws)
        y, x = (int(torch.randint(0, 10, (1,), generator=draws)) for _ in range(2))
        picture[:, i % 3, y : y + 6, x : x + 6] = 1
        made.append((picture, i % 3))
    return made


def test_the_head_learns_and_has_class_activation_maps_that_lie_on_the_object() -> None:
    made = gap_head(base(), patches(20), CLASSES)
    assert (made.layer, made.counts, made.learned, made.held_out) == ("1", (48, 12), 1.0, 1.0)
    shown = torch.full((1, 3, 16, 16), 0.2)
    shown[:, 1, 2:8, 8:14] = 1
    h = ph.cam(made.net, shown)
    assert (h.items[0].name, h.exact) == ("green", True)
    place = int(h.values[0].argmax())
    assert 2 <= place // 16 < 8
    assert 8 <= place % 16 < 14


def test_the_score_is_the_mean_of_the_maps_through_the_head() -> None:
    of = base()
    made = gap_head(of, patches(), CLASSES)
    shown = torch.rand(2, 3, 16, 16)
    assert close(
        made.net.scores(shown),
        F.linear(of.features(shown, "1").mean((2, 3)), last(made.net).weight, last(made.net).bias),
    )


def test_only_the_head_is_new_and_the_network_is_left_as_it_was() -> None:
    of = base()
    before = of.sha256()
    made = gap_head(of, patches(), CLASSES)
    body = made.net.module.get_submodule("body").state_dict()
    assert of.sha256() == before
    assert all(torch.equal(tensor, body[name]) for name, tensor in of.module.state_dict().items())


def test_the_same_pictures_give_the_same_head() -> None:
    one, two = (last(gap_head(base(), patches(), CLASSES).net).weight for _ in range(2))
    assert torch.equal(one, two)


def test_the_head_is_where_its_loss_has_no_slope() -> None:
    of, data = base(), patches()
    head = last(gap_head(of, data, CLASSES, held_out=0, penalty=0.1).net)
    x = torch.cat([of.features(photo, "1").mean((2, 3)) for photo, _ in data]).double()
    spread = x.std(0, correction=0)
    weight = (head.weight.double() * spread).requires_grad_(True)
    bias = (head.bias.double() + head.weight.double() @ x.mean(0)).requires_grad_(True)
    loss = F.cross_entropy((x - x.mean(0)) / spread @ weight.T + bias, torch.tensor([label for _, label in data]))
    gradients = torch.autograd.grad(loss + 0.1 * weight.square().sum(), (weight, bias))
    assert all(float(g.abs().max()) < 1e-5 for g in gradients)


def test_none_is_kept_apart_where_that_is_asked_or_there_is_one_alone() -> None:
    assert gap_head(base(), patches(), CLASSES, held_out=0).held_out is None
    assert gap_head(base(), patches(1), CLASSES, held_out=0.5).counts == (3, 0)


def test_a_saved_head_opens_by_itself(tmp_path: Path) -> None:
    made = gap_head(base_by_reference(), patches(), CLASSES)
    file = made.save(tmp_path / "head.safetensors")
    again = ph.load(f"gap-head:{file}")
    shown = torch.rand(2, 3, 16, 16)
    assert again.classes == tuple(CLASSES)
    assert torch.equal(again.scores(shown), made.net.scores(shown))
    assert ph.cam(again, shown).exact


def base_by_reference() -> ph.Network:
    return ph.load("tests.cams.test_surgery:vgg?size=16&mean=0.5&std=0.25")


def test_opening_it_is_known_to_run_code() -> None:
    assert parse("gap-head:a.safetensors").runs_code


def test_a_head_of_other_weights_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = gap_head(base_by_reference(), patches(), CLASSES).save(tmp_path / "head.safetensors")
    monkeypatch.setitem(globals(), "weights", lambda *shape, seed: torch.ones(shape))
    with pytest.raises(WeightsError, match="has other weights now than when the head was made"):
        ph.load(f"gap-head:{file}")


def test_a_file_that_is_no_head_is_refused(tmp_path: Path) -> None:
    from safetensors.torch import save_file

    save_file({"weight": torch.ones(2)}, tmp_path / "a.safetensors")
    with pytest.raises(WeightsError, match=r"a\.safetensors holds no GAP head; phosphene gap-head writes one"):
        ph.load(f"gap-head:{tmp_path}/a.safetensors")
    with pytest.raises(RequestError, match=r"gap-head takes no \?weights="):
        ph.load(f"gap-head:{tmp_path}/a.safetensors?weights=none")


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"classes": ["one"]}, "two or more different names"),
        ({"classes": ["a", "a", "b"]}, "two or more different names"),
        ({"classes": "abc"}, "two or more different names"),
        ({"classes": [*CLASSES, "black"]}, "there is no picture of class 3"),
        ({"data": [(torch.rand(1, 3, 16, 16), 7)]}, "label is 7"),
        ({"data": []}, "there is no picture of class 0"),
        ({"layer": "5"}, "layer 5 has no places"),
        ({"layer": "9"}, "no layer '9'"),
        ({"held_out": 1.0}, "held_out is 1.0"),
        ({"penalty": -1}, "penalty is -1"),
    ],
)
def test_a_wrong_request_is_told_in_a_sentence(changed: dict[str, Any], words: str) -> None:
    given: dict[str, Any] = {"data": patches(2), "classes": CLASSES} | changed
    with pytest.raises((RequestError, UnknownNameError), match=words):
        gap_head(base(), **given)


def test_it_is_saved_as_safetensors_alone(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match=r"ends in \.safetensors is needed"):
        gap_head(base(), patches(2), CLASSES).save(tmp_path / "head.pt")
