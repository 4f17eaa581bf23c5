"""Methods that weigh a layer's maps by what happens to the objective without them, or with nothing else. No gradient."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from .. import checks
from ..errors import ModelError, RequestError
from ..network import prepared
from ..network.network import Read
from ..objectives.expression import values
from ..pictures import overlay
from ..results.method import Maps
from ..results.question import Question
from .layer import Target
from .maps import OfLayer, features, named, no_part
from .methods import weighed

CHUNK_NUMBERS = 4_000_000  # of a layer that go on through the network at once


@dataclass(frozen=True)
class _Weighing(OfLayer):
    """Σ_k w_k A_k, the weights found map by map.

    channels: how many maps of each picture are asked about, those that vary most; the others have no weight. None: all
    """

    channels: int | None = None
    in_units: ClassVar[bool] = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.channels is not None:
            checks.whole("channels", self.channels, low=1)

    def __call__(self, question: Question) -> Maps:
        layers = self.targets(question)
        reached, scores = question.said()
        made = []
        for i in range(len(question)):
            maps = features(question, layers, [i])
            weights = [self.weights(question, i, t, a[0], float(reached[i])) for t, a in zip(layers, maps, strict=True)]
            parts = [weighed(w[None].to(a), a) for w, a in zip(weights, maps, strict=True)]
            made.append(self.fused(parts).cpu())
        notes = (self.notes(question),) * len(made)
        return Maps(torch.cat(made), notes=notes, layer=named(layers), reached=reached, scores=scores)

    def notes(self, question: Question) -> tuple[str, ...]:
        return ()

    def weights(self, question: Question, i: int, layer: Target, maps: Tensor, reached: float) -> Tensor:
        """(k,) on the CPU, for the maps (k, h, w) of picture i, at which the objective is `reached`."""
        raise NotImplementedError

    def asked(self, maps: Tensor) -> list[int]:
        """The maps that are asked about, in their order. One that is the same everywhere says nothing of places."""
        spread = (maps.amax((1, 2)) - maps.amin((1, 2))).cpu()
        ranked = spread.argsort(descending=True, stable=True)[: self.channels]
        return sorted(int(k) for k in ranked if spread[k] > 0)


@dataclass(frozen=True)
class ScoreCam(_Weighing):
    """Weights are the softmax over the maps of the objective at the picture seen through each: I₀ + H_k · (I − I₀), with H_k
    the map enlarged and scaled to [0, 1] and I₀ the mean picture, which is zero to the network.

    Source: Wang et al. 2020, algorithm 1; taking off the value at I₀, as there, leaves a softmax as it is. Differs: a map that
    is the same everywhere, which no scaling takes to [0, 1], has no weight; without the last ReLU.
    One pass through the network per map: `channels` shortens it, `chunk` says how many go at once.
    precision: auto, full or half; auto looks through the maps in bfloat16 where `render` would. Maps of MobileNetV2 then differ
    by 2 to 5 % of their largest value, and the order of their places correlates to 0.998
    """

    precision: prepared.Precision = "auto"

    def __post_init__(self) -> None:
        super().__post_init__()
        prepared.check(self.precision)

    @property
    def name(self) -> str:
        return "score_cam"

    def weights(self, question: Question, i: int, layer: Target, maps: Tensor, reached: float) -> Tensor:
        asked, weights = self.asked(maps), torch.zeros(len(maps))
        if not asked:
            return weights
        picture, mean = question.pictures[i], question.mean_picture()[0]
        h, w = (int(side) for side in picture.shape[1:])

        def seen(_: int, k: int) -> Tensor:
            mask = overlay.resized(maps[k : k + 1], (h, w)).to(picture)
            low = mask.amin()
            return mean + (mask - low) / (mask.amax() - low).clamp(min=torch.finfo(mask.dtype).tiny) * (picture - mean)

        half, _ = self._half(question)
        worth = question.value_of([(i, k) for k in asked], seen, half).double()
        weights[asked] = worth.softmax(0).float()
        return weights

    def notes(self, question: Question) -> tuple[str, ...]:
        return self._half(question)[1]

    def _half(self, question: Question) -> tuple[bool, tuple[str, ...]]:
        h, w = (int(side) for side in question.pictures.shape[-2:])
        return question.net.computes_half(self.precision, (h, w))


@dataclass(frozen=True)
class AblationCam(_Weighing):
    """Weights are how far the objective falls when a map is set to zero, S − S_k.

    Where the maps are averaged and weighed linearly that is what the map contributes, w_k · mean_p A_kp.
    Source: Desai & Ramaswamy 2020. Differs: not divided by S, which turns the map over where a score is negative and has no
    meaning at zero; signed, without the last ReLU. Maps that are the same everywhere have their weight too, unless `channels`
    leaves them out.
    What lies before the layer runs once per chunk and not once per map.
    """

    @property
    def name(self) -> str:
        return "ablation_cam"

    def targets(self, question: Question) -> tuple[Target, ...]:
        found = super().targets(question)
        for target in found:
            if not target.used:
                raise RequestError(no_part(target))
        return found

    def asked(self, maps: Tensor) -> list[int]:
        alive = maps.flatten(1).any(1).cpu()  # one that is zero already changes nothing
        return [k for k in range(len(maps)) if alive[k]] if self.channels is None else super().asked(maps)

    def weights(self, question: Question, i: int, layer: Target, maps: Tensor, reached: float) -> Tensor:
        asked, weights = self.asked(maps), torch.zeros(len(maps))
        at_once = max(question.chunk, CHUNK_NUMBERS // maps.numel())
        with torch.no_grad(), question.net.reading(question.network_seed) as read:

            def run(some: Sequence[int]) -> Tensor:
                return _without(question, read, i, layer, some)

            for some, part in question.parts(asked, run, at_once):
                weights[list(some)] = reached - part
        return weights


def _without(question: Question, read: Read, i: int, layer: Target, channels: Sequence[int]) -> Tensor:
    """The objective (n,) of picture i with one map of the layer at zero, for n of them."""
    picture, count = question.pictures[i : i + 1], len(channels)
    rows = torch.arange(count)

    def ablate(given: Tensor) -> Tensor:
        several = given.expand(count, *given.shape[1:]).clone()
        layer.grid.maps(several)[rows, list(channels)] = 0
        return several

    objectives = [question.resolved[i]] * count
    changes = {layer.address: ablate}
    try:
        given = read(picture, question.reads, changes, count)
    except ModelError:
        given = {}
    if not given or any(len(tensor) != count for tensor in given.values()):
        # A network that reckons with the number of pictures it was given: then it is given as many.
        given = read(picture.expand(count, -1, -1, -1), question.reads, changes)
    return values(objectives, given).cpu()
