"""Moment and Shown: when something is drawn, and what is then handed to the sinks."""

from __future__ import annotations

from collections.abc import MutableMapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np
import torch
from PIL import Image
from torch import Tensor

Event = Literal["step", "epoch", "val", "test"]
PHASES: dict[Event, str] = {"step": "train", "epoch": "train", "val": "val", "test": "test"}


@dataclass(frozen=True, eq=False)
class Moment:
    """A point of a training.

    event    a step or an epoch of the training has ended, or a run over the validation or test data
    epoch    in which it happened, from 0
    step     updates of the weights so far
    state    where `to_state` puts pictures: what the training library keeps for its users
    loggers  those that the training has, as Lightning lists them
    log_dir  where the training writes its TensorBoard events, where that is known
    """

    event: Event
    epoch: int
    step: int
    state: MutableMapping[Any, Any] = field(default_factory=dict)
    loggers: tuple[Any, ...] = ()
    log_dir: str | None = None

    @property
    def phase(self) -> str:
        """train, val or test"""
        return PHASES[self.event]

    def __str__(self) -> str:
        return f"epoch {self.epoch}, step {self.step}"


@dataclass(frozen=True, eq=False)
class Shown:
    """A picture for the sinks.

    image   as it is saved
    name    of the class, or the objective or layer
    index   its place among all that the callback draws
    kind    "class models", "saliency", …: what is drawn
    score   the objective's value, where there is one
    record  what can make it again, as JSON, where there is one
    photo   the name of the photograph that the picture is about, where it is about one; loggers call it so, whatever its class
    """

    image: Image.Image
    name: str
    index: int
    kind: str
    moment: Moment
    score: float | None = None
    record: str | None = None
    photo: str = ""

    @property
    def array(self) -> np.ndarray[Any, np.dtype[np.uint8]]:
        """(h, w, 3) uint8"""
        return np.asarray(self.image.convert("RGB"))

    @property
    def tensor(self) -> Tensor:
        """(c, h, w) float32 in [0, 1]; c is 1 for grey pictures"""
        image = self.image if self.image.mode in ("L", "RGB") else self.image.convert("RGB")
        levels = torch.from_numpy(np.asarray(image).copy())
        return (levels[None] if levels.ndim == 2 else levels.permute(2, 0, 1)).float() / 255

    @property
    def fields(self) -> dict[str, str | int]:
        """What a file's name may say."""
        moment = self.moment
        said: dict[str, str | int] = {"epoch": moment.epoch, "step": moment.step, "phase": moment.phase}
        return said | {"class": self.name, "index": self.index, "kind": self.kind, "photo": self.photo}

    def replace(self, **changes: Any) -> Shown:
        return replace(self, **changes)
