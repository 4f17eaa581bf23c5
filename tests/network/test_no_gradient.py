from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import phosphene as ph
from phosphene.errors import PhospheneError
from phosphene.network import prepared

P = ph.Preprocess(size=12)
X = torch.rand(2, 3, 12, 12, generator=torch.Generator().manual_seed(1))


class Net(nn.Module):
    def __init__(self, first: Callable[[Tensor], Tensor], last: Callable[[Tensor], Tensor] = lambda s: s) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.conv, self.head, self.first, self.last = nn.Conv2d(3, 6, 3), nn.Linear(6, 4), first, last

    def forward(self, x: Tensor) -> Any:
        return self.head(self.last(self.conv(self.first(x)).relu()).mean((2, 3)))


@pytest.mark.parametrize("cut", [lambda x: x.detach(), lambda x: (x * 255).to(torch.uint8).float() / 255])
def test_a_cut_gradient_is_told_as_that_and_occlusion_goes_on(cut: Callable[[Tensor], Tensor]) -> None:
    net = ph.Network(Net(cut), P)
    assert "or forward cuts it" in net.notes[0]
    for ask in (
        lambda: ph.explain(net, X, "logit:1"),
        lambda: ph.render(net, "logit:1", steps=1),
        lambda: ph.dream(net, X[:1], "logit:1", octaves=1, steps=1),
    ):
        with pytest.raises(PhospheneError, match="no gradient reaches the image"):
            ask()
    assert ph.explain(net, X, "logit:1", method="occlusion").values.any()


def standardised(x: Tensor) -> Tensor:
    return (x - x.mean((1, 2, 3), keepdim=True)) / x.std((1, 2, 3), keepdim=True)


def test_a_flat_start_that_is_not_finite_gives_way_to_another() -> None:
    net = ph.Network(Net(standardised), P)
    made = ph.render(net, "logit:1", steps=2, recipe="simonyan2013")
    assert made.scores.isfinite().all()
    assert "not finite at the usual start" in made.items[0].notes[0]
    item = ph.explain(net, X, "logit:1", method="integrated_gradients").items[0]
    assert item.numbers == {}
    assert "not finite at the baseline" in item.notes[0]


def test_a_network_that_computes_in_float32_inside_is_not_run_in_bfloat16(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prepared, "native_half", lambda device: True)
    monkeypatch.setattr(prepared, "HALF_FROM", 8)
    made = ph.render(ph.Network(Net(lambda x: x, lambda s: s.float()), P), "logit:1", steps=1)
    assert "does not run in bfloat16" in made.notes[-1]
    assert made.records[0].environment["precision"] == "full"
    plain = ph.render(ph.Network(Net(lambda x: x), P), "logit:1", steps=1)
    assert plain.records[0].environment["precision"] == "half"


def test_cudnn_is_off_where_a_recurrent_layer_must_give_a_gradient() -> None:
    states: list[bool] = []

    class Recurrent(Net):
        def __init__(self) -> None:
            super().__init__(lambda x: x)
            self.rnn = nn.LSTM(6, 6, batch_first=True)

        def forward(self, x: Tensor) -> Any:
            states.append(torch.backends.cudnn.enabled)
            return self.head(self.rnn(self.conv(x).flatten(2).transpose(1, 2))[0][:, -1])

    net = ph.Network(Recurrent(), P)
    states.clear()
    before = torch.backends.cudnn.enabled
    ph.explain(net, X, "logit:1")
    assert states == [False]
    assert torch.backends.cudnn.enabled == before


@pytest.mark.filterwarnings("ignore")
def test_a_dynamically_quantised_layer_cuts_the_gradient() -> None:
    module = torch.ao.quantization.quantize_dynamic(Net(lambda x: x).eval(), {nn.Linear}, dtype=torch.qint8)
    net = ph.Network(module, P)
    for ask in (lambda: ph.explain(net, X, "logit:1"), lambda: ph.render(net, "logit:1", steps=1)):
        with pytest.raises(PhospheneError, match="quantised layers"):
            ask()


class Static(nn.Module):
    """To be quantised before it runs: all layers give int8."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.q, self.d = torch.ao.quantization.QuantStub(), torch.ao.quantization.DeQuantStub()
        self.a, self.b, self.head = nn.Conv2d(3, 8, 3), nn.Conv2d(8, 6, 3), nn.Linear(6, 4)
        self.pool = nn.AdaptiveAvgPool2d(1)

    def forward(self, x: Tensor) -> Any:
        return self.d(self.head(self.pool(self.b(self.a(self.q(x)))).flatten(1)))


@pytest.fixture(scope="module")
def static() -> ph.Network:
    module = Static().eval()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        module.qconfig = torch.ao.quantization.get_default_qconfig(torch.backends.quantized.engine)
        torch.ao.quantization.prepare(module, inplace=True)
        module(X)
        return ph.Network(torch.ao.quantization.convert(module), P)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("method", ["score_cam", "ablation_cam", "eigen_cam", "occlusion", "rise"])
def test_layers_of_int8_are_explained_without_a_gradient(static: ph.Network, method: str) -> None:
    found = ph.explain(static, X, "logit:1", method=method)
    assert found.values.any()
    assert found.items[0].layer in (None, "b")


@pytest.mark.filterwarnings("ignore")
def test_layers_of_int8_rank_pictures(static: ph.Network) -> None:
    best = ph.examples(static, X, "channel:b:*", top=1).values[:, 0]
    torch.testing.assert_close(best, static.features(X, "b").amax((0, 2, 3)))


@pytest.mark.filterwarnings("ignore")
def test_what_needs_a_gradient_or_a_head_names_what_does_not(static: ph.Network) -> None:
    with pytest.raises(PhospheneError, match="layer b: no gradient reaches the image"):
        ph.cam(static, X, "logit:1", method="grad_cam")
    with pytest.raises(PhospheneError, match="method score_cam works without"):
        ph.cam(static, X, "logit:1")


def test_rise_of_a_score_that_never_changes_is_zero_everywhere() -> None:
    found = ph.explain(ph.Network(Net(lambda x: x * 0 + 0.3), P), X, "logit:1", method="rise")
    assert not found.values.any()


@pytest.mark.parametrize("kind", ["dream", "score_cam"])
def test_the_fall_back_from_bfloat16_is_told(monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    monkeypatch.setattr(prepared, "native_half", lambda device: True)
    monkeypatch.setattr(prepared, "HALF_FROM", 8)
    net = ph.Network(Net(lambda x: x, lambda s: s.float()), P)
    if kind == "dream":
        notes = ph.dream(net, X[:1], "logit:1", octaves=1, steps=1).notes
    else:
        notes = ph.cam(net, X, "logit:1", method="score_cam").items[0].notes
    assert any("does not run in bfloat16" in note for note in notes)
