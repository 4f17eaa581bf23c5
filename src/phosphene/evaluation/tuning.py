"""Tuning: the settings of a recipe under which a network's class models are recognised best, and what they cost."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .. import checks
from ..ambient import shielded
from ..errors import Interrupted, RenderError, RequestError
from ..network.network import Network
from ..objectives.units import logit
from ..pictures import files
from ..rendering.job import sides
from ..rendering.judges import index_in
from ..rendering.observers import Observer
from ..rendering.recipe import Recipe
from ..rendering.render import render, settle
from ..results import door
from ..results.claim import claim
from .jury import FLOOR, Jury, Verdict, jury_of
from .space import Knob, changes, described, searched, space
from .study import Study, check_extra

TRIALS = 25
MOST = 10_000
DATABASE = "tune.db"


@dataclass(frozen=True)
class Trial:
    """One recipe that was tried.

    number          from 0, which is the base recipe
    settings        what was searched, by name;  changes: those that differ from the base recipe's
    recognisability mean over classes and judges of ln p of the class that was meant, each no less than −10: 0 is certainty
    top1, top5      shares of pictures whose class is the judge's first choice, or among its first five
    seconds         of a picture;  passes: steps × views, forward and back, that it took
    """

    number: int
    settings: dict[str, float]
    changes: dict[str, float]
    recognisability: float
    top1: float
    top5: float
    seconds: float
    passes: int
    recipe: Recipe
    notes: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Plain words and numbers."""
        said = {name: getattr(self, name) for name in self.__dataclass_fields__}
        return said | {"recipe": self.recipe.to_dict(), "notes": list(self.notes)}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Trial:
        """The other way."""
        return cls(**values | {"recipe": Recipe.from_dict(values["recipe"]), "notes": tuple(values["notes"])})

    def dominates(self, other: Trial) -> bool:
        """No worse in recognisability and in seconds, and better in one."""
        ours, theirs = (self.recognisability, -self.seconds), (other.recognisability, -other.seconds)
        return ours != theirs and all(a >= b for a, b in zip(ours, theirs, strict=True))


@dataclass(frozen=True)
class Tuning:
    """trials, in their order, the base recipe's first; notes, sentences on how far the measure can be trusted."""

    trials: tuple[Trial, ...]
    notes: tuple[str, ...] = ()

    @property
    def base(self) -> Trial:
        """The base recipe's own trial."""
        return self.trials[0]

    @property
    def best(self) -> Trial:
        """The most recognisable; of several the quickest. Never less recognisable than the base recipe."""
        return max(self.trials, key=lambda trial: (trial.recognisability, -trial.seconds))

    @property
    def front(self) -> tuple[Trial, ...]:
        """The Pareto front, quickest first: no trial is both quicker and more recognisable than one of these."""
        kept = [one for one in self.trials if not any(other.dominates(one) for other in self.trials)]
        return tuple(sorted(kept, key=lambda trial: (trial.seconds, trial.number)))

    @property
    def recipes(self) -> tuple[Recipe, ...]:
        """Of the trials, in their order."""
        return tuple(trial.recipe for trial in self.trials)

    def to_dict(self) -> dict[str, Any]:
        """Plain words and numbers: the numbers of the best trial and of the front, and every trial."""
        return {
            "best": self.best.number,
            "front": [trial.number for trial in self.front],
            "notes": list(self.notes),
            "items": [trial.to_dict() for trial in self.trials],
        }


@shielded
@door.takes(net=door.network, classes=door.names, judges=door.networks)
def tune(
    net: Network,
    classes: Sequence[str | int],
    judges: Sequence[Network] = (),
    *,
    trials: int = TRIALS,
    folder: str | Path | None = None,
    base: str | Recipe = "auto",
    size: int | tuple[int, int] | None = None,
    seed: int = 0,
    on_trial: Callable[[Trial], None] | None = None,
    observers: Sequence[Observer] = (),
) -> Tuning:
    """Recipes for this network, found by drawing its class models under many settings and asking who recognises them.

    classes   names or indices; the more, the less a recipe is tuned to the luck of one picture
    judges    networks that took no part. Without any, the network itself judges, on pictures blurred, coarsened, turned and
              with noise, and so does a copy with perturbed weights: weaker evidence, which the result's `notes` say
    trials    in all, those of the folder included
    folder    keeps the trials, in tune.db: started again, it goes on where it was. A second process at the same time is
              refused. None keeps nothing
    base      the recipe from which settings depart, tried first: a name, a Recipe; "auto" is the usual one for the size
    seed      of the pictures and of the search. The settings tried are the same for the same seed
    on_trial  told of every trial that is finished;  observers: of every step of every ascent

    Recognisability is the mean of ln p, which moves where the share of recognised pictures does not. Pictures of another seed
    are recognised a little less well than those the settings were chosen by.
    Ctrl-C raises Interrupted, a KeyboardInterrupt that carries the Tuning so far. Needs the extra `tune`.

    Source: Bergstra et al. 2011 for the tree-structured Parzen estimator, Ozaki et al. 2022 for several aims; by Optuna.
    """
    check_extra()
    count = checks.whole("trials", trials, low=1, high=MOST)
    search = _Search.of(net, classes, judges, base, size, checks.seed(seed), observers)
    place = None if folder is None else files.folder(folder)
    path = None if place is None else place / DATABASE
    with claim(place), Study(path, search.identity, search.seed) as study:
        done = study.finished(Trial.from_dict)
        try:
            if len(done) < count:
                search.warm()
            while len(done) < count:
                done.append(search.trial(study, len(done)))
                if on_trial:
                    on_trial(done[-1])
        except KeyboardInterrupt as stop:
            raise Interrupted(Tuning(tuple(done), search.jury.notes) if done else None) from stop
    return Tuning(tuple(done), search.jury.notes)


@dataclass(frozen=True, eq=False)
class _Search:
    """What `tune` was asked, checked once."""

    net: Network
    classes: tuple[str, ...]
    jury: Jury
    base: Recipe
    size: tuple[int, int]
    seed: int
    observers: tuple[Observer, ...]
    knobs: tuple[Knob, ...]
    identity: dict[str, Any] = field(repr=False)

    @classmethod
    def of(
        cls,
        net: Network,
        classes: Sequence[str | int],
        judges: Sequence[Network],
        base: str | Recipe,
        size: int | tuple[int, int] | None,
        seed: int,
        observers: Sequence[Observer],
    ) -> _Search:
        words = _words(net, classes)
        for judge in judges:
            for word in words:
                index_in(judge, word)
        jury = jury_of(net, judges, seed)
        recipe, (h, w) = settle(net, base, size), sides(net, size)
        knobs = space(recipe, (net.preprocess.channels, h, w))
        identity = {
            "network": net.sha256(),
            "preprocessing": net.preprocess.to_dict(),
            "list of classes": list(words),
            "list of judges": [judge.sha256() for judge in judges],
            "size": [h, w],
            "base recipe": recipe.to_dict(),
            "seed": seed,
            "search space": described(knobs),
        }
        return cls(net, words, jury, recipe, (h, w), seed, tuple(observers), knobs, _plain(identity))

    def warm(self) -> None:
        """One step, so that the first trial does not pay for what is done once in a process."""
        render(self.net, logit(self.classes[0]), recipe=self.base.replace(steps=1), size=self.size, frames=0)

    def trial(self, study: Study, number: int) -> Trial:
        """Try the settings that the study suggests, and tell it."""
        settings = study.suggest(self.knobs)
        recipe = searched(self.base, self.knobs, settings, f"{self.base.name}-tuned-{number}")
        verdict, seconds, notes = self._drawn(recipe)
        passes = recipe.steps * recipe.samples
        found = Trial(
            number,
            settings,
            changes(self.knobs, settings),
            verdict.score,
            verdict.top1,
            verdict.top5,
            seconds,
            passes,
            recipe,
            notes,
        )
        study.tell(verdict.score, passes, found.to_dict())
        return found

    def _drawn(self, recipe: Recipe) -> tuple[Verdict, float, tuple[str, ...]]:
        """The verdict on the recipe's pictures, and the seconds that each took."""
        wanted = [logit(word) for word in self.classes]
        started = time.perf_counter()
        try:
            drawn = render(self.net, wanted, recipe=recipe, size=self.size, seed=self.seed, frames=0, observers=self.observers)
        except RenderError as error:  # a recipe that draws nothing: as bad as can be, and no reason to stop
            return Verdict(FLOOR, 0.0, 0.0), (time.perf_counter() - started) / len(wanted), (str(error),)
        seconds = (time.perf_counter() - started) / len(wanted)
        return self.jury(drawn.pictures, self.classes), seconds, ()


def _words(net: Network, classes: Sequence[str | int]) -> tuple[str, ...]:
    """Each class once, by its name, or by its index where the name stands twice."""
    if isinstance(classes, str) or not classes:
        raise RequestError("no classes; a sequence of names or indices is needed, as in ['cat', 'ship']")
    return tuple(_word(net, index) for index in dict.fromkeys(net.index(one) for one in classes))


def _word(net: Network, index: int) -> str:
    name = net.classes[index]
    return name if net.classes.count(name) == 1 else str(index)


def _plain(identity: dict[str, Any]) -> dict[str, Any]:
    """As it comes back from the file: JSON knows no tuples."""
    plain: dict[str, Any] = json.loads(json.dumps(identity))
    return plain
