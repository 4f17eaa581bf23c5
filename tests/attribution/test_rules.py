"""Guided backpropagation and the deconvnet against references made by hand, on every way to write a rectifier."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

import phosphene as ph
from phosphene.attribution import rules
from phosphene.errors import RequestError
from tests.attribution.linear import linear, pictures

P = ph.Preprocess(size=(12, 10), mean=0.5, std=0.25)
SHOWN = pictures(2, (12, 10))
Rectify = Callable[[Tensor], Tensor]


class Rectifying(nn.Module):
    """Convolutions, pooling and a shortcut, rectified at four places by whatever it is given, one of them reused."""

    def __init__(self, *rectify: Any) -> None:
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(3)
            self.one, self.two, self.three = nn.Conv2d(3, 6, 3), nn.Conv2d(6, 6, 3, padding=1), nn.Conv2d(6, 6, 3, padding=1)
            self.head = nn.Linear(6, 4)
        for name in ("one", "two", "three"):
            getattr(self, name).weight.data *= 3  # so that ReLU6 meets its upper end
        self.rectify = rectify * (4 // len(rectify))

    def forward(self, x: Tensor) -> Tensor:
        first, second, third, fourth = self.rectify
        x = F.max_pool2d(first(self.one(x)), 2)
        x = third(second(self.two(x)) + fourth(self.three(x)))
        scores: Tensor = self.head(x.mean((2, 3)))
        return scores


def reference(rule: str, rectify: Rectify, passes: Callable[[Tensor], Tensor]) -> Rectify:
    """The rectifier as an operation of its own whose backward pass is the rule. passes: 1 where the forward pass is open."""

    class By(torch.autograd.Function):
        @staticmethod
        def forward(context: Any, x: Tensor) -> Tensor:
            context.save_for_backward(x)
            return rectify(x)

        @staticmethod
        def backward(context: Any, *outgoing: Tensor) -> Tensor:
            (x,) = context.saved_tensors
            arrived = outgoing[0].clamp(min=0)
            return arrived * passes(x) if rule == "guided" else arrived

    def by(x: Tensor) -> Tensor:
        given: Tensor = By.apply(x)
        return given

    return by


def wanted(rule: str, rectify: Rectify, passes: Callable[[Tensor], Tensor]) -> Tensor:
    leaf = SHOWN.clone().requires_grad_(True)
    module = Rectifying(reference(rule, rectify, passes))
    (gradient,) = torch.autograd.grad(module(P.forward(leaf))[:, 2].sum(), leaf)
    return gradient


def found(rule: str, module: nn.Module) -> ph.Heatmap:
    return ph.explain(ph.Network(module, P), SHOWN, "logit:2", method={"guided": "guided_backprop"}.get(rule, rule))


def above_zero(x: Tensor) -> Tensor:
    return (x > 0).float()


RELUS: dict[str, tuple[Any, ...]] = {
    "modules": (nn.ReLU(), nn.ReLU(), nn.ReLU(), nn.ReLU()),
    "one module reused": (nn.ReLU(),),
    "in place": (nn.ReLU(inplace=True),),
    "F.relu": (F.relu,),
    "torch.relu": (torch.relu,),
    "x.relu_()": (lambda x: x.relu_(),),
    "clamp": (lambda x: x.clamp(min=0),),
    "clamp by a tensor": (lambda x: x.clamp(min=torch.zeros_like(x)),),
    "threshold": (nn.Threshold(0.0, 0.0),),
    "all mixed": (nn.ReLU(inplace=True), F.relu, torch.relu, lambda x: x.clamp(min=0)),
}


@pytest.mark.parametrize("rule", ["guided", "deconvnet"])
@pytest.mark.parametrize("kind", RELUS)
def test_relu_however_written_obeys_the_rule(rule: str, kind: str) -> None:
    h = found(rule, Rectifying(*RELUS[kind]))
    torch.testing.assert_close(h.colour, wanted(rule, torch.relu, above_zero))
    assert h.items[0].numbers == {"rectifiers": 4}


RELU6S: dict[str, Any] = {
    "modules": nn.ReLU6(),
    "in place": nn.ReLU6(inplace=True),
    "F.relu6": F.relu6,
    "hardtanh": nn.Hardtanh(0, 6),
    "clamp": lambda x: x.clamp(0, 6),
}


@pytest.mark.parametrize("rule", ["guided", "deconvnet"])
@pytest.mark.parametrize("kind", RELU6S)
def test_relu6_however_written_obeys_the_rule(rule: str, kind: str) -> None:
    given = wanted(rule, F.relu6, lambda x: ((x > 0) & (x < 6)).float())
    if rule == "guided":
        assert not torch.equal(given, wanted(rule, torch.relu, above_zero))  # or its upper end was never met
    torch.testing.assert_close(found(rule, Rectifying(RELU6S[kind])).colour, given)


@pytest.mark.parametrize("rule", ["guided", "deconvnet"])
@pytest.mark.parametrize("leaky", [nn.LeakyReLU(0.2), nn.LeakyReLU(0.2, inplace=True), nn.PReLU(init=0.2)])
def test_leaky_relu_keeps_its_slope(rule: str, leaky: nn.Module) -> None:
    given = wanted(rule, lambda x: F.leaky_relu(x, 0.2), lambda x: torch.where(x > 0, 1.0, 0.2))
    torch.testing.assert_close(found(rule, Rectifying(leaky)).colour, given)


def test_the_rules_differ_from_the_plain_gradient() -> None:
    module = Rectifying(F.relu)
    maps = [found(rule, module).values for rule in ("gradient", "guided", "deconvnet")]
    assert all(not torch.allclose(a, b) for a, b in ((maps[0], maps[1]), (maps[1], maps[2]), (maps[0], maps[2])))


def test_the_deconvnet_without_pooling_does_not_look_at_the_picture() -> None:
    module = nn.Sequential(nn.Conv2d(3, 6, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, 3))
    h = found("deconvnet", module)
    torch.testing.assert_close(h.values[0], h.values[1])


@pytest.mark.parametrize("method", ["guided_backprop", "deconvnet"])
@pytest.mark.parametrize("smooth", ["GELU", "SiLU", "ELU", "CELU", "Mish", "Softplus", "Hardswish", "LogSigmoid"])
def test_what_cuts_nothing_off_is_refused_by_name(method: str, smooth: str) -> None:
    net = ph.Network(Rectifying(getattr(nn, smooth)(), nn.ReLU()), P)
    with pytest.raises(RequestError, match=f"is not defined for {smooth}, which cuts nothing off; saliency or smoothgrad is"):
        ph.explain(net, SHOWN, "logit:0", method=method)
    assert ph.explain(net, SHOWN, "logit:0", method="saliency").values.max() > 0


@pytest.mark.parametrize(
    "rectify", [torch.tanh, torch.sigmoid, lambda x: x.clamp(min=0.1), nn.Hardtanh(), lambda x: x.clamp(max=2)]
)
def test_a_network_without_rectifiers_is_refused(rectify: Any) -> None:
    net = ph.Network(Rectifying(rectify), P)
    with pytest.raises(RequestError, match=r"guided needs rectifiers .* there are none; saliency works with any activation"):
        ph.explain(net, SHOWN, "logit:0", method="guided_backprop")


def test_a_linear_network_is_refused() -> None:
    net, _ = linear()
    with pytest.raises(RequestError, match="deconvnet needs rectifiers"):
        ph.explain(net, pictures(1), "logit:one", method="deconvnet")


class Hiding(nn.Module):
    """Rectifies where torch does not show it."""

    def __init__(self) -> None:
        super().__init__()
        self.net = Rectifying(F.relu)

    def forward(self, x: Tensor) -> Tensor:
        x = x * 1.0
        x[:, :1].relu_()
        return self.net(x)  # type: ignore[no-any-return]  # a module's call


def test_what_may_hide_rectifiers_is_refused() -> None:
    net = ph.Network(Hiding(), P)
    with pytest.raises(RequestError, match=r"cannot see into .*CopySlices.*, which may hide rectifiers"):
        ph.explain(net, SHOWN, "logit:0", method="guided_backprop")


def test_a_checkpoint_that_torch_does_show_obeys_the_rule() -> None:
    class Kept(Rectifying):
        def forward(self, x: Tensor) -> Tensor:
            scores: Tensor = checkpoint(super().forward, x, use_reentrant=False)
            return scores

    torch.testing.assert_close(found("guided", Kept(F.relu)).colour, wanted("guided", torch.relu, above_zero))


def test_torch_still_calls_its_nodes_by_these_names() -> None:
    """They are private to torch. Where this fails, the tables of rules.py want new names."""
    x = torch.randn(3, 4, requires_grad=True)
    operations: dict[str, Callable[[Tensor], Tensor]] = {
        "ReluBackward": F.relu,
        "LeakyReluBackward": F.leaky_relu,
        "PreluKernelBackward": nn.PReLU(),
        "RreluWithNoiseBackward": lambda x: F.rrelu(x, training=True),
        "HardtanhBackward": F.relu6,
        "ThresholdBackward": lambda x: F.threshold(x, 0, 0),
        "ClampBackward": lambda x: x.clamp(0, 1),
        "ClampMinBackward": lambda x: x.clamp_min(0),
        "MaximumBackward": lambda x: torch.maximum(x, torch.zeros(())),
        "GeluBackward": F.gelu,
        "SiluBackward": F.silu,
        "EluBackward": F.elu,
        "CeluBackward": F.celu,
        "MishBackward": F.mish,
        "SoftplusBackward": F.softplus,
        "HardswishBackward": F.hardswish,
        "LogSigmoidBackward": F.logsigmoid,
    }
    assert set(operations) == {*rules._RECTIFIERS, *rules._SMOOTH}
    for name, operation in operations.items():
        names = [str(node.name()).rstrip("0123456789") for node in rules.nodes(operation(x))]
        assert name in names, names


def test_a_rule_acts_on_one_backward_pass_and_leaves_the_network_plain() -> None:
    module = Rectifying(nn.ReLU())
    before = found("gradient", module).values
    found("guided", module)
    assert torch.equal(found("gradient", module).values, before)


@pytest.mark.parametrize("rule", ["guided", "deconvnet"])
@pytest.mark.parametrize(
    "by_hand",
    [
        lambda x: x * F.relu6(x + 3) / 6,
        lambda x: x * (F.relu6(x + 3) / 6),
        lambda x: x * torch.sigmoid(1.702 * x),
        lambda x: x.clone().mul_(x.sigmoid()),
        lambda x: x / (1 + torch.exp(-x)),
        lambda x: 0.5 * x * (1 + torch.tanh(0.8 * (x + 0.0447 * x**3))),
        lambda x: x * torch.tanh(F.softplus(x)),
    ],
)
def test_smooth_activations_written_by_hand_are_refused(rule: str, by_hand: Rectify) -> None:
    with pytest.raises(RequestError, match=r"not defined for x · gate\(x\)"):
        found(rule, Rectifying(by_hand))


@pytest.mark.parametrize(
    "by_hand",
    [
        lambda x: torch.where(x > 0, x, 0.0),
        lambda x: x * (x > 0),
        lambda x: (x > 0).float() * x,
        lambda x: x.masked_fill(x < 0, 0),
    ],
)
def test_choices_by_a_mask_are_refused(by_hand: Rectify) -> None:
    with pytest.raises(RequestError, match="choice by a mask"):
        found("guided", Rectifying(by_hand, F.relu))


@pytest.mark.parametrize("rule", ["guided", "deconvnet"])
@pytest.mark.parametrize(
    "by_hand", [lambda x: torch.maximum(x, torch.zeros(())), lambda x: torch.maximum(torch.zeros_like(x), x)]
)
def test_a_maximum_with_zero_is_a_rectifier(rule: str, by_hand: Rectify) -> None:
    h = found(rule, Rectifying(by_hand))
    assert torch.equal(h.values, found(rule, Rectifying(F.relu)).values)
    assert h.items[0].numbers["rectifiers"] == 4


def test_a_gate_written_by_hand_keeps_the_plain_rule() -> None:
    def gated(gate: Rectify) -> Rectify:
        return lambda x: F.relu(x) * gate(x.mean((2, 3), keepdim=True))

    by_hand = found("guided", Rectifying(gated(lambda x: F.relu6(x + 3) / 6)))
    assert by_hand.items[0].numbers["rectifiers"] == 4
    assert torch.allclose(by_hand.values, found("guided", Rectifying(gated(F.hardsigmoid))).values, atol=1e-6)


def test_a_mask_of_channels_is_no_rectifier() -> None:
    kept = (torch.arange(6) % 3 > 0).float()[:, None, None]
    assert found("guided", Rectifying(lambda x: F.relu(x) * kept)).items[0].numbers["rectifiers"] == 4


def test_sums_into_a_part_of_a_tensor_are_no_refusal() -> None:
    def added(x: Tensor) -> Tensor:
        x = F.relu(x)
        x = x.clone()
        x[:, :2] += x[:, 2:4].clone()
        return x

    def joined(x: Tensor) -> Tensor:
        x = F.relu(x)
        return torch.cat([x[:, :2] + x[:, 2:4], x[:, 2:]], 1)

    assert torch.allclose(found("guided", Rectifying(added)).values, found("guided", Rectifying(joined)).values, atol=1e-6)
