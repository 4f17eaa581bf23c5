"""Bars judge rightly, and say what they judged."""

from __future__ import annotations

import math

import pytest
from bench.measured import Bar, judged, number, ratio, table

REACHED = Bar("render", 6.0, 5.5, " × a peer")
MISSED = Bar("render", 5.4, 5.5, " × a peer")
ABSENT = Bar("render", None, 5.5, " × a peer", why="a peer is not installed")


@pytest.mark.parametrize(
    ("figure", "most", "held"),
    [(2.0, False, True), (1.9, False, False), (2.0, True, True), (2.1, True, False), (None, False, None), (None, True, None)],
)
def test_a_bar_is_reached_or_kept_under(figure: float | None, most: bool, held: bool | None) -> None:
    assert Bar("any", figure, 2.0, most=most).held is held


@pytest.mark.parametrize("most", [False, True])
def test_what_is_no_number_misses_its_bar(most: bool) -> None:
    assert Bar("any", math.nan, 2.0, most=most).held is False


def test_a_missed_bar_is_one_sentence_and_status_1(capsys: pytest.CaptureFixture[str]) -> None:
    assert judged([REACHED, MISSED]) == 1
    said = capsys.readouterr().err.splitlines()
    assert said == ["render: 5.4 × a peer; at least 5.5 × a peer is wanted", "2 bars: 1 missed, 0 not judged"]


def test_a_peer_that_is_not_installed_is_said_and_no_failure(capsys: pytest.CaptureFixture[str]) -> None:
    assert judged([REACHED, ABSENT]) == 0
    assert "not judged, a peer is not installed" in capsys.readouterr().err


def test_a_ratio_needs_both() -> None:
    assert ratio(6.0, 3.0) == 2.0
    assert ratio(None, 3.0) is None
    assert ratio(6.0, None) is None


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.04021, "0.0402"),
        (1.234, "1.23"),
        (12.34, "12.3"),
        (1234.0, "1,234"),
        (0.0, "0"),
        (-0.25, "-0.250"),
        (math.nan, "–"),
    ],
)
def test_numbers_have_three_digits_that_count(value: float, text: str) -> None:
    assert number(value) == text


def test_a_table_has_a_line_under_its_head() -> None:
    assert table(("a", "b"), [("1", "2")]).splitlines() == ["| a | b |", "| --- | --- |", "| 1 | 2 |"]
