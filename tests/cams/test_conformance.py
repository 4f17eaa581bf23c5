"""The same maps as pytorch-grad-cam and TorchCAM where these are right; tests/contracts holds the known architectures to 1e-4.

Left out: TorchCAM's Grad-CAM++, whose division is lost in a copy; pytorch-grad-cam's where gradients are small, since it adds
1e-6 to their squares; Score-CAM where maps are enlarged, which is done in three ways.
"""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import phosphene as ph
from phosphene.cams.eigen import EigenCam
from phosphene.cams.maps import OfLayer
from tests.cams.pooled import close, last, pictures
from tests.nets import made

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    grad_cam = pytest.importorskip("pytorch_grad_cam", exc_type=ImportError)
    torchcam = pytest.importorskip("torchcam.methods", exc_type=ImportError)

GRADIENT = {"grad_cam": "GradCAM", "hires_cam": "HiResCAM", "xgrad_cam": "XGradCAM", "layer_cam": "LayerCAM"}
NETS = {"resnet18": "layer4", "densenet121": "features.denseblock4", "vgg11": "features.19", "mobilenetv2_050": "bn2"}
SMALLER: dict[str, dict[str, Any]] = {"vgg11": {"mlp_ratio": 0.01}}
Reshape = Callable[[Tensor], Tensor] | None


def tiny(habit: str) -> ph.Network:
    return ph.Network(made(habit), ph.Preprocess(size=12, mean=0.5, std=0.25))


@functools.cache
def of_timm(name: str, size: int = 64, **settings: Any) -> ph.Network:
    timm = pytest.importorskip("timm")
    with torch.random.fork_rng():
        torch.manual_seed(0)
        module = timm.create_model(name, pretrained=False, num_classes=10, **settings)
    return ph.Network(module, ph.Preprocess(size=size, mean=0.5, std=0.25))


def from_grad_cam(net: ph.Network, shown: Tensor, layer: str, kind: str, reshape: Reshape = None, **settings: Any) -> Tensor:
    """Its raw map: it scales between 0 and 1 whatever it shows."""
    from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

    module = net.module.eval()
    raw: list[Any] = []
    made = getattr(grad_cam, kind)(module, [module.get_submodule(layer)], reshape_transform=reshape, **settings)
    image = made.get_cam_image

    def kept(*given: Any, **more: Any) -> Any:
        raw.append(image(*given, **more))
        return raw[-1]

    made.get_cam_image = kept
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        made(net.preprocess.forward(shown), [ClassifierOutputTarget(1)] * len(shown))
    made.activations_and_grads.release()  # other tests look into the same network
    return torch.as_tensor(raw[0]).float()


def from_torchcam(net: ph.Network, shown: Tensor, layer: str | None, kind: str, **settings: Any) -> Tensor:
    module = net.module.eval()
    with getattr(torchcam, kind)(module, target_layer=layer, **settings) as made:
        inputs = net.preprocess.forward(shown).requires_grad_(True)
        (found,) = made([1] * len(shown), module(inputs), normalized=False)
    return torch.as_tensor(found).detach().float()


def ours(net: ph.Network, shown: Tensor, layer: str, method: str | OfLayer) -> Tensor:
    return ph.cam(net, shown, "logit:1", method=method, layer=layer).values


@pytest.mark.parametrize("method", GRADIENT)
@pytest.mark.parametrize(("habit", "layer"), [("plain", "4"), ("random at training", "2"), ("inplace", "3")])
def test_tiny_networks_have_the_maps_of_grad_cam(habit: str, layer: str, method: str) -> None:
    net, shown = tiny(habit), pictures(2, (12, 12))
    assert close(ours(net, shown, layer, method), from_grad_cam(net, shown, layer, GRADIENT[method]), 1e-3)


# tests/contracts holds every method to them on every one, in float64; here each runs once as users run it, in float32.
@pytest.mark.parametrize(("name", "method"), list(zip(NETS, GRADIENT, strict=True)))
def test_known_architectures_have_the_maps_of_grad_cam(name: str, method: str) -> None:
    net, shown = of_timm(name, **SMALLER.get(name, {})), pictures(1, (64, 64))
    assert close(ours(net, shown, NETS[name], method), from_grad_cam(net, shown, NETS[name], GRADIENT[method]), 5e-3)


@pytest.mark.parametrize(
    ("name", "method", "kind"),
    [("resnet18", "grad_cam", "GradCAM"), ("densenet121", "xgrad_cam", "XGradCAM"), ("resnet18", "layer_cam", "LayerCAM")],
)
def test_known_architectures_have_the_positive_maps_of_torchcam(name: str, method: str, kind: str) -> None:
    net, shown = of_timm(name), pictures(2, (64, 64))
    theirs = from_torchcam(net, shown, NETS[name], kind)
    assert close(ours(net, shown, NETS[name], method).clamp(min=0), theirs, 5e-3)


def test_zhou_s_map_is_that_of_torchcam_times_the_number_of_places() -> None:
    net, shown = of_timm("resnet18"), pictures(2, (64, 64))
    h = ph.cam(net, shown, "logit:1")
    assert h.exact
    assert close(4 * h.values.clamp(min=0), from_torchcam(net, shown, "layer4", "CAM", fc_layer="fc").clamp(min=0), 1e-3)


def test_grad_cam_plus_plus_is_that_of_grad_cam_where_gradients_are_not_small() -> None:
    net, shown = tiny("plain"), pictures(2, (12, 12))
    with torch.no_grad():
        last(net).weight.mul_(3000)
    assert close(ours(net, shown, "4", "grad_cam++"), from_grad_cam(net, shown, "4", "GradCAMPlusPlus"), 1e-3)


def test_ablation_cam_is_that_of_grad_cam_times_the_score() -> None:
    net, shown = tiny("plain"), pictures(2, (12, 12))
    theirs = from_grad_cam(net, shown, "4", "AblationCAM") * net.scores(shown)[:, 1, None, None]
    assert close(ours(net, shown, "4", "ablation_cam"), theirs, 1e-3)


@pytest.mark.parametrize(("habit", "layer"), [("plain", "4"), ("inplace", "3")])
def test_centred_eigen_cam_is_that_of_grad_cam_up_to_its_sign(habit: str, layer: str) -> None:
    net, shown = tiny(habit), pictures(2, (12, 12))
    assert close(
        ours(net, shown, layer, EigenCam(centred=True)).abs(), from_grad_cam(net, shown, layer, "EigenCAM").abs(), 1e-3
    )


@pytest.mark.parametrize("peer", [from_grad_cam, from_torchcam])
def test_score_cam_is_that_of_either_where_maps_have_the_size_of_the_picture(peer: Callable[..., Tensor]) -> None:
    net, shown = tiny("functional"), pictures(2, (12, 12))
    assert close(ours(net, shown, "norm", "score_cam").clamp(min=0), peer(net, shown, "norm", "ScoreCAM").clamp(min=0), 1e-3)


@pytest.mark.parametrize("method", ["grad_cam", "hires_cam", "layer_cam"])  # a norm's sums are zero: none can be divided by
@pytest.mark.parametrize(
    ("name", "layer", "reshape"),
    [
        ("vit_tiny_patch16_224", "blocks.11.norm1", lambda t: t[:, 1:].unflatten(1, (4, 4)).movedim(-1, 1)),
        ("swin_tiny_patch4_window7_224", "layers.3.blocks.1.norm1", lambda t: t.movedim(-1, 1)),
    ],
)
def test_transformers_have_the_maps_that_a_hand_written_reshape_gives(
    name: str, layer: str, reshape: Reshape, method: str
) -> None:
    net, shown = of_timm(name, img_size=64), pictures(1, (64, 64))
    assert close(ours(net, shown, layer, method), from_grad_cam(net, shown, layer, GRADIENT[method], reshape), 5e-3)


@pytest.mark.lab
@pytest.mark.parametrize("method", GRADIENT)
def test_a_real_network_has_the_maps_of_grad_cam(lab: Path, method: str) -> None:
    net, shown = opened(lab)
    assert close(ours(net, shown, "features", method), from_grad_cam(net, shown, "features", GRADIENT[method]), 5e-3)


def opened(lab: Path, names: Sequence[str] = ("0088_macaw", "0130_flamingo")) -> tuple[ph.Network, Tensor]:
    options = f"weights={lab}/mobilenet_v2_imagenet.safetensors&classes={lab}/classes.json&size=224&mean=0.5&std=0.5"
    net = ph.load(f"{lab}/mobilenets.py:MobileNetV2?{options}")
    return net, torch.cat([net.preprocess.fit(ph.read(lab / "photos" / f"{name}.jpg")) for name in names])
