"""A head of global average pooling and one linear layer, in place of a network's own: what class activation maps need.

The body, up to the last layer with places, stays as it is and is not trained; only the new head learns, from pictures of the
user's with their classes. Its logistic regression is convex, so that the same pictures give the same head.
Source: Zhou et al. 2016, §2. Differs: the paper also adds a convolution and trains on; here nothing but the head changes.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save
from torch import Tensor, nn
from torch.nn import functional as F

from .. import checks
from ..errors import RequestError, WeightsError, shown
from ..network import checkpoint, probe
from ..network.addresses import OUTPUT
from ..network.load import load
from ..network.network import Network
from ..network.opened import Opened, Request
from ..network.reader import Reader
from ..pictures.files import write_whole
from ..results.question import fitted
from ..seeding import stream
from .layer import Target, targets

PENALTY = 1e-3  # of the mean squared weight of standardised features, beside the mean cross entropy
HELD_OUT = 0.2  # of each class
BATCH = 16
_KIND = "phosphene gap-head 1"


class GapNetwork(nn.Module):
    """Scores (b, classes) = head(mean over places of what `layer` of `body` gives). The body's own head does not run."""

    def __init__(self, body: nn.Module, target: Target, calls: Mapping[str, int], head: nn.Linear) -> None:
        super().__init__()
        self.body, self.head = body, head
        self._target, self._calls = target, dict(calls)

    def forward(self, inputs: Tensor) -> Tensor:
        address = self._target.address
        given, _ = probe.forward(self.body, inputs, {address}, self._calls)
        scores: Tensor = self.head(self._target.grid.maps(given[address]).mean((2, 3)))
        return scores


@dataclass(frozen=True, eq=False)
class GapHead:
    """A network with its new head.

    net       opens by itself where it was saved: `ph.load("gap-head:FILE")`
    layer     what is pooled
    learned, held_out   share of pictures that it gets right, of those it learned from and of those kept apart (None: none were)
    counts    pictures of either kind
    base      the network whose body it is
    """

    net: Network
    layer: str
    learned: float
    held_out: float | None
    counts: tuple[int, int]
    base: Network

    def save(self, path: str | Path) -> Path:
        """Write the head and what it stands on to a .safetensors file: the network's reference, the digest of its weights."""
        file = checks.path("path", path)
        if file.suffix != ".safetensors":
            raise RequestError(f"{shown(str(path))}: a file that ends in .safetensors is needed")
        head = self.net.module.head
        assert isinstance(head, nn.Linear)
        said = {
            "kind": _KIND,
            "base": self.base.name,
            "sha256": self.base.sha256(),
            "layer": self.layer,
            "classes": list(self.net.classes),
            "preprocess": self.net.preprocess.to_dict(),
        }
        tensors = {"weight": head.weight.detach().cpu().contiguous(), "bias": head.bias.detach().cpu().contiguous()}
        data = save(tensors, {key: json.dumps(value) for key, value in said.items()})

        def write(beside: Path) -> None:
            beside.write_bytes(data)

        return write_whole(file, write)


def gap_head(
    net: Network,
    data: Iterable[tuple[Tensor, int]],
    classes: Sequence[str],
    *,
    layer: str | None = None,
    held_out: float = HELD_OUT,
    penalty: float = PENALTY,
    seed: int = 0,
) -> GapHead:
    """The network with global average pooling and a linear layer for the user's classes, trained on the user's pictures.

    data      photographs (1, c, h, w) in [0, 1] of any size with the index of their class; they pass through the body once
    layer     what to pool; None: the last layer with places before the head
    held_out  the share of each class that is kept apart to tell how good the head is; 0: none
    penalty   on the mean squared weight of standardised features
    """
    checks.real("held_out", held_out, low=0, high=0.9)
    checks.real("penalty", penalty, low=0)
    names = _names(classes)
    (target,) = targets(net, {OUTPUT}, net.preprocess.sides, () if layer is None else (layer,))
    features, labels = _features(net, target, data, len(names))
    apart = _apart(labels, held_out, checks.seed(seed))
    head = _trained(features[~apart], labels[~apart], len(names), penalty)
    right = (head(features).argmax(1) == labels).double()
    module = GapNetwork(Reader(net).module, target, net.calls, head.to(net.device, net.dtype))
    known = Network(module, net.preprocess, names, name=f"{net.name} with a GAP head")
    share = float(right[apart].mean()) if bool(apart.any()) else None
    counts = (int((~apart).sum()), int(apart.sum()))
    return GapHead(known, target.address, float(right[~apart].mean()), share, counts, net)


def load_gap_head(request: Request) -> Opened:
    """`gap-head:FILE`: the network that FILE names, with the head that it holds. Opening that one may run code of its own."""
    state, said = checkpoint.read(request.name)[0], checkpoint.metadata_of(request.name)
    if request.weights is not None:
        raise RequestError("gap-head takes no ?weights=: the file holds the head's, and names the network with its own")
    if said.get("kind") != _KIND or not {"weight", "bias"} == set(state):
        raise WeightsError(f"{Path(request.name).name} holds no GAP head; phosphene gap-head writes one")
    base = load(str(said["base"]))
    if base.sha256() != said["sha256"]:
        raise WeightsError(f"{base.name} has other weights now than when the head was made; train it again")
    (target,) = targets(base, {OUTPUT}, base.preprocess.sides, (str(said["layer"]),))
    head = nn.Linear(state["weight"].shape[1], state["weight"].shape[0]).to(state["weight"].dtype)
    checkpoint.load_into(head, state, Path(request.name).name)
    preprocess: dict[str, Any] = said["preprocess"]
    return Opened(GapNetwork(base.module, target, base.calls, head), preprocess, said["classes"])


def _names(classes: Sequence[str]) -> tuple[str, ...]:
    if isinstance(classes, str) or len(classes) < 2 or len(set(classes)) < len(classes):
        raise RequestError(f"classes are {shown(classes)}; two or more different names are needed")
    return tuple(classes)


def _features(net: Network, target: Target, data: Iterable[tuple[Tensor, int]], count: int) -> tuple[Tensor, Tensor]:
    """The mean over places (n, k) of every picture, and the labels (n,)."""
    rows: list[Tensor] = []
    labels: list[int] = []
    waiting: list[Tensor] = []
    with torch.inference_mode(False), torch.no_grad(), net.reading() as read:

        def flush() -> None:
            if waiting:
                given = read(torch.cat(waiting), {target.address})[target.address]
                rows.append(target.grid.maps(given).float().mean((2, 3)).cpu())
                waiting.clear()

        for photo, label in data:
            labels.append(checks.whole("label", label, low=0, high=count - 1))
            waiting.append(fitted(net, photo))
            if len(waiting) == BATCH:
                flush()
        flush()
    missing = set(range(count)) - set(labels)
    if missing:
        raise RequestError(f"there is no picture of class {min(missing)}; every class needs one or more")
    return torch.cat(rows), torch.tensor(labels)


def _apart(labels: Tensor, share: float, seed: int) -> Tensor:
    """(n,) of truth: which pictures are kept apart, that share of each class, and never all of it."""
    apart = torch.zeros(len(labels), dtype=torch.bool)
    for label in labels.unique():
        mine = (labels == label).nonzero().flatten()
        order = torch.randperm(len(mine), generator=stream(seed, "held out", str(int(label))))
        apart[mine[order[: min(int(len(mine) * share), len(mine) - 1)]]] = True
    return apart


def _trained(features: Tensor, labels: Tensor, count: int, penalty: float) -> nn.Linear:
    """Logistic regression on standardised features, in float64; given back for the features as they are."""
    x = features.double()
    mean, spread = x.mean(0), x.std(0, correction=0)
    spread = torch.where(spread > 1e-6 * spread.max().clamp(min=1e-12), spread, torch.ones_like(spread))
    weight = torch.zeros(count, x.shape[1], dtype=torch.float64, requires_grad=True)
    bias = torch.zeros(count, dtype=torch.float64, requires_grad=True)
    rows = (x - mean) / spread
    descent = torch.optim.LBFGS([weight, bias], max_iter=200, line_search_fn="strong_wolfe", tolerance_grad=1e-7)

    def loss() -> Tensor:
        descent.zero_grad()
        total = F.cross_entropy(rows @ weight.T + bias, labels) + penalty * weight.square().sum()
        total.backward()
        return total

    with torch.inference_mode(False), torch.enable_grad():
        descent.step(loss)
    head = nn.Linear(x.shape[1], count)
    with torch.no_grad():
        head.weight.copy_(weight / spread)
        head.bias.copy_(bias - (weight / spread) @ mean)
    return head.requires_grad_(False)
