"""Trust: methods beside one another and beside a random map, by what happens to the answer and by what happens to the map."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial, reduce
from typing import Any, NamedTuple

import torch
from torch import Tensor

from .. import checks
from ..ambient import shielded
from ..errors import Interrupted, ModelError, RequestError, shown
from ..network.network import Network
from ..pictures.converting import Pictures
from ..results import door
from ..results.heatmap import Heatmap
from ..results.method import Method
from ..results.question import Asked, Question
from ..tables import Table
from .baseline import RandomMap
from .faithfulness import SHARES, STEPS, curves, drops, removed
from .randomisation import Randomisation, compared, randomised
from .removal import SMOOTHING, Judged, Watched, asked, by_themselves, judged, method_of, worth
from .similarity import ranks

STAGES = 3  # of randomisation: the last layer, half of the others too, all; each costs every map once more
RANDOM = "random"


Settings = tuple[int, tuple[float, ...], float]  # steps, shares, smoothing


class Measure(NamedTuple):
    """A column: what it is called, whether less is better, and what it tells."""

    name: str
    less: bool
    tells: str


MEASURES = (
    Measure("deletion", True, "area under the probability as the largest places go (Petsiuk et al. 2018)"),
    Measure("insertion", False, "area under the probability as the largest places come"),
    Measure("drop", True, "share of the probability lost where half of the picture is seen through the map"),
    Measure("road", False, "half the difference between imputing the least and the most important (Rong et al. 2022)"),
)


@dataclass(frozen=True, eq=False, repr=False)
class Trust:
    """How far each method's maps of the same pictures can be trusted.

    methods        names; "random", the map that knows nothing, is the last one
    images         names of the pictures
    values         (measures, methods, b), in the order of MEASURES
    increased      (methods, b) bool: whether the probability grew where half of the picture was seen through the map
    randomisation  one per method, or None where the network cannot be copied or none was asked for
    notes          what may mislead
    """

    methods: tuple[str, ...]
    images: tuple[str, ...]
    values: Tensor
    increased: Tensor
    randomisation: tuple[Randomisation, ...] | None
    notes: tuple[str, ...] = ()

    def mean(self, measure: str) -> Tensor:
        """(methods,)"""
        return self._of(measure).mean(1)

    def error(self, measure: str) -> Tensor | None:
        """(methods,) the standard error of the mean; None of one picture."""
        count = len(self.images)
        return self._of(measure).std(1) / math.sqrt(count) if count > 1 else None

    @property
    def rank(self) -> Tensor:
        """(methods,) the mean, over measures and pictures, of each method's place among the methods; 1 is best."""
        places = [
            torch.stack([ranks(column if less else -column) for column in values.T], 1)
            for (_, less, _), values in zip(MEASURES, self.values, strict=True)
        ]
        return torch.stack(places).mean((0, 2))

    @property
    def ranked(self) -> tuple[int, ...]:
        """The methods' places in `methods`, best first."""
        return tuple(int(i) for i in self.rank.argsort(stable=True))

    @property
    def findings(self) -> tuple[str, ...]:
        """Sentences: what no better than a random map is, and what randomisation says."""
        said = [text for i in range(len(self.methods) - 1) if (text := self._no_better(i))]
        return (*said, *(one.verdict for one in self.randomisation or () if one.method != RANDOM), *self.notes)

    def _no_better(self, i: int) -> str:
        means = [(one.name, self.mean(one.name) * (1 if one.less else -1)) for one in MEASURES]
        lost = [name for name, mean in means if float(mean[i]) >= float(mean[-1])]
        return f"{self.methods[i]} does no better than a random map by {', '.join(lost)}" if lost else ""

    def joined(self, other: Trust) -> Trust:
        """The same methods' figures for more pictures."""
        if self.methods != other.methods:
            raise RequestError(f"methods are {shown(other.methods)}; {shown(self.methods)} are needed")
        both = None
        if self.randomisation is not None and other.randomisation is not None:
            both = tuple(a.joined(b) for a, b in zip(self.randomisation, other.randomisation, strict=True))
        values = torch.cat([self.values, other.values], 2)
        increased = torch.cat([self.increased, other.increased], 1)
        notes = tuple(dict.fromkeys((*self.notes, *other.notes)))
        return Trust(self.methods, self.images + other.images, values, increased, both, notes)

    def table(self) -> Table:
        """A row for each method, best first; ↓ where less is better."""
        heads = [f"{one.name} {'↓' if one.less else '↑'}" for one in MEASURES]
        last = ("random weights",) if self.randomisation else ()
        count = len(self.images)
        title = f"trust, of {count} map{'' if count == 1 else 's'} a method"
        return Table(("method", *heads, "rank", *last), tuple(self._cells(i) for i in self.ranked), title, self.findings)

    def _cells(self, i: int) -> tuple[str, ...]:
        kept = (f"{self.randomisation[i].word} ({self.randomisation[i].kept:.2f})",) if self.randomisation else ()
        return (self.methods[i], *(self._cell(one.name, i) for one in MEASURES), f"{float(self.rank[i]):.2f}", *kept)

    def _cell(self, measure: str, i: int) -> str:
        error, mean = self.error(measure), f"{float(self.mean(measure)[i]):.3f}"
        return mean if error is None else f"{mean} ± {float(error[i]):.3f}"

    def __repr__(self) -> str:
        return self.table().text()

    def _repr_html_(self) -> str:
        return self.table().html()

    def to_dict(self) -> dict[str, Any]:
        """Plain numbers: a row a method, best first, with the figures of each picture."""
        return {
            "pictures": list(self.images),
            "methods": [self._row(i) for i in self.ranked],
            "findings": list(self.findings),
        }

    def _row(self, i: int) -> dict[str, Any]:
        row: dict[str, Any] = {"method": self.methods[i], "rank": round(float(self.rank[i]), 4)}
        for (name, *_), values in zip(MEASURES, self.values, strict=True):
            error = self.error(name)
            row[name] = {
                "mean": float(values[i].mean()),
                "standard_error": None if error is None else float(error[i]),
                "pictures": values[i].tolist(),
            }
        row["increased"] = float(self.increased[i].double().mean())
        row["randomisation"] = None if self.randomisation is None else self.randomisation[i].to_dict()
        return row

    def _of(self, measure: str) -> Tensor:
        names = [one.name for one in MEASURES]
        if measure not in names:
            raise RequestError(f"measure {shown(measure)}; one of {', '.join(names)} is needed")
        return self.values[names.index(measure)]


@shielded
@door.takes(net=door.network, photo=door.photos, objective=door.objectives_or_none)
def trust(
    net: Network,
    photo: Pictures,
    objective: Asked = None,
    *,
    methods: Sequence[str | Method] = ("saliency", "grad_cam"),
    stages: int = STAGES,
    steps: int = STEPS,
    shares: Sequence[float] = SHARES,
    smoothing: float = SMOOTHING,
    seed: int = 0,
    chunk: int | None = None,
    images: Sequence[str] | None = None,
    normalised: bool = False,
    heatmaps: Sequence[Heatmap] | None = None,
    on_step: Callable[[int, int], None] | None = None,
) -> Trust:
    """Deletion, insertion, drop and ROAD of each method's maps and of a random map, and cascading randomisation.

    photo, objective, steps, shares, smoothing  as in `insertion_deletion`, `average_drop` with `half` and `road`
    stages    of `randomisation`; each costs every map once more. 0: none
    heatmaps  the methods' maps of these pictures and objectives, where they are there already
    on_step   is told how many of all methods of all pictures are done. Ctrl-C raises Interrupted with the pictures that are
    """
    judge = _Judge.of(net, methods, stages, seed, (steps, tuple(shares), smoothing))
    question = asked(net, photo, objective, images, seed, chunk)
    there = _values(heatmaps, len(question), len(judge.methods) - 1)
    count, rows = len(judge.methods), list[Trust]()
    try:
        for i in range(len(question)):
            told = None if on_step is None else partial(_told, on_step, i * count, len(question) * count)
            rows.append(judge(by_themselves(question, i), [values[i : i + 1] for values in there], told))
    except KeyboardInterrupt as stopped:
        raise Interrupted(reduce(Trust.joined, rows) if rows else None) from stopped
    return reduce(Trust.joined, rows)


def _told(on_step: Callable[[int, int], None], before: int, total: int, done: int) -> None:
    on_step(before + done, total)


@dataclass(frozen=True, eq=False)
class _Judge:
    """methods, the random map among them as the last; networks with random weights by what is random; settings of the curves:
    steps, shares, smoothing."""

    methods: tuple[Method, ...]
    networks: tuple[tuple[str, Network], ...]
    settings: Settings
    notes: tuple[str, ...]

    @classmethod
    def of(
        cls,
        net: Network,
        methods: Sequence[str | Method],
        stages: int,
        seed: int,
        settings: Settings,
    ) -> _Judge:
        if isinstance(methods, str):
            raise RequestError(f"methods are {shown(methods)}; a sequence of names is needed")
        found = dict.fromkeys(method for method in map(method_of, methods) if not isinstance(method, RandomMap))
        every = (*found, RandomMap())
        if checks.whole("stages", stages, low=0, high=1000) == 0:
            return cls(every, (), settings, ())
        try:
            return cls(every, tuple(randomised(net, stages, seed)), settings, ())
        except ModelError as error:
            return cls(every, (), settings, (f"no randomisation: {error}",))

    def __call__(self, question: Question, there: Sequence[Tensor], told: Callable[[int], None] | None) -> Trust:
        """Of one picture. there: the methods' maps, or none at all."""
        watched = Watched.of(question)
        columns, increased, shuffled = [], [], []
        for m, method in enumerate(self.methods):
            values = there[m] if m < len(there) else worth(question, method)
            figures, grew = self._figures(judged(question, values, watched))
            columns.append(figures)
            increased.append(grew)
            if self.networks:
                shuffled.append(compared(question, method, values, self.networks))
            if told is not None:
                told(m + 1)
        names = tuple(method.name for method in self.methods)
        notes = (*self.notes, *watched.notes, *(note for one in shuffled for note in one.notes))
        return Trust(names, question.images, torch.stack(columns, 1), torch.stack(increased), tuple(shuffled) or None, notes)

    def _figures(self, said: Judged) -> tuple[Tensor, Tensor]:
        """(measures, 1) and (1,)."""
        steps, shares, smoothing = self.settings
        areas, dropped, filled = curves(said, steps, smoothing), drops(said, True, smoothing), removed(said, shares, smoothing)
        return torch.stack([areas.deletion, areas.insertion, dropped.drop, filled.score]), dropped.increased


def _values(heatmaps: Sequence[Heatmap] | None, pictures: int, methods: int) -> list[Tensor]:
    """What maps that are there already say each place is worth."""
    if heatmaps is None:
        return []
    if [len(one) for one in heatmaps] != [pictures] * methods:
        raise RequestError(f"heatmaps are of {[len(one) for one in heatmaps]} maps; {methods} of {pictures} are needed")
    return [one.values.abs() if one.by_size else one.values for one in heatmaps]
