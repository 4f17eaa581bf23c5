"""`explain`: the verb. Which pixels of a picture an objective owes its value to."""

from __future__ import annotations

from collections.abc import Sequence

from ..ambient import shielded
from ..network.network import Network
from ..pictures.converting import Pictures
from ..results import door
from ..results.heatmap import Heatmap
from ..results.method import Method, answer, find_method
from ..results.question import Asked, Question


@shielded
@door.takes(net=door.network, photo=door.photos, objective=door.objectives_or_none)
def explain(
    net: Network,
    photo: Pictures,
    objective: Asked = None,
    *,
    method: str | Method = "saliency",
    samples: int | None = None,
    chunk: int | None = None,
    seed: int = 0,
    images: Sequence[str] | None = None,
    normalised: bool = False,
) -> Heatmap:
    """Maps (b, h, w) of what in each picture drives an objective, raw and signed.

    photo      (b, c, h, w) in [0, 1], or several of different sizes. Photographs are fitted to the network's size as
               `net.preprocess.fit` does; pictures of that size are taken as they are. The maps are of the fitted pictures,
               which the Heatmap keeps
    objective  one for all pictures, one per picture, or several for one picture, as objects or texts; any unit, also a
               hidden one; "logit:cat - logit:dog" explains why the one and not the other. None: each picture's likeliest class
    method     saliency, gradient, gradient_x_input, guided_backprop, deconvnet, smoothgrad, vargrad, integrated_gradients,
               occlusion, rise, captum:NAME, or another that is registered; or a Method with settings of its own
    samples    of the methods that average: noisy copies, steps of the way, masks
    chunk      pictures that go through the network at once; None: as many as fit a few GiB. Running out of memory halves it
    seed       of every random number; noise and masks are the same for every picture, a map does not depend on its neighbours
    images     names of the pictures, for labels and files

    Gradients are with respect to the picture in [0, 1], the network's preprocessing in between. The module is left as it was,
    global random numbers are not used. Also under `no_grad`.

    Source: Simonyan, Vedaldi & Zisserman 2013, §3; each method names its own.

    >>> import phosphene as ph
    >>> import torch
    >>> h = ph.explain(ph.load("demo:robust"), torch.rand(2, 3, 48, 64), "logit:cat")
    >>> h.values.shape, round(float(h.share()[0].sum()), 4)
    (torch.Size([2, 32, 32]), 1.0)
    """
    found = find_method(method, samples)
    return answer(Question.of(net, photo, objective, images=images, seed=seed, chunk=chunk), found)
