"""Maps of known architectures beside those of Captum, pytorch-grad-cam and TorchCAM, to 1e-4 of the largest value.

In float64: the path of integrated gradients, and pooling's choice of a maximum, turn on the last bit of float32.
Where a peer gives the plain gradient in silence (guided backpropagation through functional rectifiers and ReLU6: Captum on
GoogLeNet, MobileNetV2 and DenseNet), ours is held against rectifiers that bring their own backward pass.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

import phosphene as ph
from phosphene.attribution.methods import IntegratedGradients
from tests.cams.test_conformance import GRADIENT, from_grad_cam, from_torchcam

attr: Any = pytest.importorskip("captum.attr")

# The layer whose maps are compared. Not DenseNet's last norm: a rectifier overwrites what it gave, and the peers weigh the
# rectified maps by gradients of those before.
LAYERS = {
    "resnet18": "layer4",
    "vgg11": "features",
    "googlenet": "inception5b",
    "mobilenet_v2": "features",
    "densenet121": "features.denseblock4",
    "demo:standard": "stage4",
    "demo:robust": "stage4",
}
RECTIFIERS_ARE_MODULES = ["resnet18", "vgg11", "demo:standard", "demo:robust"]
SETTINGS = {"googlenet": {"init_weights": False, "aux_logits": False, "transform_input": False}}
TOLERANCE = 1e-4


@pytest.fixture(scope="module")
def opened() -> Callable[[str], ph.Network]:
    """Each network once, in float64, with random weights; batch norms are not the identity that they begin as."""
    kept: dict[str, ph.Network] = {}

    def get(name: str) -> ph.Network:
        if name not in kept:
            kept[name] = ph.load(name) if name.startswith("demo:") else of_torchvision(name)
            kept[name].module.double().eval()
        return kept[name]

    return get


def of_torchvision(name: str) -> ph.Network:
    models = pytest.importorskip("torchvision.models")
    with torch.random.fork_rng():
        torch.manual_seed(0)
        module = getattr(models, name)(weights=None, num_classes=10, **SETTINGS.get(name, {}))
        if name == "vgg11":  # 120 million numbers, of which a few show as much
            module.classifier = nn.Sequential(nn.Linear(512 * 7 * 7, 32), nn.ReLU(True), nn.Linear(32, 10))
        for part in module.modules():
            if isinstance(part, nn.BatchNorm2d):
                nn.init.uniform_(part.weight, 0.8, 1.2)
                nn.init.normal_(part.bias, 0, 0.1)
    return ph.Network(module, ph.Preprocess(size=64, mean=0.5, std=0.25))


class Seeing(nn.Module):
    """A network with its preprocessing before it, as the peers want one."""

    def __init__(self, net: ph.Network) -> None:
        super().__init__()
        self.net = [net]  # not a submodule: its hooks are its own
        self.module = net.module

    def forward(self, shown: Tensor) -> Tensor:
        scores: Tensor = self.module(self.net[0].preprocess.forward(shown).double())
        return scores


class Double(nn.Module):
    """The module behind a cast, for a peer that is given float32 inputs."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, inputs: Tensor) -> Tensor:
        scores: Tensor = self.module(inputs.double())
        return scores


def pictures(net: ph.Network) -> Tensor:
    return torch.rand(2, net.preprocess.channels, *net.preprocess.sides, generator=torch.Generator().manual_seed(1))


def assert_alike(ours: Tensor, theirs: Tensor) -> None:
    assert ours.shape == theirs.shape
    assert theirs.abs().max() > 0
    torch.testing.assert_close(ours.double(), theirs.double(), rtol=0, atol=TOLERANCE * float(theirs.abs().max()))


def of_captum(net: ph.Network, which: str, **settings: Any) -> Tensor:
    shown = pictures(net).requires_grad_(True)
    found: Tensor = getattr(attr, which)(Seeing(net)).attribute(shown, target=1, **settings)
    return found.detach()


@pytest.mark.parametrize("name", LAYERS)
def test_saliency_is_captum_s(opened: Callable[[str], ph.Network], name: str) -> None:
    net = opened(name)
    ours = ph.explain(net, pictures(net), "logit:1", method="saliency").values
    assert_alike(ours, of_captum(net, "Saliency").amax(1))


@pytest.mark.parametrize("name", LAYERS)
def test_integrated_gradients_are_captum_s(opened: Callable[[str], ph.Network], name: str) -> None:
    net = opened(name)
    ours = ph.explain(net, pictures(net), "logit:1", method=IntegratedGradients(samples=4)).values
    path = {"baselines": net.preprocess.mean_picture(), "n_steps": 4, "method": "riemann_middle"}
    assert_alike(ours, of_captum(net, "IntegratedGradients", **path).sum(1))


@pytest.mark.filterwarnings("ignore:Setting")
@pytest.mark.parametrize("name", RECTIFIERS_ARE_MODULES)
@pytest.mark.parametrize(("method", "which"), [("guided_backprop", "GuidedBackprop"), ("deconvnet", "Deconvolution")])
def test_rules_are_captum_s_where_rectifiers_are_modules(
    opened: Callable[[str], ph.Network], name: str, method: str, which: str
) -> None:
    net = opened(name)
    colour = ph.explain(net, pictures(net), "logit:1", method=method).colour
    assert colour is not None
    assert_alike(colour, of_captum(net, which))


class Guided(torch.autograd.Function):
    """max(x, 0), or x kept in 0 … 6, which lets only positive gradients of what it let through go back."""

    @staticmethod
    def forward(context: Any, x: Tensor, top: float) -> Tensor:
        context.save_for_backward(x)
        context.top = top
        return x.clamp(0, top)

    @staticmethod
    def backward(context: Any, gradient: Tensor) -> tuple[Tensor, None]:
        (x,) = context.saved_tensors
        return gradient.clamp(min=0) * ((x > 0) & (x < context.top)), None


class ByGuided(TorchFunctionMode):
    """Puts Guided in the place of every rectifier, module or function."""

    seen = 0

    def __torch_function__(self, function: Any, types: Any, given: Any = (), more: Any = None) -> Any:
        top = {F.relu: torch.inf, F.relu6: 6.0, F.hardtanh: 6.0, torch.relu: torch.inf, torch.relu_: torch.inf}.get(function)
        if top is None:
            return function(*given, **(more or {}))
        self.seen += 1
        return Guided.apply(given[0], top)


@pytest.mark.parametrize("name", LAYERS)
def test_guided_backprop_is_that_of_rectifiers_with_their_own_backward_pass(
    opened: Callable[[str], ph.Network], name: str
) -> None:
    net = opened(name)
    shown = pictures(net).requires_grad_(True)
    with ByGuided() as mode:
        score = Seeing(net)(shown)[:, 1].sum()
    assert mode.seen
    (theirs,) = torch.autograd.grad(score, shown)
    colour = ph.explain(net, pictures(net), "logit:1", method="guided_backprop").colour
    assert colour is not None
    assert_alike(colour, theirs)


@pytest.mark.filterwarnings("ignore:Setting")
@pytest.mark.parametrize("name", sorted(LAYERS.keys() - set(RECTIFIERS_ARE_MODULES)))
def test_captum_s_guided_backprop_is_another_map_there(opened: Callable[[str], ph.Network], name: str) -> None:
    net = opened(name)
    colour = ph.explain(net, pictures(net), "logit:1", method="guided_backprop").colour
    theirs = of_captum(net, "GuidedBackprop")
    assert colour is not None
    assert float((colour - theirs).abs().max()) > 0.1 * float(theirs.abs().max())


@pytest.mark.parametrize("method", GRADIENT)
@pytest.mark.parametrize("name", LAYERS)
def test_maps_of_a_layer_are_pytorch_grad_cam_s(opened: Callable[[str], ph.Network], name: str, method: str) -> None:
    net = opened(name)
    ours = ph.cam(net, pictures(net), "logit:1", method=method, layer=LAYERS[name]).values
    behind = ph.Network(Double(net.module), net.preprocess)
    assert_alike(ours, from_grad_cam(behind, pictures(net), f"module.{LAYERS[name]}", GRADIENT[method]))


@pytest.mark.parametrize(("method", "kind"), [("grad_cam", "GradCAM"), ("xgrad_cam", "XGradCAM"), ("layer_cam", "LayerCAM")])
@pytest.mark.parametrize("name", LAYERS)
def test_positive_maps_of_a_layer_are_torchcam_s(
    opened: Callable[[str], ph.Network], name: str, method: str, kind: str
) -> None:
    net = opened(name)
    ours = ph.cam(net, pictures(net), "logit:1", method=method, layer=LAYERS[name]).values.clamp(min=0)
    behind = ph.Network(Double(net.module), net.preprocess)
    theirs = from_torchcam(behind, pictures(net), f"module.{LAYERS[name]}", kind)
    torch.testing.assert_close(ours, theirs, rtol=0, atol=TOLERANCE * max(float(theirs.max()), 1e-12))
