"""For Lightning: a Callback, of lightning or pytorch_lightning, whichever the trainer is of."""

from __future__ import annotations

import importlib
import sys
from importlib.util import find_spec
from typing import Any

from ..errors import ExtraError
from .fluent import Fluent
from .moment import Event

_HOMES = ("lightning.pytorch", "pytorch_lightning")


def callback(watch: Fluent) -> Any:
    """A Callback that tells `watch` what the trainer does. Sanity checks before the training draw nothing."""
    base = _home().Callback

    class PhospheneCallback(base):  # type: ignore[misc, valid-type]  # of the library that is there
        def on_fit_start(self, trainer: Any, module: Any) -> None:
            watch.begin()

        def on_train_batch_end(self, trainer: Any, module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
            _tell(watch, "step", trainer)

        def on_train_epoch_end(self, trainer: Any, module: Any) -> None:
            _tell(watch, "epoch", trainer)

        def on_validation_end(self, trainer: Any, module: Any) -> None:
            if not trainer.sanity_checking:
                _tell(watch, "val", trainer)

        def on_test_end(self, trainer: Any, module: Any) -> None:
            _tell(watch, "test", trainer)
            watch.close()

        def on_fit_end(self, trainer: Any, module: Any) -> None:
            watch.close()

        def on_exception(self, trainer: Any, module: Any, exception: BaseException) -> None:
            watch.close(finished=False)

    return PhospheneCallback()


def _tell(watch: Fluent, event: Event, trainer: Any) -> None:
    watch.tell(event, trainer.current_epoch, trainer.global_step, loggers=trainer.loggers)


def _home() -> Any:
    """The library that the program uses; of none yet, the one that is installed."""
    for name in (*(home for home in _HOMES if home in sys.modules), *_HOMES):
        if name in sys.modules or find_spec(name.partition(".")[0]) is not None:
            return importlib.import_module(name)
    raise ExtraError("a callback for Lightning needs it; pip install 'phosphene[lightning]'")
