"""Methods of gradients: closed forms on linear networks, identities between methods, hidden units."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

import phosphene as ph
from phosphene.attribution.methods import IntegratedGradients, SmoothGrad, VarGrad, largest
from phosphene.attribution.perturbation import Occlusion
from phosphene.errors import RequestError
from tests.attribution.linear import linear, pictures
from tests.nets import made, network

P = ph.Preprocess(size=12, mean=0.5, std=0.25)


class Square(nn.Module):
    """One score, Σ x²: its gradient is 2x, and that along a way is linear."""

    def forward(self, x: Tensor) -> Tensor:
        return x.square().flatten(1).sum(1, keepdim=True)


def square() -> ph.Network:
    return ph.Network(Square(), ph.Preprocess(size=(5, 7), mean=0.25, std=0.5))


def picked(numbers: Tensor) -> Tensor:
    """Channel by channel, the number that is largest in size."""
    best = numbers[:, 0].clone()
    for channel in numbers.unbind(1):
        best = torch.where(channel.abs() > best.abs(), channel, best)
    return best


def test_largest_keeps_the_sign() -> None:
    numbers = torch.randn(2, 3, 4, 5, generator=torch.Generator().manual_seed(0))
    assert torch.equal(largest(numbers), picked(numbers))


def test_the_gradient_of_a_linear_network_is_its_weight() -> None:
    net, gradient = linear()
    h = ph.explain(net, pictures(2), "logit:two", method="gradient")
    torch.testing.assert_close(h.values, picked(gradient[1:]).expand(2, -1, -1))
    assert h.colour is not None
    torch.testing.assert_close(h.colour, gradient[1:].expand(2, -1, -1, -1))


def test_the_saliency_of_a_linear_network_is_its_largest_weight_in_size() -> None:
    net, gradient = linear()
    h = ph.explain(net, pictures(1), "logit:one")
    torch.testing.assert_close(h.values, gradient[:1].abs().amax(1))
    torch.testing.assert_close(h.share(), h.values / h.values.sum())


def test_gradient_x_input_of_a_linear_network_is_each_pixel_s_part_of_the_score() -> None:
    net, gradient = linear(bias=0.7)
    shown = pictures(2)
    h = ph.explain(net, shown, "logit:one", method="gradient_x_input")
    torch.testing.assert_close(h.values, (gradient[:1] * (shown - 0.5)).sum(1))
    torch.testing.assert_close(h.values.sum((1, 2)), net.scores(shown)[:, 0] - 0.7)


@pytest.mark.parametrize("samples", [1, 7])
def test_integrated_gradients_of_a_linear_network_are_complete_with_any_number_of_samples(samples: int) -> None:
    net, _ = linear()
    shown = pictures(2)
    h = ph.explain(net, shown, ["logit:one", "logit:two - logit:one"], method="integrated_gradients", samples=samples)
    rise = net.scores(shown) - net.scores(net.preprocess.mean_picture())
    torch.testing.assert_close(h.values.sum((1, 2)), torch.stack([rise[0, 0], rise[1, 1] - rise[1, 0]]))
    assert [item.numbers["completeness_error"] for item in h.items] == pytest.approx([0, 0], abs=1e-5)


def test_integrated_gradients_of_a_square_are_exact_by_the_midpoint_rule() -> None:
    """The mean over the way of 2 (x₀ + t (x − x₀)) is x₀ + x, and x₀ = 0: the map is Σ_c x²."""
    shown = pictures(1, (5, 7))
    h = ph.explain(square(), shown, "logit:0", method="integrated_gradients", samples=3)
    torch.testing.assert_close(h.values, ((shown - 0.25) / 0.5).square().sum(1))


def test_integrated_gradients_say_when_they_are_not_complete() -> None:
    class Late(nn.Module):
        """Rises only in the last hundredth of the way: one sample in its middle sees nothing."""

        def forward(self, x: Tensor) -> Tensor:
            return (x.mean((1, 2, 3)) - 0.99).relu().unsqueeze(1)

    net = ph.Network(Late(), ph.Preprocess(size=4, mean=0.5, std=0.5))
    white = torch.ones(1, 3, 4, 4)
    h = ph.explain(net, white, "logit:0", method="integrated_gradients", samples=1)
    assert h.items[0].numbers["completeness_error"] == pytest.approx(1)
    assert any(note.startswith("incomplete: the map sums to 0, the objective rose by 0.01") for note in h.notes)


def test_integrated_gradients_of_what_does_not_change_have_no_error() -> None:
    net, _ = linear()
    h = ph.explain(net, net.preprocess.mean_picture(), "logit:one", method="integrated_gradients", samples=2)
    assert h.items[0].numbers["completeness_error"] == 0
    assert h.notes == ("empty: the map is zero everywhere",)


@pytest.mark.parametrize("habit", ["plain", "inplace", "functional"])
def test_smoothgrad_of_one_sample_without_noise_is_the_gradient(habit: str) -> None:
    net, shown = network(habit), pictures(3, (12, 12))
    smooth = ph.explain(net, shown, "logit:1", method=SmoothGrad(samples=1, noise=0))
    torch.testing.assert_close(smooth.values, ph.explain(net, shown, "logit:1", method="gradient").values)


def test_the_noise_of_smoothgrad_is_a_share_of_the_value_range() -> None:
    """∂/∂I of Σ x² is 2 x / std: linear in the noise, so that the variance of the gradient is (2 σ / std²)²."""
    shown = torch.linspace(0.2, 0.6, 3 * 5 * 7).view(1, 3, 5, 7)
    h = ph.explain(square(), shown, "logit:0", method=VarGrad(samples=400, noise=0.1))
    wanted = (2 * 0.1 * 0.4 / 0.25) ** 2
    assert float(h.values.mean()) == pytest.approx(wanted, rel=0.1)  # the largest of three estimates lies a little above
    assert float(h.values.min()) > 0.7 * wanted


def test_smoothgrad_averages_to_the_gradient_of_a_linear_network_and_vargrad_is_zero() -> None:
    net, gradient = linear()
    smooth, variance = (
        ph.explain(net, pictures(1), "logit:one", method=method, samples=5) for method in ("smoothgrad", "vargrad")
    )
    torch.testing.assert_close(smooth.values, picked(gradient[:1]))
    assert float(variance.values.abs().max()) < 1e-9


def test_vargrad_is_the_variance_of_the_gradients_that_smoothgrad_averages() -> None:
    net, shown = network("plain"), pictures(1, (12, 12))
    parts = [SmoothGrad(samples=k) for k in range(1, 4)]
    sums = [ph.explain(net, shown, "logit:1", method=part).colour for part in parts]
    first, second, third = (s.double() * k for k, s in enumerate(sums, 1) if s is not None)
    gradients = torch.stack([first, second - first, third - second])
    h = ph.explain(net, shown, "logit:1", method=VarGrad(samples=3))
    torch.testing.assert_close(h.values.double(), gradients.var(0, unbiased=False).amax(1), atol=1e-6, rtol=1e-3)


@pytest.mark.parametrize("method", ["gradient", "guided_backprop", "deconvnet", "integrated_gradients", "occlusion"])
def test_a_hidden_unit_is_explained_by_what_it_sees(method: str) -> None:
    """Of one neuron behind one 3×3 convolution the map is zero outside nine pixels."""
    module = made("plain")
    shown = pictures(1, (12, 12))
    channel = int(module[:2](P.forward(shown))[0, :, 4, 6].argmax())  # type: ignore[index]  # one that is not cut off
    found = ph.Network(module, P)
    chosen = Occlusion(window=1) if method == "occlusion" else method
    values = ph.explain(found, shown, ph.neuron("1", channel, 4, 6), method=chosen).values[0].clone()
    assert values[3:6, 5:8].abs().max() > 0
    values[3:6, 5:8] = 0
    assert values.abs().max() < 1e-6


def test_the_gradient_is_that_of_autograd_through_the_module() -> None:
    module, shown = made("functional").eval(), pictures(2, (12, 12)).requires_grad_(True)
    (wanted,) = torch.autograd.grad(module(P.forward(shown))[:, 3].sum(), shown)
    h = ph.explain(ph.Network(module, P), shown.detach(), "logit:3", method="gradient")
    assert h.colour is not None
    torch.testing.assert_close(h.colour, wanted)


def test_an_objective_that_does_not_see_the_picture_has_no_gradient() -> None:
    class Deaf(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return torch.ones(len(x), 2)

    net = ph.Network(Deaf(), ph.Preprocess(size=4))
    with pytest.raises(ph.PhospheneError, match="no gradient reaches the image: the objective does not depend on it, or"):
        ph.explain(net, torch.rand(1, 3, 4, 4), "logit:0")


def test_a_certain_probability_is_said_to_have_no_gradient() -> None:
    net, _ = linear(bias=0.0)
    shown = (0.5 + 0.5 * linear()[1][:1].sign()).clamp(0, 1)
    h = ph.explain(net, shown, "probability:one")
    assert h.items[0].probability == pytest.approx(1, abs=1e-4)
    assert any("next to no gradient is left there; logit:… has one" in note for note in h.notes)


@pytest.mark.parametrize(
    ("setting", "words"), [({"noise": -1}, "noise is -1; 0 to 10 is needed"), ({"samples": 0}, "samples is 0")]
)
def test_settings_out_of_range_are_refused(setting: dict[str, int], words: str) -> None:
    with pytest.raises(RequestError, match=words):
        SmoothGrad(**setting)


def test_samples_is_of_methods_that_have_samples() -> None:
    net, _ = linear()
    with pytest.raises(RequestError, match="samples is 3; saliency takes none"):
        ph.explain(net, pictures(1), "logit:one", samples=3)
    assert IntegratedGradients(samples=4).to_dict() == {"name": "integrated_gradients", "samples": 4}
