"""A guard for what belongs to the training: random numbers and autocast are as they were, also when we raise."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import numpy as np
import torch


@contextmanager
def untouched() -> Iterator[None]:
    """Inside, autocast is off, and global random numbers may be drawn: the training will not notice.

    Unlike `seeding.private_rng` it seeds nothing: a logger that begins a run draws its name from these generators.
    The network is looked into through a private copy, so that modes, hooks and gradients need no guard.
    """
    python, numeric = random.getstate(), np.random.get_state()
    gpus = list(range(torch.cuda.device_count())) if torch.cuda.is_initialized() else []
    with torch.random.fork_rng(devices=gpus), ExitStack() as stack:
        for kind in ("cpu", "cuda"):
            if torch.is_autocast_enabled(kind):
                stack.enter_context(torch.autocast(kind, enabled=False))
        try:
            yield
        finally:
            random.setstate(python)
            np.random.set_state(numeric)


def rank() -> tuple[int, int]:
    """(rank, world size) of this process: (0, 1) where there is only one."""
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        return torch.distributed.get_rank(), torch.distributed.get_world_size()
    return 0, 1
