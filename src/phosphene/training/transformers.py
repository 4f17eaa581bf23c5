"""For Hugging Face's Trainer: a TrainerCallback."""

from __future__ import annotations

import math
from typing import Any

from ..errors import ExtraError
from .fluent import Fluent
from .moment import Event


def callback(watch: Fluent) -> Any:
    """A TrainerCallback that tells `watch` what the trainer does."""
    try:
        from transformers import TrainerCallback
    except ImportError as error:
        raise ExtraError("a callback for transformers needs it; pip install 'phosphene[hf]'") from error

    class PhospheneCallback(TrainerCallback):  # type: ignore[misc]  # its types are not read
        def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            watch.begin()

        def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            _tell(watch, "step", state)

        def on_epoch_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            _tell(watch, "epoch", state)

        def on_evaluate(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            _tell(watch, "val", state)

        def on_predict(self, args: Any, state: Any, control: Any, metrics: Any, **_: Any) -> None:
            _tell(watch, "test", state)
            watch.close()

        def on_train_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            watch.close()

    return PhospheneCallback()


def _tell(watch: Fluent, event: Event, state: Any) -> None:
    """Its epochs are shares: 1.0 is the end of the first."""
    watch.tell(event, max(math.ceil(state.epoch or 0) - 1, 0), state.global_step)
