"""What can be drawn during training: each callback is one of the verbs, asked again and again."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from torch import nn

from .. import checks
from ..attribution.explain import explain
from ..errors import RequestError, shown
from ..network.network import Network
from ..objectives.expression import Objective
from ..objectives.spec import Meant, coerce, listed
from ..objectives.units import logit
from ..pictures.converting import Pictures
from ..rendering.recipe import Recipe
from ..rendering.render import render, settle, stream_renderings
from ..results import door
from ..results.kinds import Rendering
from ..results.question import Question
from .averaged import Weights
from .callback import Callback
from .moment import Moment, Shown

MOST_CLASSES = 16  # that are all drawn where nobody says which
STEPS = 64  # of an ascent: enough for a shape to be seen, and cheap enough to be asked every epoch
_TRIED = (1, 1, 4)  # steps of the ascents of a rehearsal: the first warms up


class Objectives(Callback):
    """Renders objectives: feature visualisation of the network as it learns.

    objectives  as objects or texts: "channel:stage3.0:5"
    steps, recipe, size, seed  as for `render`; the seed is the same every time, so that the pictures are frames of one film
    """

    kind = "objectives"

    def __init__(
        self,
        net: Network | nn.Module,
        objectives: Meant | Sequence[Meant],
        *,
        steps: int = STEPS,
        recipe: str | Recipe = "auto",
        size: int | tuple[int, int] | None = None,
        seed: int = 0,
        weights: Weights | None = None,
    ) -> None:
        super().__init__(net, weights=weights)
        self.objectives = [coerce(one, self.net.index) for one in door.objective_list("objectives", objectives)]
        self._recipe = settle(self.net, recipe, size, steps=checks.steps(steps))
        self._size, self._seed = size, checks.seed(seed)
        stream_renderings(self.net, self.objectives, self._recipe, size=size, seed=seed)  # raises now what is wrong

    @property
    def count(self) -> int:
        return len(self.objectives)

    def draw(self, net: Network, items: Sequence[int], moment: Moment) -> list[Shown]:
        made = self._rendered(net, items, self._recipe)
        return [
            Shown(
                made.image(i),
                item.name or item.objective,
                place,
                self.kind,
                moment,
                item.score,
                made.signed_record(i).to_json(),
            )
            for i, (place, item) in enumerate(zip(items, made.items, strict=True))
        ]

    def rehearse(self, net: Network, items: Sequence[int]) -> float:
        """From ascents of one step and of four; the first warms up."""
        seconds = []
        for steps in _TRIED:
            began = time.perf_counter()
            self._rendered(net, items, self._recipe.replace(steps=steps))
            seconds.append(time.perf_counter() - began)
        each = max(seconds[2] - seconds[1], 0.0) / (_TRIED[2] - _TRIED[1])
        return seconds[2] + each * (self._recipe.steps - _TRIED[2])

    def _rendered(self, net: Network, items: Sequence[int], recipe: Recipe) -> Rendering:
        wanted = [self.objectives[i] for i in items]
        return render(net, wanted, recipe=recipe, size=self._size, seed=self._seed, frames=0)


class ClassModels(Objectives):
    """Class models: what the network takes for each class, so far.

    targets  names or indices of classes; None: all of them, where they are 16 or fewer
    The rest is as for `Objectives`. Source: Simonyan, Vedaldi & Zisserman 2013, §2.

    >>> import phosphene as ph
    >>> watch = ph.training.ClassModels(ph.load("demo:robust"), targets=["cat", "ship"], steps=8).on_val().to_state(["a", "b"])
    >>> with watch.budget(None).for_loop() as loop:
    ...     loop.val()
    >>> loop.state["a"].shape
    torch.Size([3, 32, 32])
    """

    kind = "class models"

    def __init__(
        self,
        net: Network | nn.Module,
        targets: Sequence[str | int] | None = None,
        *,
        steps: int = STEPS,
        recipe: str | Recipe = "auto",
        size: int | tuple[int, int] | None = None,
        seed: int = 0,
        weights: Weights | None = None,
    ) -> None:
        net = net if isinstance(net, Network) else Network(net)
        wanted = [logit(net.index(one)) for one in _targets(net, targets)]
        super().__init__(net, wanted, steps=steps, recipe=recipe, size=size, seed=seed, weights=weights)


class Saliency(Callback):
    """Maps of what in given pictures the network looks at.

    pictures  (b, c, h, w) in [0, 1], or several of different sizes
    targets   a class or objective for all, or one per picture; None: each picture's likeliest class at that moment
    method    saliency, guided_backprop, … or one with settings of its own, as for `explain`
    """

    kind = "saliency"

    def __init__(
        self,
        net: Network | nn.Module,
        pictures: Pictures,
        targets: str | int | Objective | Sequence[str | int | Objective] | None = None,
        *,
        method: str = "saliency",
        seed: int = 0,
        weights: Weights | None = None,
    ) -> None:
        super().__init__(net, weights=weights)
        self._asked = None if targets is None else self._objectives(targets)
        question = Question.of(self.net, pictures, self._asked, seed=seed)
        self._pictures, self._photos = question.pictures.cpu(), _names_of(pictures, len(question))
        self._method, self._seed = method, seed
        self.kind = method
        explain(self.net, self._pictures[:1], self._first(), method=method, seed=seed)  # raises now what is wrong

    @property
    def count(self) -> int:
        return len(self._pictures)

    def draw(self, net: Network, items: Sequence[int], moment: Moment) -> list[Shown]:
        asked = self._asked
        wanted = asked if asked is None or len(asked) == 1 else [asked[i] for i in items]
        found = explain(net, self._pictures[list(items)], wanted, method=self._method, seed=self._seed)
        return [
            Shown(
                found.overlay(item=i),
                item.name or item.objective,
                place,
                self.kind,
                moment,
                item.score,
                found.signed_record(i).to_json(),
                self._photos[place],
            )
            for i, (place, item) in enumerate(zip(items, found.items, strict=True))
        ]

    def _objectives(self, targets: Any) -> list[Objective]:
        return [coerce(one, self.net.index) for one in listed(targets)]

    def _first(self) -> Objective | None:
        return None if self._asked is None else self._asked[0]


def _names_of(pictures: Pictures, count: int) -> list[str]:
    """The names of files, and picture-1, picture-2, … of anything else; none stands twice."""
    several = pictures if isinstance(pictures, list | tuple) else [pictures]
    named = (
        [Path(one).name if isinstance(one, str | Path) else "" for one in several] if len(several) == count else [""] * count
    )
    return [f"picture-{i + 1}" if not name or name in named[:i] else name for i, name in enumerate(named)]


def _targets(net: Network, targets: Sequence[str | int] | None) -> Sequence[str | int]:
    if targets is None and len(net.classes) > MOST_CLASSES:
        raise RequestError(f'{net.name} has {len(net.classes)} classes; say which, as in targets=["{net.classes[0]}"]')
    if targets is None:
        return range(len(net.classes))
    if isinstance(targets, str | int) or not isinstance(targets, Sequence | range) or not targets:
        raise RequestError(f"targets are {shown(targets)}; a list of classes, by name or index, is needed")
    return targets
