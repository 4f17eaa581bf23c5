from __future__ import annotations

import math
from decimal import Decimal
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from phosphene import checks
from phosphene.errors import PhospheneError, RequestError


@given(st.integers(-5, 5))
def test_a_whole_number_in_its_range_comes_back(number: int) -> None:
    assert checks.whole("n", number, low=-5, high=5) == number


@pytest.mark.parametrize("value", [True, 1.0, "3", None, math.nan])
def test_what_is_no_whole_number_is_refused(value: object) -> None:
    with pytest.raises(RequestError, match=r"n is .*; a whole number is needed"):
        checks.whole("n", value, low=0)


@pytest.mark.parametrize(("value", "high", "words"), [(-1, None, "0 or more is needed"), (6, 5, "0 to 5 is needed")])
def test_a_whole_number_out_of_range_is_refused_with_the_range(value: int, high: int | None, words: str) -> None:
    with pytest.raises(RequestError, match=f"n is {value}; {words}"):
        checks.whole("n", value, low=0, high=high)


def test_numbers_of_numpy_become_plain_ones() -> None:
    assert type(checks.whole("n", np.int64(3), low=0)) is int
    assert type(checks.real("n", np.float32(0.5))) is float


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, "1", True, None, 1j, Decimal(1), 10**400])
def test_what_is_no_finite_number_is_refused(value: object) -> None:
    with pytest.raises(RequestError, match=r"n is .*; a finite number is needed"):
        checks.real("n", value)


@pytest.mark.parametrize(("value", "low", "high", "words"), [(-1, 0, math.inf, "0 or more"), (2.5, 0, 2, "0 to 2")])
def test_a_real_number_out_of_range_is_refused_with_the_range(value: float, low: float, high: float, words: str) -> None:
    with pytest.raises(RequestError, match=f"n is {value}; {words} is needed"):
        checks.real("n", value, low=low, high=high)


def test_a_fraction_is_a_real_number() -> None:
    assert checks.real("n", Fraction(1, 4)) == 0.25


@pytest.mark.parametrize("value", [0, checks.LARGEST_STEPS + 1, 1.5])
def test_steps_are_one_to_a_million(value: object) -> None:
    with pytest.raises(RequestError, match="steps is"):
        checks.steps(value)
    assert checks.steps(1) == 1


def test_a_seed_fits_63_bits() -> None:
    assert checks.seed(2**63 - 1) == 2**63 - 1
    with pytest.raises(RequestError, match="seed is"):
        checks.seed(2**63)


@pytest.mark.parametrize(("given_", "sides"), [(5, (5, 5)), ((4, 6), (4, 6)), ([4, 6], (4, 6))])
def test_a_size_is_one_side_or_height_and_width(given_: object, sides: tuple[int, int]) -> None:
    assert checks.size(given_) == sides


@pytest.mark.parametrize("value", [0, (1, 2, 3), (), "32", (4, 0), (4, 4.5), checks.LARGEST_SIDE + 1, None])
def test_what_is_no_size_is_refused(value: object) -> None:
    with pytest.raises(RequestError, match="size is"):
        checks.size(value)


def test_one_real_number_is_a_tuple_of_one() -> None:
    assert checks.reals("mean", 0.5) == (0.5,)
    assert checks.reals("mean", [0, 1]) == (0.0, 1.0)


def test_no_real_numbers_are_refused() -> None:
    with pytest.raises(RequestError, match="mean is empty; at least one number is needed"):
        checks.reals("mean", [])


@given(
    st.none()
    | st.text()
    | st.integers()
    | st.floats()
    | st.lists(st.integers() | st.text())
    | st.dictionaries(st.text(), st.text())
)
def test_nothing_else_than_a_phosphene_error_is_raised(value: object) -> None:
    for check in (checks.size, checks.steps, checks.seed, lambda v: checks.reals("n", v), lambda v: checks.real("n", v)):
        try:
            check(value)
        except PhospheneError:
            pass
