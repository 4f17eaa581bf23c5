"""Times: medians over rounds in which all take turns, and the steady state of a run."""

from __future__ import annotations

import math
from types import SimpleNamespace

import pytest
from bench.turns import Ascent, in_turns


def test_all_take_turns_and_medians_are_given() -> None:
    order: list[str] = []
    numbers = {"a": iter([9.0, 1.0, 2.0]), "b": iter([5.0, 7.0, 6.0])}

    def of(name: str) -> float:
        order.append(name)
        return next(numbers[name])

    assert in_turns([lambda: of("a"), lambda: of("b")], 3, lambda: order.append("-")) == [2.0, 6.0]
    assert "".join(order) == "ab-ab-ab-"


def test_what_happens_once_a_run_is_not_in_a_step(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [0.0]
    monkeypatch.setattr("bench.turns.time", SimpleNamespace(perf_counter=lambda: clock[0]))

    def run(steps: int) -> None:
        clock[0] += 0.05 + 0.01 * steps

    ascent = Ascent(8, run, 5)
    step = ascent.seconds_a_step()
    assert step == pytest.approx(0.01)
    assert ascent.rate(step) == pytest.approx(800)


@pytest.mark.parametrize("seconds", [0.0, -1.0])
def test_steps_that_the_clock_did_not_see_have_no_rate(seconds: float) -> None:
    assert math.isnan(Ascent(8, lambda steps: None, 5).rate(seconds))
