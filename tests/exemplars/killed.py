"""A scan for a process of its own, that is killed at a moment."""

from __future__ import annotations

import os
import signal
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import Tensor
from torch.utils.data import Dataset

import phosphene as ph
from phosphene.exemplars.examples import Examples
from tests.nets import network

COUNT = 300


@dataclass(frozen=True)
class Moment:
    """Before a picture is read, or with half of a checkpoint written.

    number  which of the pictures, or of the checkpoints that this process writes
    """

    of: str
    number: int


def kill() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


class Pictures(Dataset[Tensor]):
    """Pictures with a few that are none."""

    def __init__(self, killed_at: int | None = None) -> None:
        self._all = torch.randint(0, 4, (COUNT, 3, 12, 12), generator=torch.Generator().manual_seed(0)) / 3
        self._killed_at = killed_at

    def __len__(self) -> int:
        return COUNT

    def __getitem__(self, index: int) -> Tensor:
        if index == self._killed_at:
            kill()
        return self._all[index] * (5 if index % 50 == 3 else 1)


class Writing:
    """safetensors' `save_file`, that stops half-way."""

    def __init__(self, number: int) -> None:
        self._left, self._whole = number, safetensors.torch.save_file

    def __call__(self, tensors: dict[str, Tensor], path: str | os.PathLike[str], metadata: dict[str, str] | None) -> None:
        self._whole(tensors, path, metadata)
        self._left -= 1
        if self._left < 0:
            os.truncate(path, os.path.getsize(path) // 2)
            kill()


def scanned(folder: Path | None, data: Pictures | None = None, **how: Any) -> Examples:
    units = ["channel:1:*", "logit:2"]
    return ph.examples(network("plain"), data or Pictures(), units, top=20, batch=4, folder=folder, every=0, **how)


def run(folder: Path, moment: Moment) -> None:
    """What the process does."""
    torch.set_num_threads(1)
    if moment.of == "checkpoint":
        setattr(safetensors.torch, "save_file", Writing(moment.number))  # noqa: B010  mypy lets no function be assigned
    scanned(folder, Pictures(moment.number if moment.of == "picture" else None))
