"""Zhou's class activation map: what it is, what it sums to, and of which networks there is none."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import phosphene as ph
from phosphene.cams.cam import methods
from phosphene.errors import RequestError, UnknownNameError
from tests import nets
from tests.cams.pooled import SIZE, close, last, module, net, pictures, weights, zhou


class Ending(nn.Module):
    """Rectified maps, and then whatever a test wants."""

    def __init__(self, end: Any, *parts: nn.Module) -> None:
        super().__init__()
        self.body = nn.Conv2d(3, 6, 3, padding=1)
        self.parts = nn.ModuleList(parts)
        self.end = end

    def forward(self, x: Tensor) -> Any:
        return self.end(F.relu(self.body(x)), *self.parts)


def ending(end: Any, *parts: nn.Module) -> ph.Network:
    made = Ending(end, *parts)
    with torch.no_grad():
        for i, parameter in enumerate(made.parameters()):
            parameter.copy_(weights(*parameter.shape, seed=i))
    return ph.Network(made, ph.Preprocess(size=SIZE, mean=0.5, std=0.25))


def head(inputs: int = 6) -> nn.Linear:
    return nn.Linear(inputs, 5)


def normed() -> nn.BatchNorm1d:
    norm = nn.BatchNorm1d(6)
    norm.running_mean, norm.running_var = torch.arange(6.0), torch.arange(1.0, 7)
    return norm


WITH_A_HEAD = {
    "mean": ending(lambda x, a: a(x.mean((2, 3))), head()),
    "mean of all axes but two": ending(lambda x, a: a(x.mean([-1, -2], keepdim=True).flatten(1)), head()),
    "one axis after the other": ending(lambda x, a: a(x.mean(3).mean(2)), head()),
    "one axis after the other, kept": ending(lambda x, a: a(x.mean(3, keepdim=True).mean(2, keepdim=True)[..., 0, 0]), head()),
    "sum": ending(lambda x, a: a(x.sum((2, 3))), head()),
    "adaptive": ending(lambda x, a: a(F.adaptive_avg_pool2d(x, 1).view(len(x), -1)), head()),
    "window": ending(lambda x, a: a(F.avg_pool2d(x, SIZE).squeeze(-1).squeeze(-1)), head()),
    "dropout": ending(lambda x, d, a: a(d(x.mean((2, 3)))), nn.Dropout(0.5), head()),
    "no bias": ending(lambda x, a: a(x.mean((2, 3))), nn.Linear(6, 5, bias=False)),
    "1×1 convolution": ending(lambda x, a: a(x.mean((2, 3), keepdim=True)).flatten(1), nn.Conv2d(6, 5, 1)),
    "two linear layers": ending(lambda x, a, b: b(a(x.mean((2, 3)))), nn.Linear(6, 4), head(4)),
    "batch norm": ending(lambda x, n, a: a(n(x.mean((2, 3)))), normed(), head()),
    "batch norm last": ending(lambda x, n: n(x.mean((2, 3))), normed()),
    "temperature": ending(lambda x, a: (a(x.mean((2, 3))) * 3 + 1) / 2, head()),
    "priors": ending(lambda x, a: a(x.mean((2, 3))) + torch.arange(5.0), head()),
    "class maps": ending(lambda x, a: F.relu(a(x)).mean((2, 3)), nn.Conv2d(6, 5, 1)),
    "channels last": ending(lambda x, a: a(x.movedim(1, -1).contiguous().mean((1, 2))), head()),
    "channels last in a module": ending(lambda x, i, a: a(i(x.movedim(1, -1)).mean((1, 2))), nn.Linear(6, 4), head(4)),
    "tokens": ending(lambda x, a: a(x.flatten(2).mT.mean(1)), head()),
    "tokens, channels first": ending(lambda x, a: a(x.flatten(2).mean(2)), head()),
    "window larger than the map, in ceil mode": ending(lambda x, a: a(F.avg_pool2d(x, 32, ceil_mode=True).flatten(1)), head()),
    "mean of two heads": ending(lambda x, n, a, b: (a(x.mean((2, 3))) + b(n(x.mean((2, 3))))) / 2, normed(), head(), head()),
    "difference of two heads": ending(lambda x, a, b: torch.sub(a(x.mean((2, 3))), b(x.sum((2, 3))), alpha=3), head(), head()),
    "less a prior": ending(lambda x, a: a(x.mean((2, 3))) - torch.arange(5.0), head()),
    "in a dict": ending(lambda x, a: {"logits": a(x.mean((2, 3))), "features": x}, head()),
}
WITHOUT = {
    "flattened": ending(lambda x, a: a(x.flatten(1)), head(6 * SIZE[0] * SIZE[1])),
    "pooled to 2×2": ending(lambda x, a: a(F.adaptive_avg_pool2d(x, 2).flatten(1)), head(24)),
    "sum of heads of different maps": ending(lambda x, a, b: a(x.mean((2, 3))) + b(x.square().mean((2, 3))), head(), head()),
    "sum of a head and one score": ending(lambda x, a, b: a(x.mean((2, 3))) + b(x.mean((2, 3))), head(), nn.Linear(6, 1)),
    "generalised mean": ending(lambda x, a: a(x.clamp(min=1e-6).pow(3).mean((2, 3)).pow(1 / 3)), head()),
    "log softmax": ending(lambda x, a: a(x.mean((2, 3))).log_softmax(1), head()),
    "largest": ending(lambda x, a: a(x.amax((2, 3))), head()),
    "rectified after pooling": ending(lambda x, a: a((x - 1).mean((2, 3)).relu()), head()),
    "hidden layer": ending(lambda x, a, b: b(a(x.mean((2, 3))).tanh()), nn.Linear(6, 4), head(4)),
    "cosine": ending(lambda x, a: a(F.normalize(x.mean((2, 3)))), head()),
    "two poolings": ending(lambda x, a: a(torch.cat([x.mean((2, 3)), x.amax((2, 3))], 1)), head(12)),
    "layer norm": ending(lambda x, n, a: a(n(x.mean((2, 3)))), nn.LayerNorm(6), head()),
    "written over": ending(lambda x, a: (a(x.mean((2, 3))), x.zero_())[0], head()),
    "scaled by itself": ending(lambda x, a: a(x.mean((2, 3))) * x.mean((1, 2, 3))[:, None], head()),
    "padded window": ending(lambda x, a: a(F.avg_pool2d(x, (8, 13), 9, (0, 1)).flatten(1)), head()),
    "one place": ending(lambda x, a: a(F.max_pool2d(x, SIZE).mean((2, 3))), head()),
    "of a channel": ending(lambda x, a: a(x.mean(1).flatten(1)), head(SIZE[0] * SIZE[1])),
}


@pytest.mark.parametrize("head", WITH_A_HEAD)
def test_the_map_and_the_bias_are_the_score(head: str) -> None:
    h = ph.cam(WITH_A_HEAD[head], pictures(3), ["logit:0", "logit:4", "logit:2"])
    assert h.exact
    assert not any("inexact" in note for item in h.items for note in item.notes)
    assert h.values.shape == (3, *SIZE)
    assert torch.allclose(h.total(), h.score.double(), rtol=1e-5, atol=1e-5)
    assert torch.allclose(h.score, WITH_A_HEAD[head].scores(pictures(3))[range(3), [0, 4, 2]])


@pytest.mark.parametrize("head", WITHOUT)
def test_a_network_without_such_a_head_is_told_what_would_do(head: str) -> None:
    with pytest.raises(RequestError, match=r"has no global average pooling .* grad_cam works .* gap-head gives"):
        ph.cam(WITHOUT[head], pictures(1))


@pytest.mark.parametrize("bias", [True, False])
def test_the_map_is_the_weights_times_the_features(bias: bool) -> None:
    of, shown = net(nn.ReLU(inplace=True), bias=bias), pictures()
    h = ph.cam(of, shown, "logit:d")
    assert close(h.values, zhou(of, shown, 3, "1"))
    assert h.items[0].numbers["bias"] == pytest.approx(last(of).bias[3].item() if bias else 0)


def test_the_bundled_network_proves_the_identity_for_every_class(robust: ph.Network) -> None:
    shown = torch.rand(1, 3, 32, 32)
    h = ph.cam(robust, shown, [f"logit:{c}" for c in range(10)])
    assert h.exact
    assert torch.allclose(h.total().float(), robust.scores(shown)[0], rtol=1e-5, atol=1e-5)


def test_class_and_map_come_from_one_forward_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    of, shown = net(nn.ReLU()), pictures(5)
    ran: list[int] = []
    read = of._read_once

    def counted(way: Any, given: Tensor, *more: Any) -> Any:
        ran.append(len(given))
        return read(way, given, *more)

    monkeypatch.setattr(of, "_read_once", counted)
    h = ph.cam(of, shown)
    assert ran == [5]
    assert [item.index for item in h.items] == of.scores(shown).argmax(1).tolist()
    assert [item.name for item in h.items] == [of.classes[c] for c in of.scores(shown).argmax(1)]
    assert torch.equal(h.values, ph.cam(of, shown, [item.objective for item in h.items]).values)


def test_the_map_of_a_difference_is_the_difference_of_the_maps() -> None:
    of, shown = net(nn.ReLU()), pictures()
    both = ph.cam(of, shown, "logit:a - 0.5*logit:b")
    a, b = (ph.cam(of, shown, f"logit:{c}") for c in "ab")
    assert close(both.values, a.values - 0.5 * b.values)
    assert both.exact
    assert torch.allclose(both.total(), a.total() - 0.5 * b.total())


@pytest.mark.parametrize(
    "objective",
    ["channel:1:2", "layer:1", "layer:1:squares", "direction:1:[1,2,0,-1,0,3]", "direction:1:[1,2,0,-1,0,3]:2.0"],
)
def test_a_hidden_unit_is_the_sum_of_its_map(objective: str) -> None:
    of, shown = net(nn.ReLU()), pictures()
    h = ph.cam(of, shown, objective)
    assert h.exact
    assert torch.allclose(h.total().float(), h.score, rtol=1e-5)
    assert h.items[0].layer == "1"


def test_the_map_of_a_channel_is_its_activation_map() -> None:
    of, shown = net(nn.ReLU()), pictures()
    assert close(ph.cam(of, shown, "channel:1:2").values, of.features(shown, "1")[:, 2] / 96)


@pytest.mark.parametrize("kind", [ph.match, ph.caricature])
def test_likeness_is_the_sum_of_local_likenesses(kind: Any) -> None:
    h = ph.cam(net(nn.ReLU()), pictures(), kind("1", pictures(1, seed=5)))
    assert h.exact
    assert torch.allclose(h.total().float(), h.score, rtol=1e-4)


def test_likeness_to_a_picture_of_which_nothing_is_left_is_nothing() -> None:
    of = net(nn.ReLU())
    h = ph.cam(of, torch.full((1, 3, *SIZE), 0.5), ph.caricature("1", pictures(1)))
    assert (float(h.values.abs().max()), h.score.tolist()) == (0.0, [0.0])


def test_what_class_tokens_give_is_told_with_the_bias() -> None:
    class Tokens(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.patch, self.norm, self.head = nn.Conv2d(3, 6, 4, 4), nn.LayerNorm(6), nn.Linear(6, 5)

        def forward(self, x: Tensor) -> Tensor:
            tokens = self.patch(x).flatten(2).mT
            tokens = self.norm(torch.cat([torch.ones(len(x), 1, 6), tokens], 1) + tokens.mean(1, keepdim=True))
            scores: Tensor = self.head(tokens.mean(1))
            return scores

    of = ph.Network(Tokens(), ph.Preprocess(size=(16, 24)))
    for objective, bias in (("logit:0", last(of).bias[0].item()), ("channel:norm:2", 0), ("layer:norm:squares", 0)):
        h = ph.cam(of, pictures(2, (16, 24)), objective)
        assert (h.values.shape, h.exact) == ((2, 4, 6), True)
        assert abs(h.items[0].numbers["bias"] - bias) > 1e-4


class ClassTokenAndMean(nn.Module):
    """The head of DINOv2: the class token beside the mean of the others; "peak" puts the largest of the others there."""

    def __init__(self, beside: str) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.patch, self.mix = nn.Conv2d(3, 6, 4, 4), nn.Linear(6, 6)
        self.token, self.beside = nn.Parameter(torch.randn(1, 1, 6)), beside
        self.head = nn.Linear(12, 5)

    def forward(self, x: Tensor) -> Any:
        x = self.patch(x).flatten(2).mT
        token = self.token + x.square().mean(1, keepdim=True)  # of its own for each picture
        x = self.mix(torch.cat([token, x], 1)).relu()
        beside = {"token": x[:, 0], "patch": x[:, 2], "peak": x[:, 1:].amax(1)}[self.beside]
        return self.head(torch.cat([beside, x[:, 1:].mean(1)], 1))


def test_a_class_token_beside_the_mean_of_tokens_counts_to_the_bias() -> None:
    module, x = ClassTokenAndMean("token"), pictures(2, (16, 24))
    of = ph.Network(module, ph.Preprocess(size=(16, 24)))
    h = ph.cam(of, x, "logit:1")
    tokens = of.features(x, "mix").relu()
    weight, constant = module.head.weight.detach()[1], module.head.bias.detach()[1]
    wanted = (tokens[:, 1:] @ weight[6:] / 24).view(2, 4, 6)
    torch.testing.assert_close(h.values, wanted, atol=1e-6, rtol=1e-5)
    bias = float(tokens[1, 0] @ weight[:6] + constant)
    assert h.items[1].numbers["bias"] == pytest.approx(bias, abs=1e-5)
    assert h.exact


@pytest.mark.parametrize("beside", ["patch", "peak"])
def test_what_else_stands_beside_the_mean_is_no_bias(beside: str) -> None:
    with pytest.raises(RequestError, match="no global average pooling"):
        ph.cam(ph.Network(ClassTokenAndMean(beside), ph.Preprocess(size=(16, 24))), pictures(2, (16, 24)), "logit:1")


def test_layers_with_channels_last_have_maps_of_channels() -> None:
    of = WITH_A_HEAD["channels last in a module"]
    assert ph.cam(of, pictures(1), "layer:parts.0").exact
    found = ph.cam(of, pictures(1), "channel:parts.0:1")
    given = of.features(pictures(1), "parts.0")
    torch.testing.assert_close(found.values[0], given[0, :, :, 1] / given[0, :, :, 1].numel())


@pytest.mark.parametrize(
    ("objective", "words"),
    [
        ("probability:a", "softmax mixes the scores after it; cam of logit"),
        ("neuron:1:2,3,4", "is not a sum over places"),
        ("channel:3:2", r"has no map: 3 gives \(6,\)"),
        ("logit:a + channel:2:1", r"has no map: 2 gives \(6, 1, 1\)"),
        (ph.custom(lambda a: a["1"].mean((1, 2, 3)), ["1"], "mine"), "custom:mine is not a sum over places"),
    ],
)
def test_a_unit_that_is_no_sum_over_places_is_refused(objective: Any, words: str) -> None:
    with pytest.raises(RequestError, match=words):
        ph.cam(net(nn.ReLU()), pictures(1), objective)


def test_maps_of_different_sizes_are_not_added_or_stacked() -> None:
    of = net(nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(6, 6, 1))
    with pytest.raises(RequestError, match="adds units whose maps differ in size"):
        ph.cam(of, pictures(1), "channel:1:0 + channel:2:0")
    with pytest.raises(RequestError, match="have maps of 4×6, 8×12"):
        ph.cam(of, pictures(2), ["channel:1:0", "channel:2:0"])


def test_a_score_that_is_not_the_sum_is_said_to_be_inexact() -> None:
    of = ph.Network(module(nn.ReLU()).bfloat16(), ph.Preprocess(size=SIZE, mean=0.5, std=0.25))
    h = ph.cam(of, pictures(1), "logit:0")
    assert not h.exact
    assert h.notes[0].startswith("inexact: the map and its bias sum to")
    assert torch.allclose(h.total().float(), h.score, rtol=0.02)


def test_a_method_that_proves_nothing_is_not_exact() -> None:
    h = ph.cam(net(nn.ReLU()), pictures(1), "logit:0", method="grad_cam")
    assert not h.exact
    assert torch.allclose(h.total(), h.values.double().sum((1, 2)))


def test_explain_gives_the_same_map() -> None:
    of, shown = net(nn.ReLU()), pictures()
    assert torch.equal(ph.explain(of, shown, "logit:a", method="cam").values, ph.cam(of, shown, "logit:a").values)


def test_the_methods_are_these() -> None:
    assert set(methods()) == {
        *("cam", "grad_cam", "grad_cam++", "hires_cam", "xgrad_cam", "layer_cam"),
        *("eigen_cam", "score_cam", "ablation_cam", "guided_grad_cam"),
    }


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"method": "saliency"}, r"saliency is no map of a layer's places; explain asks it, cam takes ablation_cam, cam"),
        ({"method": "grad_cam", "layer": "9"}, "no layer '9'"),
        ({"method": "grad_cam", "layer": "2"}, r"layer 2 has no places .* 0, 1 have them"),
        ({"method": "grad_cam", "layer": ()}, None),
        ({"method": "grad_cam", "layer": ["1", "1"]}, "an address, or several different ones"),
        ({"method": "grad_cam", "layer": 3}, "must be the address of a layer, such as 'layer4.1', got 3"),
        ({"layer": "1"}, "layer is '1'; cam is of the maps that the network pools"),
    ],
)
def test_a_wrong_request_is_told_in_a_sentence(settings: dict[str, Any], words: str | None) -> None:
    of = net(nn.ReLU())
    if words is None:
        assert ph.cam(of, pictures(1), **settings).items[0].layer == "1"
        return
    with pytest.raises((RequestError, UnknownNameError), match=words) as caught:
        ph.cam(of, pictures(1), **settings)
    assert "\n" not in str(caught.value)


def test_a_result_is_saved_with_its_numbers(tmp_path: Any, robust: ph.Network) -> None:
    h = ph.cam(robust, torch.rand(1, 3, 32, 32), images=["a.png"])
    h.save(tmp_path)
    (file,) = tmp_path.glob("*.npy")
    assert np.array_equal(np.load(file), h.values[0].numpy())
    assert h.record.verb == "cam"
    assert '"identity_error"' in (tmp_path / "run.json").read_text()


def test_the_tiny_networks_have_the_heads_that_they_have() -> None:
    found = {}
    for habit in nets.HABITS:
        try:
            found[habit] = ph.cam(nets.network(habit), pictures(1, (12, 12))).exact
        except RequestError:
            found[habit] = False
    assert found == {habit: habit in ("plain", "functional", "dict", "tuple", "frozen") for habit in nets.HABITS}
