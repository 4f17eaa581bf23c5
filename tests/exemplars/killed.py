"""A scan for a process of its own, to be killed."""

from __future__ import annotations

import time
from multiprocessing.synchronize import Event
from pathlib import Path

import torch
from torch import Tensor
from torch.utils.data import Dataset

import phosphene as ph
from phosphene.exemplars.examples import Examples
from tests.nets import network

COUNT = 300


class Slow(Dataset[Tensor]):
    """Pictures with a few that are none, each a moment after the other."""

    def __init__(self, pause: float) -> None:
        self._all = torch.randint(0, 4, (COUNT, 3, 12, 12), generator=torch.Generator().manual_seed(0)) / 3
        self._pause = pause

    def __len__(self) -> int:
        return COUNT

    def __getitem__(self, index: int) -> Tensor:
        time.sleep(self._pause)
        return self._all[index] * (5 if index % 50 == 3 else 1)


def scanned(folder: Path | None, pause: float = 0.0) -> Examples:
    return ph.examples(network("plain"), Slow(pause), ["channel:1:*", "logit:2"], top=20, batch=4, folder=folder, every=0)


def run(folder: Path, begun: Event, pause: float) -> None:
    """What the process does."""
    torch.set_num_threads(1)
    network("plain")
    begun.set()
    scanned(folder, pause)
