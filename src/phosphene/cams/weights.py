"""Class activation maps: a score before its places are averaged, with the network's own weights.

A score of global average pooling and a linear layer, S_c = Σ_k w_ck · mean_p f_kp + b_c, is a sum over places once the two sums
change sides: M_c(p) = Σ_k w_ck f_kp / hw, and S_c = Σ_p M_c(p) + b_c. Any other unit that averages or adds up places has such a
map too, without a bias.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ..errors import RequestError
from ..network.grid import Grid, tokens_of
from ..network.head import Head, HeadTracer
from ..network.layout import Layout
from ..network.network import NO_GRADIENT
from ..network.receptive import Pair
from ..objectives.direction import LEAST_COSINE, Direction
from ..objectives.expression import Objective, Unit, values
from ..objectives.likeness import Likeness
from ..objectives.units import OUTPUT, Channel, ClassUnit, Layer, Neuron, logit
from ..results.heatmap import EXACT
from ..results.method import Maps, Method
from ..results.question import Question


@dataclass(frozen=True)
class Cam(Method):
    """M_c(p) = Σ_k w_ck f_kp / hw, so that the map and the bias sum to the score: S_c = Σ_p M_c(p) + b_c.

    `numbers` has the bias, the total Σ M + b, and identity_error, how far it is off the network's own score, relative to the
    sizes of what was added up; above 1e-5 a note says so. The class, its score and its map come from one forward pass.
    Of a hidden unit, or sums of units of one layer, the map is what the unit averages: of a channel its activation map.
    Source: Zhou et al. 2016, equations 1 and 2. Differs: with the 1/hw of average pooling, which the paper drops, and with the
    bias, which it sets to zero; without them the sum is not the score.
    """

    @property
    def name(self) -> str:
        return "cam"

    def __call__(self, question: Question) -> Maps:
        return _maps([_term(question, question.resolved[i], i, part) for part, rows in passes(question) for i in rows])


@dataclass(frozen=True, eq=False)
class Pass:
    """What one forward pass of pictures from `first` on gave: all that was read, and the head that made the scores."""

    first: int
    given: dict[str, Tensor]
    head: Head | None
    size: Pair
    layouts: Mapping[str, Layout]

    def row(self, i: int) -> dict[str, Tensor]:
        return {address: tensor[i - self.first : i - self.first + 1] for address, tensor in self.given.items()}


def passes(question: Question) -> Iterator[tuple[Pass, Sequence[int]]]:
    """One forward pass over the question's pictures, a chunk at a time."""
    h, w = (int(side) for side in question.pictures.shape[-2:])
    layouts = question.net.layouts(question.reads, (h, w))
    with torch.no_grad(), question.net.reading(question.network_seed) as read:

        def run(some: Sequence[int]) -> Pass:
            with HeadTracer() as tracer:
                given = read(question.pictures[some[0] : some[-1] + 1], question.reads)
            head = tracer.of(given[OUTPUT]) if OUTPUT in given else None
            if OUTPUT in given and head is None:
                raise RequestError(refusal(question))
            return Pass(some[0], given, head, (h, w), layouts)

        for some, part in question.parts(range(len(question)), run):
            yield part, some


def likeliest(question: Question) -> tuple[Question, Maps]:
    """The question asked about each picture's likeliest class, and the maps: of one forward pass."""
    asked: list[Objective] = []
    terms = []
    for part, rows in passes(question):
        some = [logit(int(c)) for c in part.given[OUTPUT].argmax(1)]
        terms += [_term(question, objective, i, part) for objective, i in zip(some, rows, strict=True)]
        asked += some
    return question.asking(asked), _maps(terms)


def refusal(question: Question) -> str:
    works = "score_cam" if question.net.reentrant or any(NO_GRADIENT in note for note in question.net.notes) else "grad_cam"
    return (
        f"{question.net.name} has no global average pooling with a linear layer after it, whose weights cam needs; "
        f"method {works} works without, and phosphene gap-head gives it such a head"
    )


@dataclass(frozen=True, eq=False)
class _Term:
    """One picture's map (h, w) in float64; bias: what no place gives; size: Σ of the sizes of all that is added up."""

    values: Tensor
    bias: float
    size: float
    reached: float
    scores: Tensor | None
    layer: str | None


def _maps(terms: Sequence[_Term]) -> Maps:
    sizes = {tuple(term.values.shape) for term in terms}
    if len(sizes) > 1:
        said = ", ".join(f"{h}×{w}" for h, w in sorted(sizes))
        raise RequestError(f"the objectives have maps of {said}; ask those of one size at a time")
    numbers = tuple(_numbers(term) for term in terms)
    scores = [term.scores for term in terms if term.scores is not None]
    layers = {term.layer for term in terms}
    return Maps(
        torch.stack([term.values for term in terms]).float(),
        notes=tuple(_notes(n) for n in numbers),
        numbers=numbers,
        layer=layers.pop() if len(layers) == 1 else None,
        reached=torch.tensor([term.reached for term in terms]),
        scores=torch.stack(scores) if len(scores) == len(terms) else None,
    )


def _numbers(term: _Term) -> dict[str, float]:
    total = float(term.values.sum()) + term.bias
    error = abs(total - term.reached)
    size = max(term.size + abs(term.bias), abs(term.reached))
    return {"bias": term.bias, "total": total, "identity_error": error / size if size > 0 else 0.0}


def _notes(numbers: dict[str, float]) -> tuple[str, ...]:
    if numbers["identity_error"] <= EXACT:
        return ()
    off = numbers["identity_error"]
    return (f"inexact: the map and its bias sum to {numbers['total']:.6g}, {off:.1g} of their sizes off the score",)


def _term(question: Question, objective: Objective, i: int, part: Pass) -> _Term:
    given = part.row(i)
    total: Tensor | None = None
    bias = size = 0.0
    for coefficient, unit in objective.terms:
        places, constant, weight = (
            _of_class(question, unit, part, i) if isinstance(unit, ClassUnit) else _of_unit(unit, given, part)
        )
        if total is not None and total.shape != places.shape:
            raise RequestError(f"{objective} adds units whose maps differ in size; ask for them apart")
        total = coefficient * places if total is None else total + coefficient * places
        bias, size = bias + coefficient * constant, size + abs(coefficient) * weight
    assert total is not None  # an objective has a term
    scores = given.get(OUTPUT)
    addresses = sorted(objective.reads - {OUTPUT})
    return _Term(
        total.cpu(),
        bias,
        size,
        float(values([objective], given)),
        None if scores is None else scores[0].cpu(),
        addresses[0] if len(addresses) == 1 and OUTPUT not in objective.reads else None,
    )


def _of_class(question: Question, unit: ClassUnit, part: Pass, i: int) -> tuple[Tensor, float, float]:
    """The map (h, w), b_c and Σ |w_ck f_kp| / hw."""
    if unit.kind != "logit":
        raise RequestError(f"{unit} is not a sum over places: softmax mixes the scores after it; cam of logit:… is")
    head, c = part.head, unit.target
    assert head is not None  # `passes` saw to it
    assert isinstance(c, int)  # resolved
    given = head.given[i - part.first : i - part.first + 1].cpu().double()
    grid = _pooled_grid(head, part.size)
    if grid is None or grid.size == (1, 1):
        raise RequestError(f"{refusal(question)} (it pools {tuple(head.given.shape[1:])}, in which there are no places)")
    features = given.movedim(head.channel, 1).flatten(2)[0]  # (k, places)
    row = torch.zeros(len(features)).to(features) if head.weight is None else head.weight[c].to(features)
    if head.weight is None:
        row[c] = 1
    each = head.scale * row[:, None] * features
    along = each.sum(0)
    places, others = along[grid.extra :].view(grid.size), along[: grid.extra]
    bias = 0.0 if head.bias is None else float(head.bias[c])
    bias += 0.0 if head.rest is None else float(head.rest[i - part.first, c])
    return places, bias + float(others.sum()), float(each.abs().sum())


def _pooled_grid(head: Head, size: Pair) -> Grid | None:
    """The grid of the pooled places, without regard to which axis the channels are."""
    shape = tuple(side for axis, side in enumerate(head.given.shape) if axis not in (0, head.channel))
    if len(shape) == 2 and 1 not in shape:
        return Grid("bkhw", (shape[0], shape[1]))
    count = shape[0] * shape[-1] if len(shape) == 2 else shape[0]
    if count == 1:
        return Grid("bkhw", (1, 1))
    # One row of places: tokens whose pooling was written as that of a map one high, or such a map indeed.
    return tokens_of(count, size) or (Grid("bkhw", (shape[0], shape[1])) if len(shape) == 2 else None)


def _of_unit(unit: Unit, given: dict[str, Tensor], part: Pass) -> tuple[Tensor, float, float]:
    """The map of a hidden unit, what its tokens of no place give, and the sum of all sizes."""
    (address,) = unit.reads if len(unit.reads) == 1 else ("",)
    if isinstance(unit, Neuron) or not isinstance(unit, Channel | Layer | Direction | Likeness):
        raise RequestError(f"{unit} is not a sum over places; grad_cam and explain can be asked for it")
    a = given[address].cpu().double()
    grid = part.layouts[address].grid
    if grid is None or grid.size == (1, 1):
        raise RequestError(f"{unit} has no map: {address} gives {tuple(a.shape[1:])}; maps (k, h, w) or tokens are needed")
    each = _shares(unit, a, grid)
    places, others = each[0, :-1].view(grid.size), each[0, -1]
    return places, float(others), max(float(each.abs().sum()), _size(unit, a))


def _size(unit: Unit, a: Tensor) -> float:
    """Σ of the sizes of all that is added up, where channels are added up at each place already."""
    if isinstance(unit, Layer):
        return float((a.square() if unit.of == "squares" else a.abs()).sum())
    return 0.0


def _shares(unit: Unit, a: Tensor, grid: Grid) -> Tensor:
    """(1, places + 1): what each place adds to the unit, and last what tokens of no place do."""
    count = grid.size[0] * grid.size[1] + grid.extra
    if isinstance(unit, Likeness):
        return _likeness_shares(unit, a, grid)
    rows = torch.cat([grid.maps(a).flatten(2), grid.others(a)], 2).mT  # (1, places and others, k)
    if isinstance(unit, Channel):
        each = rows[:, :, unit.index] / count
    elif isinstance(unit, Direction):
        each = _along(unit, rows) / count
    else:
        each = rows.square().sum(2) if isinstance(unit, Layer) and unit.of == "squares" else rows.sum(2)
    return _with_others(each, grid)


def _along(unit: Direction, rows: Tensor) -> Tensor:
    vector = rows.new_tensor(unit.vector)
    along = rows @ vector
    if not unit.power:
        return along
    lengths = rows.square().sum(2).sqrt() * vector.square().sum().sqrt()
    return along * (along / lengths.clamp(min=1e-12)).clamp(min=LEAST_COSINE) ** unit.power


def _likeness_shares(unit: Likeness, a: Tensor, grid: Grid) -> Tensor:
    """−‖φ − φ0‖² / ‖φ0‖² or ⟨φ, φ0⟩ / ‖φ0‖ · …, before it is added up."""
    assert unit.features is not None  # bound when the question was made
    theirs = unit.features.to(a)
    each = (-(a - theirs).square() if unit.kind == "match" else a * theirs) / theirs.square().sum()
    if unit.kind == "caricature" and each.sum() != 0:
        each = each * (unit({unit.address: a}) / each.sum())
    return _with_others(torch.cat([grid.maps(each).flatten(2), grid.others(each)], 2).sum(1), grid)


def _with_others(each: Tensor, grid: Grid) -> Tensor:
    places = grid.size[0] * grid.size[1]
    return torch.cat([each[:, :places], each[:, places:].sum(1, keepdim=True)], 1)
