"""Hugging Face's Trainer: a real one, with accumulated gradients and in mixed precision."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from phosphene.training import Callback, ClassModels

from . import small

pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
    pytest.mark.filterwarnings("ignore:.*pin_memory.*:UserWarning"),
]


def train(
    module: nn.Module, callback: Callback | None, folder: Path, *, report_to: Sequence[str] = (), **settings: Any
) -> list[float]:
    from transformers import Trainer, TrainingArguments

    losses: list[float] = []

    class Wrapped(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = module

        def forward(self, pictures: Tensor, labels: Tensor) -> dict[str, Tensor]:
            logits = self.net((pictures - 0.5) / 0.25)
            loss = F.cross_entropy(logits, labels)
            losses.append(float(loss.detach()))
            return {"loss": loss, "logits": logits}

    def collate(items: list[tuple[Tensor, int]]) -> dict[str, Tensor]:
        return {"pictures": torch.stack([item[0] for item in items]), "labels": torch.tensor([item[1] for item in items])}

    small.seed()
    arguments = TrainingArguments(
        output_dir=str(folder / "trainer"),
        num_train_epochs=small.EPOCHS,
        per_device_train_batch_size=small.BATCH,
        gradient_accumulation_steps=small.ACCUMULATED,
        dataloader_num_workers=1,
        eval_strategy="epoch",
        save_strategy="no",
        report_to=list(report_to),
        use_cpu=True,
        disable_tqdm=True,
        logging_strategy="epoch" if report_to else "no",
        **settings,
    )
    trainer = Trainer(
        model=Wrapped(),
        args=arguments,
        train_dataset=small.Pictures(),
        eval_dataset=small.Pictures(6),
        data_collator=collate,
        callbacks=[callback.for_transformers()] if callback else [],
    )
    trainer.train()
    return losses


@pytest.mark.parametrize("settings", [{}, {"bf16": True}], ids=["float32", "bfloat16"])
def test_losses_are_bit_identical(tmp_path: Path, settings: dict[str, Any]) -> None:
    small.assert_same(
        lambda module, callback: train(module, callback, tmp_path, **settings),
        lambda watch: watch.on_val().on_train(every=3).to_file(tmp_path / "out" / "{phase}-{epoch}-{step}-{index}.png"),
    )
    names = sorted(path.name for path in (tmp_path / "out").glob("*-0.png"))
    assert names == ["train-1-3-0.png", "train-2-6-0.png", "val-0-2-0.png", "val-1-4-0.png", "val-2-6-0.png"]


@pytest.mark.parametrize("report_to", [(), ("tensorboard",)])
def test_pictures_stand_in_the_trainers_own_run(report_to: Sequence[str], tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    module, net = small.network()
    watch = ClassModels(net, targets=["red"], steps=1).budget(None).on_val().to_tensorboard()
    train(module, watch, tmp_path, report_to=report_to)
    (run,) = (tmp_path / "trainer" / "runs").iterdir()
    found = EventAccumulator(str(run)).Reload().Tags()
    assert found["images"] == ["class models/red"]
    assert bool(found["scalars"]) == bool(report_to)
