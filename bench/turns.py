"""Times of things that take turns, so that a machine that is busy for a while slows all of them."""

from __future__ import annotations

import math
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

Timed = Callable[[], object]
SHORT = 2  # steps of the run that is taken off a longer one


def seconds(timed: Timed) -> float:
    started = time.perf_counter()
    timed()
    return time.perf_counter() - started


def in_turns(measures: Sequence[Callable[[], float]], rounds: int, between: Timed | None = None) -> list[float]:
    """The median of what each gives, one after the other, round after round; `between` runs once a round."""
    found: list[list[float]] = [[] for _ in measures]
    for done in range(rounds):
        tell(f"round {done + 1} of {rounds}")
        for values, measure in zip(found, measures, strict=True):
            values.append(measure())
        if between is not None:
            between()
    return [statistics.median(values) for values in found]


@dataclass(frozen=True)
class Ascent:
    """A number of pictures that climb: `run(steps)` does it from the beginning to the end.

    steps  by how many the long run is longer than the short one
    """

    pictures: int
    run: Callable[[int], object]
    steps: int

    def seconds_a_step(self) -> float:
        """Of the steady state: a long run less a short one, since each also prepares, checks and scores.

        One step goes before, untimed: another batch was here last, for whose shape weights lie.
        """
        self.run(1)
        short = seconds(lambda: self.run(SHORT))
        return (seconds(lambda: self.run(SHORT + self.steps)) - short) / self.steps

    def rate(self, seconds_a_step: float) -> float:
        """Pictures × steps a second; not a number where the clock or the machine's load hid the steps."""
        return self.pictures / seconds_a_step if seconds_a_step > 0 else math.nan


def tell(text: str) -> None:
    """What is being measured, for who waits."""
    print(text, file=sys.stderr, flush=True)
