"""Objective texts of anyone's: parsed in a time that grows with their length alone, into what parses back."""

from __future__ import annotations

import random

import pytest

import phosphene as ph
from phosphene.network.load import parse as parse_reference
from phosphene.objectives.expression import Objective
from phosphene.objectives.spec import parse

from .held import held

GOOD = ("logit:cat", "-2*logit:\"a: b\" + 0.5*channel:stage1.0:3", "neuron:a:1,2,3",
    "layer:a:squares", "direction:a:[1, 2]:2", "logit:7 - logit:8")  # fmt: skip
ATOMS = (*'+-*:",\\[]. @?&=%0٣\n\t\x00é', "1e9", " + ", " - ", "logit", "channel", "size", "demo:standard", "hf:", "weights")


def mutated(text: str, draw: random.Random) -> str:
    for _ in range(draw.randrange(1, 5)):
        at = draw.randrange(len(text) + 1)
        text = text[:at] + draw.choice(ATOMS) + text[at + draw.randrange(3) :]
    return text


@pytest.mark.parametrize("count", [1500, pytest.param(20_000, marks=pytest.mark.slow)])
def test_objective_texts(count: int) -> None:
    draw = random.Random(33)
    for _ in range(count):
        found = held(lambda: parse(mutated(draw.choice(GOOD), draw), files=False))
        if isinstance(found, Objective):
            assert parse(str(found)) == found


@pytest.mark.parametrize("count", [500, pytest.param(5000, marks=pytest.mark.slow)])
def test_references(count: int) -> None:
    draw = random.Random(34)
    for _ in range(count):
        held(lambda: parse_reference(mutated("demo:standard?size=16&seed=1", draw)))


@pytest.mark.parametrize("part", [" ", ":", '"', '\\"', " + ", " +", "1", "a ", ",", "["])
@pytest.mark.parametrize("before", ["logit:cat", '-2*"'])
def test_time_grows_with_the_length_alone(part: str, before: str) -> None:
    held(lambda: parse(before + part * (1_000_000 // len(part)) + "x"), seconds=1)


def test_a_sum_of_thousands_is_sorted_once() -> None:
    units = [ph.channel("a", i) for i in range(2048)]
    total = units[0]

    def add() -> Objective:
        nonlocal total
        for unit in units[1:]:
            total = total + unit
        return total

    assert isinstance(held(add, seconds=0.5), Objective)
    assert held(lambda: parse(str(total)), seconds=0.5) == total == sum(units)


def test_a_sum_keeps_the_order_of_one_made_at_once() -> None:
    draw = random.Random(35)
    terms = [(draw.choice([-1.5, -1.0, 0.0, 1.0, 2.0]), ph.channel("a", draw.randrange(9))) for _ in range(60)]
    total = 0 * ph.channel("a", 0)
    for coefficient, unit in terms:
        total = total + coefficient * unit
        total = coefficient * unit + total - coefficient * unit
    at_once = Objective(
        ((0.0, terms[0][1].terms[0][1]), *((c, u.terms[0][1]) for c, u in terms), (0.0, ph.channel("a", 0).terms[0][1]))
    )
    assert total == at_once
    assert str(total) == str(at_once)
    assert hash(total) == hash(at_once)
