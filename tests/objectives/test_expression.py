"""Objectives as a linear algebra."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as some

import phosphene as ph
from phosphene.errors import RequestError
from phosphene.objectives.expression import Objective

GIVEN = {
    "": torch.linspace(-3, 3, 10).reshape(2, 5).double(),
    "m": torch.linspace(-1, 2, 48).reshape(2, 4, 2, 3).double(),
}
UNITS = [ph.logit(0), ph.logit(4), ph.probability(2), ph.channel("m", 1), ph.neuron("m", 3, 1, 2), ph.layer("m", "squares")]
coefficients = some.floats(-50, 50)
sums = some.lists(some.tuples(coefficients, some.sampled_from(UNITS)), min_size=1, max_size=4).map(
    lambda terms: sum((c * unit for c, unit in terms[1:]), terms[0][0] * terms[0][1])
)


def value(objective: Objective) -> torch.Tensor:
    return objective(GIVEN)


@settings(deadline=None)  # the first example warms torch up
@given(coefficients, sums, coefficients, sums)
def test_objectives_are_linear(a: float, one: Objective, b: float, other: Objective) -> None:
    torch.testing.assert_close(value(a * one + b * other), a * value(one) + b * value(other), rtol=1e-9, atol=1e-6)


@settings(deadline=None)
@given(sums, sums)
def test_a_difference_is_the_difference_of_values(one: Objective, other: Objective) -> None:
    torch.testing.assert_close(value(one - other), value(one) - value(other), rtol=1e-9, atol=1e-6)


@given(sums, sums)
def test_the_order_of_terms_does_not_matter(one: Objective, other: Objective) -> None:
    assert [unit for _, unit in (one + other).terms] == [unit for _, unit in (other + one).terms]


@given(sums)
def test_the_negative_is_its_own_inverse(one: Objective) -> None:
    back = -1 * -one
    assert back == one
    assert hash(back) == hash(one)


@given(sums)
def test_a_text_parses_back(one: Objective) -> None:
    assert ph.parse(str(one)) == one


def test_what_means_the_same_is_equal_and_hashes_equal() -> None:
    one, other = ph.logit("cat") + 2 * ph.logit("dog"), ph.logit("dog") + ph.logit("cat") + ph.logit("dog")
    assert one == other
    assert len({one, other}) == 1
    assert str(one) == str(other) == "2.0*logit:dog + logit:cat"


def test_what_differs_is_not_equal() -> None:
    texts = ["logit:cat", "probability:cat", "-logit:cat", "2*logit:cat", "layer:cat", "layer:cat:squares", "channel:cat:0"]
    assert len({ph.parse(text) for text in texts}) == len(texts)


def test_an_objective_cannot_be_changed() -> None:
    with pytest.raises(AttributeError):
        ph.logit("cat").terms = ()  # type: ignore[misc]  # the mistake


def test_sums_leave_their_parts_as_they_were() -> None:
    one, other = ph.logit("cat"), ph.logit("dog")
    _ = 3 * one - other
    assert (str(one), str(other)) == ("logit:cat", "logit:dog")


@pytest.mark.parametrize("other", [1, "logit:dog", None])
def test_only_objectives_are_added(other: Any) -> None:
    with pytest.raises(TypeError, match="unsupported operand"):
        ph.logit("cat") + other
    with pytest.raises(TypeError, match="unsupported operand"):
        ph.logit("cat") - other


@pytest.mark.parametrize("factor", ["2", None, True, 1j, ph.logit("cat")])
def test_only_real_numbers_scale(factor: Any) -> None:
    with pytest.raises(TypeError):
        factor * ph.logit("cat")


@pytest.mark.parametrize("factor", [float("nan"), float("-inf"), 10**400])
def test_only_finite_numbers_scale(factor: float) -> None:
    with pytest.raises(RequestError, match=r"coefficient is .*finite"):
        factor * ph.logit("cat")


def test_terms_that_add_up_beyond_the_finite_numbers_are_refused() -> None:
    with pytest.raises(RequestError, match="coefficient is inf; a finite number"):
        1.5e308 * ph.logit("cat") + 1.5e308 * ph.logit("cat")


def test_no_terms_are_refused() -> None:
    with pytest.raises(RequestError, match="without terms"):
        Objective(())


def test_it_reads_what_its_units_read() -> None:
    assert ph.parse("logit:1 - channel:m:2 + layer:n").reads == {"", "m", "n"}


def test_only_a_single_plain_unit_is_its_only_one() -> None:
    assert ph.logit("cat").only == ph.logit("cat").terms[0][1]
    assert (2 * ph.logit("cat")).only is None
    assert (ph.logit("cat") + ph.logit("dog")).only is None


def test_its_repr_is_short() -> None:
    long = ph.parse(" + ".join(f"logit:{i}" for i in range(100)))
    assert repr(ph.logit("cat")) == "Objective('logit:cat')"
    assert len(repr(long)) < 80


def test_zero_alone_is_added_from_the_left() -> None:
    assert sum([ph.logit("cat"), ph.logit("dog")]) == ph.logit("cat") + ph.logit("dog")
    for other in (1, 0.0, False, None):
        with pytest.raises(TypeError):
            other + ph.logit("cat")
