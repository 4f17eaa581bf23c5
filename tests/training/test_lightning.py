"""Lightning: a real Trainer, its TensorBoard logger, and event files read back."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from phosphene.training import Callback, ClassModels

from . import small

pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),  # of torch.jit, pkg_resources and others, inside Lightning
    pytest.mark.filterwarnings("ignore::FutureWarning"),
    # That there are few workers, that the log is told rarely, and that evaluation has no more data than one batch.
    pytest.mark.filterwarnings("ignore::UserWarning:lightning"),
]


def train(module: nn.Module, callback: Callback | None, folder: Path, **settings: Any) -> list[float]:
    import lightning.pytorch as pl
    from lightning.pytorch.loggers import TensorBoardLogger

    class Lit(pl.LightningModule):  # type: ignore[misc]  # its types are not read
        def __init__(self) -> None:
            super().__init__()
            self.net = module
            self.losses: list[float] = []

        def training_step(self, batch: tuple[Tensor, Tensor], _: int) -> Tensor:
            loss = F.cross_entropy(self.net((batch[0] - 0.5) / 0.25), batch[1])
            self.losses.append(float(loss.detach()))
            return loss

        def validation_step(self, batch: tuple[Tensor, Tensor], _: int) -> None:
            self.losses.append(float(F.cross_entropy(self.net(batch[0]), batch[1])))

        def configure_optimizers(self) -> Any:
            return torch.optim.SGD([p for p in self.parameters() if p.requires_grad], lr=0.1)

    small.seed()
    lit = Lit()
    trainer = pl.Trainer(
        max_epochs=small.EPOCHS,
        accelerator="cpu",
        accumulate_grad_batches=small.ACCUMULATED,
        callbacks=[callback.for_lightning()] if callback else [],
        logger=TensorBoardLogger(str(folder), name="own"),
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        **settings,
    )
    trainer.fit(lit, small.loader(), small.loader(0))
    return lit.losses


def images(folder: Path) -> dict[str, list[Any]]:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    found: dict[str, list[Any]] = {}
    for file in folder.rglob("events.out.*"):
        events = EventAccumulator(str(file), size_guidance={"images": 0})
        events.Reload()
        for tag in events.Tags()["images"]:
            found.setdefault(tag, []).extend(events.Images(tag))
    return found


def test_losses_are_bit_identical_and_pictures_are_in_the_trainers_own_log(tmp_path: Path) -> None:
    small.assert_same(
        lambda module, callback: train(module, callback, tmp_path),
        lambda watch: watch.on_val().on_train("3 steps").to_tensorboard(),
    )
    found = images(tmp_path / "own")
    assert sorted(found) == [f"class models/{name}" for name in sorted(small.CLASSES)]
    red = found["class models/red"]
    assert [(image.step, image.width, image.height) for image in red] == [(s, 8, 8) for s in (2, 3, 4, 6, 6)]
    assert len({image.encoded_image_string for image in red}) >= small.EPOCHS


def test_mixed_precision(tmp_path: Path) -> None:
    small.assert_same(
        lambda module, callback: train(module, callback, tmp_path, precision="bf16-mixed"),
        lambda watch: watch.on_val().to_file(tmp_path / "{class}.png"),
    )


def test_a_training_that_breaks_off_closes_what_is_open(tmp_path: Path) -> None:
    class Broken(small.Net):
        def forward(self, x: Tensor) -> Tensor:
            if self.training and getattr(self, "runs", 0) > 6:
                raise ValueError("the training itself is wrong")
            self.runs = getattr(self, "runs", 0) + self.training
            return super().forward(x)

    module = Broken()
    watch = ClassModels(module, steps=2).budget(None).on_train().to_animation(tmp_path / "{class}.gif")
    with pytest.raises(ValueError, match="the training itself is wrong"):
        train(module, watch, tmp_path)
    assert watch.drawings == 1
    assert sorted(path.name for path in tmp_path.glob("*.gif")) == ["0.gif", "1.gif", "2.gif"]
