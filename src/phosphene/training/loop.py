"""Loop: for a training loop of one's own."""

from __future__ import annotations

from types import TracebackType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .fluent import Fluent


class Loop:
    """Told by the loop what it has done; counts steps and epochs.

    with watch.for_loop() as loop:
        for epoch in range(3):
            for pictures, labels in data:
                ...
                optimiser.step()
                loop.step()     # after each update of the weights: where gradients are accumulated, not after each batch
            loop.epoch()
            loop.val()          # after a run over the validation data; `test` after one over the test data
    """

    def __init__(self, watch: Fluent) -> None:
        self._watch = watch
        self.state: dict[Any, Any] = {}
        self.steps = 0
        self.epochs = 0
        self._fresh = True  # no step since the last epoch's end

    def __enter__(self) -> Loop:
        self._watch.begin()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._watch.close(finished=error is None)

    def step(self) -> None:
        """The weights were updated."""
        self.steps, self._fresh = self.steps + 1, False
        self._watch.tell("step", self.epochs, self.steps, state=self.state)

    def epoch(self) -> None:
        """An epoch of training has ended."""
        self._watch.tell("epoch", self.epochs, self.steps, state=self.state)
        self.epochs, self._fresh = self.epochs + 1, True

    def val(self) -> None:
        self._watch.tell("val", self._current, self.steps, state=self.state)

    def test(self) -> None:
        self._watch.tell("test", self._current, self.steps, state=self.state)

    @property
    def _current(self) -> int:
        """The epoch that was trained last."""
        return max(self.epochs - 1, 0) if self._fresh else self.epochs
