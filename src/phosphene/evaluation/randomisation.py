"""Randomisation: whether a map changes when the weights it is said to explain are gone."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn

from .. import checks
from ..ambient import shielded
from ..errors import ModelError
from ..network.network import Network
from ..pictures import overlay
from ..pictures.converting import Pictures
from ..results import door
from ..results.method import Method
from ..results.question import Asked, Question
from ..seeding import stream
from .perturbed import copied, with_module
from .removal import asked, method_of, worth
from .similarity import spearman, ssim

STAGES = 5
HARDLY, PARTLY = 0.5, 0.25  # mean rank correlation over the stages, from which on it is said so
SAME = 0.999  # rank correlation above which a map is called the same


@dataclass(frozen=True, eq=False)
class Randomisation:
    """How alike a method's maps are to those of the same network with more and more random weights.

    stages  the address down to which weights are random, from the head on; the last stage has none left of those trained
    rank    (b, stages) Spearman's rank correlation;  ssim (b, stages) structural similarity
    same    whether all maps of all stages are the same, number for number
    notes   what may mislead
    """

    method: str
    stages: tuple[str, ...]
    rank: Tensor
    ssim: Tensor
    same: bool
    notes: tuple[str, ...] = ()

    @property
    def kept(self) -> float:
        """The mean rank correlation over pictures and stages; maps that are turned about count as unlike, 0."""
        return float(self.rank.clamp(min=0).mean())

    @property
    def word(self) -> str:
        """ "ignores", "hardly", "partly" or "notices": how far a method notices that weights are gone."""
        if self.same:
            return "ignores"
        return "hardly" if self.kept >= HARDLY else "partly" if self.kept >= PARTLY else "notices"

    @property
    def verdict(self) -> str:
        """One sentence, or two."""
        if self.same:
            return f"{self.method} does not depend on the weights at all: its map is the same without them"
        means = self.rank.mean(0).tolist()
        said = f"rank correlation {means[-1]:.2f} with the map of random weights"
        if len(means) > 1:
            said = f"rank correlation {means[0]:.2f} with the map when {self.stages[0]} is random, {means[-1]:.2f} when all are"
        text = {
            "hardly": f"{self.method} hardly notices that the weights are gone: {said}; what it shows is mostly the picture",
            "partly": f"{self.method} notices only partly that the weights are gone: {said}",
            "notices": f"{self.method} notices that the weights are gone: {said}",
        }[self.word]
        if len(means) > 1 and means[0] >= SAME:
            text += f". Without {self.stages[0]} it is the same map: it does not tell one class from another"
        return text

    def joined(self, other: Randomisation) -> Randomisation:
        """The same method's and stages' figures for more pictures."""
        notes = tuple(dict.fromkeys((*self.notes, *other.notes)))
        rank, likeness = torch.cat([self.rank, other.rank]), torch.cat([self.ssim, other.ssim])
        return replace(self, rank=rank, ssim=likeness, same=self.same and other.same, notes=notes)

    def to_dict(self) -> dict[str, Any]:
        """Plain numbers: the means of each stage."""
        stages = zip(self.stages, self.rank.mean(0).tolist(), self.ssim.mean(0).tolist(), strict=True)
        said = [{"down_to": name, "rank_correlation": rank, "ssim": likeness} for name, rank, likeness in stages]
        return {"word": self.word, "kept": self.kept, "stages": said, "verdict": self.verdict}


@shielded
@door.takes(net=door.network, photo=door.photos, objective=door.objectives_or_none)
def randomisation(
    net: Network,
    photo: Pictures,
    objective: Asked = None,
    *,
    method: str | Method = "saliency",
    stages: int = STAGES,
    seed: int = 0,
    chunk: int | None = None,
    images: Sequence[str] | None = None,
    normalised: bool = False,
) -> Randomisation:
    """Cascading randomisation: the maps again, with weights made random from the output layer down.

    The first stage has the last layer random, each further one an equal share of the other layers as well, the last one all.
    A method whose maps hardly change shows edges of the picture, and not what the network has learned; `verdict` says so.
    Maps are compared in their own size, gradients by their size without the sign. The objective stays what it was, also where
    the likeliest class is another now.

    photo, objective as `explain` takes them;  stages  2 or more, or 1 for all weights at once
    The module is not touched: a private copy is changed. One that cannot be copied is a ModelError.
    Source: Adebayo et al. 2018, §3.1. Differs: the numbers of each weight tensor are shuffled, not drawn from the distribution
    that training started from, which nobody knows: activations keep their size, and no map is empty for that reason.
    """
    found = method_of(method)
    question = asked(net, photo, objective, images, seed, chunk)
    return compared(question, found, worth(question, found), randomised(net, stages, seed))


def compared(question: Question, method: Method, before: Tensor, networks: Iterable[tuple[str, Network]]) -> Randomisation:
    """Maps (b, h, w) of a question's own network with those of networks with random weights, in the order of the stages."""
    h, w = (int(side) for side in question.pictures.shape[-2:])
    names, correlations, likeness, same, notes = [], [], [], True, []
    for name, net in networks:
        after = worth(replace(question, net=net), method)
        names.append(name)
        correlations.append(spearman(before, after))
        likeness.append(ssim(overlay.resized(before, (h, w)), overlay.resized(after, (h, w))))
        same = same and bool((before == after).all())
        if bool((after.flatten(1).amax(1) == after.flatten(1).amin(1)).any()):
            notes.append(f"{method.name}: down to {name} some maps are the same everywhere and count as unlike")
    return Randomisation(method.name, tuple(names), torch.stack(correlations, 1), torch.stack(likeness, 1), same, tuple(notes))


def randomised(net: Network, stages: int = STAGES, seed: int = 0) -> Iterator[tuple[str, Network]]:
    """Private copies with weights random down to an address, which is given too."""
    stages, seed = checks.whole("stages", stages, low=1, high=1000), checks.seed(seed)
    twin = copied(net.module)
    if twin is None:
        raise ModelError(f"{net.name} cannot be copied; randomisation needs a private copy, as copy.deepcopy makes one")
    for part in _parts(_layers(twin, list(net.calls)), stages):
        for address in part:
            _shuffle(twin.get_submodule(address), address, seed)
        # A copy of its own: who keeps several stages must not see them change.
        yield part[-1] or "the network", with_module(net, copy.deepcopy(twin), f"random down to {part[-1]}")


def _layers(module: nn.Module, ran: Sequence[str]) -> list[str]:
    """Addresses of modules with weights of their own, the last to run first. A container's own weights, such as the embedding
    of positions, count as those of the first module in it that runs."""
    own = [name for name, part in module.named_modules() if any(True for _ in part.parameters(recurse=False))]
    first = {name: min((i for i, path in enumerate(ran) if _inside(path, name)), default=None) for name in own}
    there = [(i, -name.count("."), name) for name, i in first.items() if i is not None]
    if not there:
        raise ModelError("the network has no weights; there is nothing to make random")
    return [name for *_, name in sorted(there, reverse=True)]


def _inside(path: str, name: str) -> bool:
    return not name or path == name or path.startswith(f"{name}.")


def _parts(layers: Sequence[str], stages: int) -> list[Sequence[str]]:
    """The first layer alone, then the others in nearly equal parts."""
    if stages == 1 or len(layers) == 1:
        return [layers]
    rest, count = layers[1:], min(stages - 1, len(layers) - 1)
    edges = [round(k * len(rest) / count) for k in range(count + 1)]
    return [layers[:1], *(rest[a:b] for a, b in pairwise(edges))]


def _shuffle(part: nn.Module, address: str, seed: int) -> None:
    with torch.inference_mode(False), torch.no_grad():
        for name, weight in part.named_parameters(recurse=False):
            mixed = torch.randperm(weight.numel(), generator=stream(seed, "randomisation", address, name))
            weight.copy_(weight.flatten()[mixed.to(weight.device)].view_as(weight))
