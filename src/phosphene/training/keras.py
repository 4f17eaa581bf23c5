"""For Keras 3 on torch: a Callback for `fit` and `evaluate`."""

from __future__ import annotations

from importlib.util import find_spec
from typing import Any

from ..errors import ExtraError, RequestError
from .fluent import Fluent


def callback(watch: Fluent) -> Any:
    """A Callback that tells `watch` what Keras does.

    A step is a batch: where Keras accumulates gradients, several of them make an update. Keras tells a callback of no error, so
    that after one what was put off is not drawn.
    """
    if find_spec("keras") is None:
        raise ExtraError("a callback for Keras needs it; pip install 'phosphene[keras]'")
    import keras

    if keras.backend.backend() != "torch":
        raise RequestError(
            f"Keras runs on {keras.backend.backend()}; torch is needed: set KERAS_BACKEND=torch before it is imported"
        )

    class PhospheneCallback(keras.callbacks.Callback):  # type: ignore[misc]  # its types are not read
        steps, epochs, fitting = 0, 0, False

        def on_train_begin(self, logs: Any = None) -> None:
            self.fitting = True
            watch.begin()

        def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
            self.epochs = epoch

        def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
            self.steps += 1
            watch.tell("step", self.epochs, self.steps)

        def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
            watch.tell("epoch", epoch, self.steps)

        def on_test_end(self, logs: Any = None) -> None:
            watch.tell("val" if self.fitting else "test", self.epochs, self.steps)
            if not self.fitting:
                watch.close()

        def on_train_end(self, logs: Any = None) -> None:
            self.fitting = False
            watch.close()

    return PhospheneCallback()
