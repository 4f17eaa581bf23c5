"""`cam`: the verb. Which places of a layer's maps an objective owes its value to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch

from .. import registry
from ..ambient import shielded
from ..errors import RequestError, shown
from ..network.network import Network
from ..objectives.units import logit
from ..pictures.converting import Pictures
from ..results import door
from ..results.heatmap import Heatmap
from ..results.method import Method, answer, find_method, told
from ..results.question import Asked, Question
from .maps import OfLayer
from .weights import Cam, likeliest


@shielded
@door.takes(net=door.network, photo=door.photos, objective=door.objectives_or_none, layer=door.layers_or_none)
def cam(
    net: Network,
    photo: Pictures,
    objective: Asked = None,
    *,
    method: str | Method = "cam",
    layer: str | Sequence[str] | None = None,
    chunk: int | None = None,
    seed: int = 0,
    images: Sequence[str] | None = None,
    normalised: bool = False,
) -> Heatmap:
    """Maps (b, h, w) of a layer's places, raw and signed, h and w those of the layer.

    photo      (b, c, h, w) in [0, 1], or several of different sizes; fitted as `explain` does
    objective  one for all pictures, one per picture, or several for one picture, as objects or texts, also
               "logit:cat - logit:dog" and hidden units. None: each picture's likeliest class
    method     cam, with the network's own weights: needs global average pooling and a linear layer after it, and then
               `exact` says that the map and the bias add up to the score, `total()` what they add up to, `score` the score.
               grad_cam, grad_cam++, hires_cam, xgrad_cam, layer_cam by the gradient; eigen_cam by neither; score_cam and
               ablation_cam by many forward passes; guided_grad_cam in the pixels of the picture
    layer      the address that the map is of, or several, whose maps are averaged; None: the last one with places before the
               head, found from what runs. Tokens of vision transformers and maps with channels last are understood
    chunk      pictures that go through the network at once; None: as many as fit a few GiB

    Maps are in units of the objective, but for eigen_cam, score_cam and ablation_cam. Papers that end in ReLU show the positive
    part, `values.clamp(min=0)`. The module is left as it was. Also under `no_grad`.
    Source: Zhou et al. 2016; each method names its own.

    >>> import phosphene as ph
    >>> import torch
    >>> h = ph.cam(ph.load("demo:robust"), torch.rand(2, 3, 48, 64), "logit:cat")
    >>> h.exact, torch.allclose(h.total().float(), h.score, atol=1e-4)
    (True, True)
    """
    found = _found(method, layer)
    if objective is None and isinstance(found, Cam):
        with torch.inference_mode(False):
            question, maps = likeliest(Question.of(net, photo, logit(0), images=images, seed=seed, chunk=chunk))
        return told(question, found, maps, "cam")
    return answer(Question.of(net, photo, objective, images=images, seed=seed, chunk=chunk), found, "cam")


def methods() -> list[str]:
    """The names of the methods that `cam` takes."""
    return [name for name in registry.names("methods") if _is_cam(registry.find("methods", name))]


def _found(method: str | Method, layer: str | Sequence[str] | None) -> Method:
    found = find_method(method)
    if not isinstance(found, Cam | OfLayer):
        raise RequestError(f"{found.name} is no map of a layer's places; explain asks it, cam takes {', '.join(methods())}")
    if layer is None:
        return found
    if isinstance(found, Cam):
        raise RequestError(f"layer is {shown(layer)}; cam is of the maps that the network pools, grad_cam of any layer")
    return replace(found, layer=(layer,) if isinstance(layer, str) or not isinstance(layer, Sequence) else tuple(layer))


def _is_cam(thing: object) -> bool:
    return isinstance(thing, type) and issubclass(thing, Cam | OfLayer)
