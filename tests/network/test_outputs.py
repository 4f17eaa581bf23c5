from __future__ import annotations

from collections import OrderedDict, namedtuple
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import phosphene as ph
from phosphene.errors import OutputError
from phosphene.network.outputs import _ending_by_numbers, ending, kinds, unpack

SCORES = torch.arange(6.0).view(2, 3)
FEATURES = torch.zeros(2, 8, 4)
Named = namedtuple("Named", "logits aux_logits")
Unnamed = namedtuple("Unnamed", "features a")


class ModelOutput(OrderedDict[str, Any]):
    """As transformers give it: a mapping whose entries are attributes too."""


@dataclass
class Opaque:
    logits: Tensor


@pytest.mark.parametrize(
    "output",
    [
        SCORES,
        SCORES.view(2, 3, 1, 1),
        SCORES.view(2, 3, 1),
        SCORES.half(),
        (SCORES,),
        [SCORES, FEATURES],
        (FEATURES, SCORES),
        (SCORES, SCORES + 1),
        (SCORES, None, [FEATURES]),
        {"logits": SCORES, "features": SCORES + 1},
        {"features": FEATURES, "anything": SCORES},
        {"loss": None, "out": SCORES, "aux": SCORES + 1},
        {"only": SCORES.view(2, 3, 1, 1)},
        ModelOutput(loss=None, logits=SCORES, hidden_states=(FEATURES,)),
        Named(SCORES, SCORES + 1),
        Unnamed(FEATURES, SCORES),
    ],
    ids=kinds,
)
def test_scores_are_found_in(output: Any) -> None:
    found = unpack(output, None, 2)
    assert found.dtype == torch.float32
    assert torch.equal(found, SCORES)


def test_one_number_a_picture_is_one_class() -> None:
    assert torch.equal(unpack(torch.tensor([1.0, 2.0]), None, 2), torch.tensor([[1.0], [2.0]]))


def test_double_precision_is_kept() -> None:
    assert unpack(SCORES.double(), None, 2).dtype == torch.float64


def test_a_pick_decides_where_there_is_a_choice() -> None:
    assert torch.equal(unpack({"a": SCORES, "b": SCORES + 1}, lambda o: o["b"], 2), SCORES + 1)


@pytest.mark.parametrize(
    ("output", "said"),
    [
        (FEATURES, r"Tensor\(2, 8, 4\)"),
        (SCORES.long(), r"Tensor\(2, 3\)"),
        (torch.zeros(3, 3), r"Tensor\(3, 3\)"),
        (torch.zeros(2, 0), r"Tensor\(2, 0\)"),
        (torch.zeros(()), r"Tensor\(\)"),
        ({"a": SCORES, "b": SCORES}, r"dict\(a: Tensor\(2, 3\), b: Tensor\(2, 3\)\)"),
        ((FEATURES, FEATURES), r"tuple\(Tensor\(2, 8, 4\), Tensor\(2, 8, 4\)\)"),
        ([], r"list\(\)"),
        ({}, r"dict\(\)"),
        ("scores", "str"),
        (None, "NoneType"),
        (Opaque(SCORES), "Opaque"),
    ],
)
def test_what_holds_no_scores_is_refused_in_words(output: Any, said: str) -> None:
    with pytest.raises(OutputError, match=rf"the network returned {said}; one \(b, classes\) tensor is needed"):
        unpack(output, None, 2)


def test_a_pick_that_fails_is_named_with_what_it_was_given() -> None:
    with pytest.raises(OutputError, match=r"output= failed on dict\(a: Tensor\(2, 3\)\): 'b'"):
        unpack({"a": SCORES}, lambda o: o["b"], 2)


def test_a_pick_that_gives_no_tensor_is_named() -> None:
    pick: Any = list
    with pytest.raises(
        OutputError, match=r"output= gave list\(Tensor\(3,\), Tensor\(3,\)\); one \(b, classes\) tensor is needed"
    ):
        unpack(SCORES, pick, 2)


def test_a_pick_may_refuse_by_itself() -> None:
    def pick(output: Any) -> Tensor:
        raise OutputError("not like this")

    with pytest.raises(OutputError, match="not like this"):
        unpack(SCORES, pick, 2)


ENDINGS: list[tuple[str | None, Callable[[Tensor], Tensor]]] = [
    ("softmax", lambda s: F.softmax(s, 1)),
    ("log_softmax", lambda s: F.log_softmax(s, 1)),
    ("sigmoid", torch.sigmoid),
    (None, lambda s: s),
    (None, lambda s: s * 2),
    (None, lambda s: F.softmax(s, 1) * 2),
    (None, lambda s: torch.tanh(torch.sigmoid(s))),
    ("softmax", lambda s: F.softmax(s.view(2, 3, 1, 1), 1).squeeze(-1).squeeze(-1)),
    ("softmax", lambda s: F.softmax(s.double(), 1).float()),
]


@pytest.mark.parametrize(("expected", "last"), ENDINGS)
def test_the_ending_is_read_off_the_graph(expected: str | None, last: Callable[[Tensor], Tensor]) -> None:
    assert ending(last(SCORES.clone().requires_grad_(True))) == expected


@pytest.mark.parametrize(
    ("expected", "scores"),
    [
        ("softmax", F.softmax(SCORES, 1)),
        ("log_softmax", F.log_softmax(SCORES, 1)),
        (None, SCORES),
        (None, -SCORES),
        (None, torch.ones(2, 1)),
        (None, torch.full((2, 3), float("nan"))),
    ],
)
def test_without_a_graph_the_ending_is_read_off_the_numbers(expected: str | None, scores: Tensor) -> None:
    assert ending(scores) == expected


@pytest.mark.parametrize(
    ("last", "name"), [(nn.Softmax(1), "softmax"), (nn.LogSoftmax(1), "log_softmax"), (nn.Sigmoid(), "sigmoid")]
)
def test_a_network_that_gives_no_raw_scores_carries_a_note(last: nn.Module, name: str) -> None:
    module = nn.Sequential(nn.Conv2d(3, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), last)
    net = ph.Network(module, ph.Preprocess(size=8), name="it")
    assert net.ending == name
    assert net.notes[-1].startswith(f"it ends in {name}: class models and saliency want raw scores")


def test_picking_what_comes_before_the_softmax_takes_the_note_away() -> None:
    class Both(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(3, 4, 3)

        def forward(self, x: Tensor) -> dict[str, Tensor]:
            raw = self.conv(x).mean((2, 3))
            return {"probability": raw.softmax(1), "raw": raw}

    net = ph.Network(Both(), ph.Preprocess(size=8), output=lambda o: o["raw"])
    assert (net.ending, net.notes) == (None, ())


class Ends(nn.Module):
    """A small classifier with `last` after its scores; None: it gives (embedding, scores)."""

    def __init__(self, last: Callable[[Tensor], Any] | None, classes: int = 5) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.body = nn.Sequential(nn.Conv2d(3, 8, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten())
        self.head, self.last = nn.Linear(8, classes), last

    def forward(self, x: Tensor) -> Any:
        features = self.body(x)
        return (features, self.head(features)) if self.last is None else self.last(self.head(features) * 9)


X = torch.rand(3, 3, 8, 8, generator=torch.Generator().manual_seed(1))
P8 = ph.Preprocess(size=8)


@pytest.mark.parametrize(
    ("last", "classes", "multilabel", "right"),
    [
        (lambda s: s, 5, False, lambda o: o.softmax(1)),
        (lambda s: s, 5, True, torch.sigmoid),
        (lambda s: s, 1, False, torch.sigmoid),
        (lambda s: s.softmax(1), 2, False, lambda o: o),
        (lambda s: (s / 3).softmax(1), 5, False, lambda o: o),
        (lambda s: s.exp() / s.exp().sum(1, keepdim=True), 5, False, lambda o: o),
        (lambda s: s.log_softmax(1), 5, False, torch.exp),
        (lambda s: s.softmax(1).clamp(1e-7, 1).log(), 5, False, torch.exp),
        (torch.sigmoid, 1, False, lambda o: o),
        (torch.sigmoid, 5, False, lambda o: o),
        (torch.sigmoid, 5, True, lambda o: o),
        (lambda s: 1 / (1 + torch.exp(-s)), 5, False, lambda o: o),
        (lambda s: 1 / (1 + s.exp()), 1, False, lambda o: o),
    ],
)
def test_a_probability_is_what_the_network_says(
    last: Callable[[Tensor], Tensor], classes: int, multilabel: bool, right: Callable[[Tensor], Tensor]
) -> None:
    module = Ends(last, classes).eval()
    net = ph.Network(module, P8, multilabel=multilabel)
    expected = right(module(X)).detach()[:, 0]
    maps = ph.explain(net, X, ph.probability(0))
    told = torch.tensor([item.probability for item in maps.items])
    measured = torch.tensor([item.score for item in maps.items])
    assert torch.allclose(told, expected, atol=1e-5)
    assert torch.allclose(measured, expected, atol=1e-5)
    assert torch.allclose(net.probabilities(net.scores(X))[:, 0], expected, atol=1e-5)


def test_a_rendered_probability_is_what_the_network_says() -> None:
    module = Ends(torch.sigmoid).eval()
    made = ph.render(ph.Network(module, P8), ["logit:1", "probability:1"], steps=1, recipe="pixels")
    for item, row in zip(made.items, module(made.pictures).detach(), strict=True):
        assert (item.probability, item.score) == pytest.approx((float(row[1]), float(row[1])), abs=1e-5)


@pytest.mark.parametrize("classes", [1, 5])
def test_a_head_that_squeezes_the_batch_away_works_for_one_picture(classes: int) -> None:
    net = ph.Network(Ends(lambda s: s.squeeze(), classes).eval(), P8)
    assert net.scores(X[:1]).shape == (1, classes)
    assert torch.allclose(net.scores(X[:1]), net.scores(X)[:1], atol=1e-6)
    assert net.notes == ()


def test_scores_beside_an_embedding_are_those_computed_from_it_and_a_note_says_so() -> None:
    net = ph.Network(Ends(None), P8)
    assert len(net.classes) == 5
    assert "5 columns is read as the scores: tuple(Tensor(2, 8), Tensor(2, 5))" in net.notes[0]


class TwoHeads(nn.Module):
    def __init__(self, give: Callable[[Tensor, Tensor], Any]) -> None:
        super().__init__()
        self.a, self.b, self.give = nn.Conv2d(3, 4, 8), nn.Conv2d(3, 6, 8), give

    def forward(self, x: Tensor) -> Any:
        return self.give(self.a(x).flatten(1), self.b(x).flatten(1))


@pytest.mark.parametrize("give", [lambda a, b: (a, b), lambda a, b: [a, b], lambda a, b: {"a": a, "b": b}])
def test_two_heads_of_other_widths_are_refused_unless_class_names_decide(give: Callable[[Tensor, Tensor], Any]) -> None:
    with pytest.raises(OutputError, match=r"Tensor\(2, 4\), .*Tensor\(2, 6\).*; one \(b, classes\).*output=.*class names"):
        ph.Network(TwoHeads(give), P8)
    module = TwoHeads(give)
    net = ph.Network(module, P8, classes=list("uvwxyz"))
    assert torch.allclose(net.scores(X[:1]), module.b(X[:1]).flatten(1), atol=1e-6)
    assert "6 columns is read as the scores" in net.notes[0]


def noisy(s: Tensor) -> Tensor:
    return s + 0.1 * torch.randn_like(s)


@pytest.mark.parametrize(
    ("last", "words"),
    [
        (lambda s: F.dropout(s, 0.5, training=True), "chance"),
        (noisy, "chance"),
        (lambda s: s - s.mean(0), "rest of the batch"),
        (lambda s: F.batch_norm(s, None, None, training=True), "rest of the batch"),
        (lambda s: s.half().float(), None),
        (lambda s: s.double(), None),
    ],
)
def test_scores_that_depend_on_chance_or_neighbours_carry_a_note(last: Callable[[Tensor], Tensor], words: str | None) -> None:
    notes = ph.Network(Ends(last), P8).notes
    assert notes == () if words is None else len(notes) == 1 and words in notes[0]


def test_construction_runs_the_network_three_times() -> None:
    runs: list[int] = []

    def last(s: Tensor) -> Tensor:
        runs.append(len(s))
        return s

    ph.Network(Ends(last), P8)
    assert runs == [2, 2, 1]


@pytest.mark.parametrize("text", ["1", "10", "2", "0"])
def test_digits_in_an_objective_mean_what_index_says(text: str) -> None:
    net = ph.Network(Ends(lambda s: s, 3), P8, classes=["1", "10", "2"])
    for kind in ("logit", "probability"):
        assert ph.explain(net, X[:1], f"{kind}:{text}").items[0].index == net.index(text)


def test_an_index_and_a_name_of_the_same_digits_are_two_classes() -> None:
    net = ph.Network(Ends(lambda s: s, 3), P8, classes=["1", "10", "2"])
    items = ph.explain(net, X[:2], [ph.logit(1), "logit:1"]).items
    assert [item.index for item in items] == [1, 0]


def test_rows_that_sum_to_one_with_negative_numbers_are_no_probabilities() -> None:
    assert _ending_by_numbers(torch.tensor([[1.5, -0.5], [0.5, 0.5]])) is None
    assert _ending_by_numbers(torch.tensor([[0.75, 0.25], [0.5, 0.5]])) == "softmax"


def test_of_several_vectors_of_a_squeezed_batch_the_one_of_all_classes_is_meant() -> None:
    scores, features = torch.rand(5), torch.rand(7)
    assert unpack((features, scores), None, 1, 5).equal(scores[None])
    with pytest.raises(OutputError):
        unpack((features, scores), None, 1, 6)
