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
from phosphene.network.outputs import ending, kinds, unpack

SCORES = torch.arange(6.0).view(2, 3)
FEATURES = torch.zeros(2, 8, 4, 4)
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
        (FEATURES, r"Tensor\(2, 8, 4, 4\)"),
        (SCORES.long(), r"Tensor\(2, 3\)"),
        (torch.zeros(3, 3), r"Tensor\(3, 3\)"),
        (torch.zeros(2, 0), r"Tensor\(2, 0\)"),
        (torch.zeros(()), r"Tensor\(\)"),
        ({"a": SCORES, "b": SCORES}, r"dict\(a: Tensor\(2, 3\), b: Tensor\(2, 3\)\)"),
        ((FEATURES, FEATURES), r"tuple\(Tensor\(2, 8, 4, 4\), Tensor\(2, 8, 4, 4\)\)"),
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
