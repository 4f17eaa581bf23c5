"""Captum, where it is installed: ours agree with it where it is right, and its other methods are asked as ours are."""

from __future__ import annotations

import sys
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import phosphene as ph
from phosphene.attribution.methods import IntegratedGradients
from phosphene.attribution.perturbation import Occlusion
from phosphene.errors import ExtraError, RequestError, UnknownNameError
from phosphene.results.method import find_method
from tests.attribution.linear import linear, pictures
from tests.attribution.test_explain import assert_same, traces
from tests.nets import Functional, made

attr: Any = pytest.importorskip("captum.attr")
P = ph.Preprocess(size=12, mean=0.5, std=0.25)
SHOWN = pictures(2, (12, 12))


class Seeing(nn.Module):
    """The network with its preprocessing, as Captum wants it."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module.eval()

    def forward(self, shown: Tensor) -> Tensor:
        scores: Tensor = self.module(P.forward(shown))
        return scores


def foreign(which: str, module: nn.Module, **settings: Any) -> Tensor:
    given: Tensor = getattr(attr, which)(Seeing(module)).attribute(SHOWN.clone().requires_grad_(True), target=2, **settings)
    return given.detach()


def ours(module: nn.Module, method: Any) -> ph.Heatmap:
    return ph.explain(ph.Network(module, P), SHOWN, "logit:2", method=method)


@pytest.mark.parametrize("habit", ["plain", "functional"])
def test_saliency_agrees(habit: str) -> None:
    torch.testing.assert_close(ours(made(habit), "saliency").values, foreign("Saliency", made(habit)).amax(1))


def test_gradient_x_input_agrees_of_the_input_less_its_mean() -> None:
    module = made("plain")
    given = attr.InputXGradient(module.eval()).attribute(P.forward(SHOWN).requires_grad_(True), target=2)
    torch.testing.assert_close(ours(made("plain"), "gradient_x_input").values, given.detach().sum(1))


@pytest.mark.filterwarnings("ignore:Setting backward hooks")
@pytest.mark.parametrize(("method", "which"), [("guided_backprop", "GuidedBackprop"), ("deconvnet", "Deconvolution")])
def test_rules_agree_where_every_rectifier_is_a_module(method: str, which: str) -> None:
    torch.testing.assert_close(ours(made("plain"), method).colour, foreign(which, made("plain")))


@pytest.mark.filterwarnings("ignore:Setting backward hooks")
def test_rules_differ_where_a_rectifier_is_a_function_that_captum_does_not_see() -> None:
    colour = ours(Functional(), "guided_backprop").colour
    assert colour is not None
    assert not torch.allclose(colour, foreign("GuidedBackprop", Functional()), atol=1e-6)


def test_integrated_gradients_agree() -> None:
    mean = P.mean_picture()
    given = foreign("IntegratedGradients", made("plain"), baselines=mean, n_steps=20, method="riemann_middle")
    torch.testing.assert_close(ours(made("plain"), IntegratedGradients(samples=20)).values, given.sum(1).float())


def test_occlusion_agrees() -> None:
    given = foreign("Occlusion", made("plain"), sliding_window_shapes=(3, 4, 4), strides=(3, 2, 2), baselines=P.mean_picture())
    torch.testing.assert_close(ours(made("plain"), Occlusion(window=4, stride=2)).values, given[:, 0])


@pytest.mark.parametrize("which", ["Saliency", "InputXGradient", "GuidedBackprop", "Deconvolution"])
@pytest.mark.filterwarnings("ignore:Setting backward hooks")
def test_the_adapter_gives_what_captum_does(which: str) -> None:
    h = ours(made("plain"), f"captum:{which}")
    torch.testing.assert_close(h.colour, foreign(which, made("plain")))
    torch.testing.assert_close(h.values, foreign(which, made("plain")).sum(1))


@pytest.mark.parametrize("which", ["DeepLift", "DeepLiftShap", "FeatureAblation", "ShapleyValueSampling"])
def test_methods_that_add_up_agree_on_a_linear_network(which: str) -> None:
    """The parts of a linear network's score are known, and all of these find them; the features here are pixels or squares."""
    net, gradient = linear((8, 8))
    shown = pictures(1, (8, 8))
    h = ph.explain(net, shown, "logit:one", method=f"captum:{which}")
    wanted = gradient[:1] * (shown - 0.5)
    assert h.colour is not None
    torch.testing.assert_close(
        h.colour, wanted if "Lift" in which else wanted.sum(1, True).expand_as(h.colour), atol=1e-4, rtol=1e-4
    )


@pytest.mark.parametrize("activation", [nn.ReLU, nn.ReLU6])
@pytest.mark.parametrize("in_place", [False, True])
def test_lrp_of_a_plain_network_without_biases_keeps_the_sum(activation: Any, in_place: bool) -> None:
    class Same(nn.Conv2d):
        """A kind of convolution of a user's."""

    with torch.random.fork_rng():
        torch.manual_seed(0)
        body = (Same(3, 8, 3, bias=False), activation(in_place), nn.MaxPool2d(2), nn.Conv2d(8, 6, 3, bias=False))
        module = nn.Sequential(*body, activation(in_place), nn.Dropout(), nn.Flatten(), nn.Linear(54, 4, bias=False))
    h = ours(module, "captum:LRP")
    reached = torch.tensor([item.score for item in h.items])
    torch.testing.assert_close(h.values.sum((1, 2)), reached, atol=1e-5, rtol=1e-3)
    assert not any("unkept" in note for note in h.notes)


def test_lrp_that_does_not_keep_the_sum_says_so(robust: ph.Network) -> None:
    h = ph.explain(robust, pictures(1, (32, 32)), "logit:cat", method="captum:LRP")
    assert h.notes[0].startswith("unkept: the relevances sum to ")
    assert "acts on modules" in h.notes[1]


@pytest.mark.parametrize("which", ["DeepLift", "GradientShap", "GuidedBackprop", "IntegratedGradients", "Saliency"])
def test_a_hidden_unit_is_explained_and_nothing_is_left_behind(which: str) -> None:
    module = made("plain")
    net = ph.Network(module, P)
    before = traces(module)
    h = ph.explain(net, SHOWN, ph.channel("3", 5), method=f"captum:{which}")
    assert_same(before, traces(module))
    assert h.values.abs().max() > 0


def test_random_numbers_belong_to_the_seed_and_not_to_neighbours(robust: ph.Network) -> None:
    shown = pictures(2, (32, 32))

    def found(photos: Tensor, seed: int) -> Tensor:
        return ph.explain(robust, photos, "logit:cat", method="captum:GradientShap", seed=seed).values

    together = found(shown, 0)
    torch.testing.assert_close(found(shown[1:], 0), together[1:])
    assert not torch.allclose(found(shown, 1), together)


def test_a_method_that_captum_lacks_is_refused_with_the_nearest() -> None:
    with pytest.raises(UnknownNameError, match=r"no method of Captum 'LPR'; nearest: .*LRP"):
        find_method("captum:LPR")
    with pytest.raises(UnknownNameError, match="no method of Captum 'Occlusion'"):
        find_method("captum:Occlusion")


def test_what_captum_cannot_do_is_one_sentence() -> None:
    net = ph.Network(nn.Sequential(nn.Conv2d(3, 4, 3), nn.GroupNorm(2, 4), nn.Flatten(), nn.Linear(400, 3)), P)
    with pytest.raises(RequestError, match=r"captum:LRP does not work with Sequential: TypeError Module of type .*GroupNorm"):
        ph.explain(net, SHOWN, "logit:2", method="captum:LRP")


def test_without_captum_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "captum", None)
    with pytest.raises(ExtraError, match=r"captum:NAME needs Captum .*; pip install 'phosphene\[captum\]'"):
        find_method("captum:LRP")


@pytest.mark.parametrize(("name", "meant"), [("lrp", "captum:LRP"), ("deep_lift", "captum:DeepLift"), ("Lime", "captum:Lime")])
def test_a_method_of_captum_without_its_prefix_is_told(name: str, meant: str) -> None:
    with pytest.raises(ph.PhospheneError, match=f"no method '{name}'; nearest: {meant}. Captum has it"):
        ph.explain(ph.load("demo:robust"), torch.rand(1, 3, 32, 32), 1, method=name)
