"""Ignite: real engines, and pictures in the engine's state."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from phosphene.training import Callback

from . import small

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")  # torch.jit, inside Ignite


def engines(module: nn.Module) -> tuple[Any, Any, list[float]]:
    from ignite.engine import Engine, Events

    optimiser = torch.optim.SGD([p for p in module.parameters() if p.requires_grad], lr=0.1)
    losses: list[float] = []

    def step(engine: Any, batch: Any) -> None:
        loss = F.cross_entropy(module((batch[0] - 0.5) / 0.25), batch[1])
        loss.backward()
        losses.append(float(loss.detach()))
        if engine.state.iteration % small.ACCUMULATED == 0:
            optimiser.step()
            optimiser.zero_grad()

    def judge(_: Any, batch: Any) -> None:
        with torch.inference_mode():
            losses.append(float(F.cross_entropy(module(batch[0]), batch[1])))

    trainer, evaluator = Engine(step), Engine(judge)
    trainer.add_event_handler(Events.EPOCH_COMPLETED, lambda _: evaluator.run(small.loader(0)))
    return trainer, evaluator, losses


def train(module: nn.Module, callback: Callback | None) -> list[float]:
    small.seed()
    trainer, evaluator, losses = engines(module)
    if callback:
        callback.for_ignite(trainer, evaluator)
    trainer.run(small.loader(), max_epochs=small.EPOCHS)
    return losses


def test_losses_are_bit_identical(tmp_path: Path) -> None:
    small.assert_same(
        train, lambda watch: watch.on_val().on_train(every=6).to_file(tmp_path / "{phase}-{epoch}-{step}-{index}.png")
    )
    names = sorted(path.name for path in tmp_path.glob("*-0.png"))
    assert names == ["train-1-6-0.png", "train-2-12-0.png", "val-0-4-0.png", "val-1-8-0.png", "val-2-12-0.png"]


def test_pictures_are_in_the_engines_state() -> None:
    module, net = small.network()
    trainer, evaluator, _ = engines(module)
    small.watch(net).on_train().to_state(["red", "green", "blue"]).for_ignite(trainer, evaluator)
    trainer.run(small.loader(0), max_epochs=1)
    assert trainer.state.red.shape == (3, 8, 8)
    assert not torch.equal(trainer.state.red, trainer.state.blue)


def test_an_error_of_the_training_is_raised_as_ever() -> None:
    module, net = small.network()
    trainer, evaluator, _ = engines(module)
    small.watch(net).on_train().to_state("red").for_ignite(trainer, evaluator)
    with pytest.raises(Exception, match="unsupported operand"):
        trainer.run([("abc", "abc")], max_epochs=1)
