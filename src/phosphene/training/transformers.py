"""For Hugging Face's Trainer: a TrainerCallback."""

from __future__ import annotations

import math
import os
from pathlib import Path
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
            _tell(watch, "step", state, args)

        def on_epoch_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            _tell(watch, "epoch", state, args)

        def on_evaluate(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            _tell(watch, "val", state, args)

        def on_predict(self, args: Any, state: Any, control: Any, metrics: Any, **_: Any) -> None:
            _tell(watch, "test", state, args)
            watch.close()

        def on_train_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            watch.close()

    return PhospheneCallback()


def _tell(watch: Fluent, event: Event, state: Any, args: Any) -> None:
    """Its epochs are shares: 1.0 is the end of the first."""
    watch.tell(event, max(math.ceil(state.epoch or 0) - 1, 0), state.global_step, log_dir=_log_dir(args))


def _log_dir(args: Any) -> str:
    """Where the Trainer's own TensorBoard callback writes: told by the environment or the arguments, else the newest run."""
    told = os.environ.get("TENSORBOARD_LOGGING_DIR") or getattr(args, "logging_dir", None)
    if told:
        return str(told)
    runs = Path(args.output_dir) / "runs"
    own = [place for place in runs.glob("*") if any(place.glob("events.out.tfevents.*"))]
    return str(max(own, key=lambda place: place.stat().st_mtime, default=runs / "phosphene"))
