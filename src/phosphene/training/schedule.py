"""When to draw: triggers, and the share of the training's time that drawing may take."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from .. import checks
from ..errors import RequestError, shown
from .moment import Event, Moment

FLOOR = 5.0  # seconds that drawing may take by default however short the training: its first, middle and last pictures
SPREAD = 8  # drawings that `floor` keeps for later moments: as often the training may double
SHARE = 0.05  # of the training's time; see docs/decisions/0024-training.md
_UNITS = ("steps", "epochs", "minutes", "runs")
Every = int | str
Clock = Callable[[], float]


@dataclass
class Trigger:
    """Every so many steps, epochs, minutes, or runs over the validation or test data.

    >>> trigger = Trigger.of(("step",), "2 steps")
    >>> [trigger.due(Moment("step", 0, step), 0.0) for step in (1, 2, 2, 3, 4)]
    [False, True, False, False, True]
    """

    events: tuple[Event, ...]
    every: float
    unit: str
    _runs: int = 0
    _last_step: int = 0
    _last_time: float | None = None

    @classmethod
    def of(cls, events: tuple[Event, ...], every: Every) -> Trigger:
        if isinstance(every, str):
            said = re.fullmatch(r"\s*(\d+(?:\.\d+)?)?\s*(step|epoch|minute|run)s?\s*", every)
            if said is None:
                raise RequestError(
                    f'every is {shown(every)}; a number, or as in "100 steps", "2 epochs", "5 minutes" is needed'
                )
            number, unit = float(said[1] or 1), said[2] + "s"
            if unit != "minutes":
                number = checks.whole("every", int(number) if number.is_integer() else number, low=1)
            return cls(events, checks.real("every", number, low=0), unit)
        number = checks.whole("every", every, low=1)
        return cls(events, number, "steps" if events[0] == "step" else "runs")

    def due(self, moment: Moment, now: float) -> bool:
        """Whether to draw now; told of every moment, in their order. now: seconds."""
        if self._last_time is None:
            self._last_time = now
        if moment.event not in self.events:
            return False
        if self.unit == "steps":
            passed = moment.step // self.every > self._last_step // self.every
            self._last_step = moment.step
            return passed
        if self.unit == "minutes":
            passed = now - self._last_time >= 60 * self.every
            self._last_time = now if passed else self._last_time
            return passed
        if self.unit == "epochs":
            return (moment.epoch + 1) % int(self.every) == 0
        self._runs += 1
        return self._runs % int(self.every) == 0


@dataclass
class Budget:
    """The share of the training's time that drawing may take, or `floor` seconds if that is more; None: as much as it needs.

    How long the training will be is not known. So that `floor` is not spent on its first moments alone, its last eight
    drawings wait until the training has taken twice as long as at the drawing before.
    Time is counted from the first `start`; what is spent on drawing is not time of training.
    """

    share: float | None = SHARE
    clock: Clock = time.perf_counter
    floor: float = 0.0
    spent: float = 0.0
    _drawn: float = 0.0  # seconds of training at the last drawing
    _started: float | None = field(default=None)

    def start(self) -> None:
        self._started = self.clock() if self._started is None else self._started

    @property
    def trained(self) -> float:
        """Seconds of training so far."""
        return 0.0 if self._started is None else self.clock() - self._started - self.spent

    def allows(self, seconds: float) -> bool:
        if self.share is None or self.spent + seconds <= self.share * self.trained:
            return True
        left = self.floor - self.spent
        return seconds <= left and (seconds <= left / SPREAD or self.trained >= 2 * self._drawn)

    def drew(self) -> None:
        self._drawn = self.trained

    @contextmanager
    def spending(self) -> Iterator[None]:
        began = self.clock()
        try:
            yield
        finally:
            self.spent += self.clock() - began
