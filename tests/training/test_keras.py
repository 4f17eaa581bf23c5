"""Keras 3 on torch: real `fit` and `evaluate`, of a torch module in a Keras model."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from torch import nn

from phosphene.errors import RequestError
from phosphene.training import Callback

from . import small

os.environ.setdefault("KERAS_BACKEND", "torch")
keras: Any = pytest.importorskip("keras")
pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),  # of numpy and torch, inside Keras
    pytest.mark.filterwarnings("ignore::UserWarning:keras"),
]


def model_of(module: nn.Module) -> Any:
    """The module on pictures as it is fed by hand, in a Keras model."""
    made = keras.Sequential(
        [keras.layers.Rescaling(4.0, -2.0), keras.layers.TorchModuleWrapper(module, output_shape=(None, 3))]
    )
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    made.compile(keras.optimizers.SGD(0.1, momentum=0.9), loss, run_eagerly=True)
    return made


class Losses(keras.callbacks.Callback):  # type: ignore[misc]  # its types are not read
    def __init__(self) -> None:
        super().__init__()
        self.kept: list[float] = []

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        self.kept.append(float(logs["loss"]))

    def on_test_batch_end(self, batch: int, logs: Any = None) -> None:
        self.kept.append(float(logs["loss"]))


def train(module: nn.Module, callback: Callback | None) -> list[float]:
    keras.utils.set_random_seed(2)
    model, losses = model_of(module), Losses()
    more = [callback.for_keras()] if callback else []
    model.fit(small.loader(), epochs=small.EPOCHS, validation_data=small.loader(0), callbacks=[losses, *more], verbose=0)
    return losses.kept


def test_losses_are_bit_identical(tmp_path: Path) -> None:
    small.assert_same(
        train, lambda watch: watch.on_val().on_train(every=6).to_file(tmp_path / "{phase}-{epoch}-{step}-{index}.png")
    )
    names = sorted(path.name for path in tmp_path.glob("*-0.png"))
    assert names == ["train-1-6-0.png", "train-2-12-0.png", "val-0-4-0.png", "val-1-8-0.png", "val-2-12-0.png"]


def test_an_evaluation_is_a_test(tmp_path: Path) -> None:
    module, net = small.network()
    watch = small.watch(net).on_test().to_file(tmp_path / "{phase}-{index}.png")
    model_of(module).evaluate(small.loader(0), callbacks=[watch.for_keras()], verbose=0)
    assert len(list(tmp_path.glob("test-*.png"))) == len(small.CLASSES)


def test_another_backend_is_refused_in_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keras.backend, "backend", lambda: "jax")  # JAX itself is none of what the tests install
    _, net = small.network()
    with pytest.raises(RequestError, match="Keras runs on jax; torch is needed: set KERAS_BACKEND=torch before it is imported"):
        small.watch(net).for_keras()
