"""A guard for what belongs to the training: random numbers and autocast are as they were, also when we raise."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from ..ambient import shield
from ..seeding import GlobalNumbers


@contextmanager
def untouched() -> Iterator[None]:
    """Inside, autocast is off, and global random numbers may be drawn: the training will not notice.

    Unlike `seeding.private_rng` it seeds nothing: a logger that begins a run draws its name from these generators.
    The network is looked into through a private copy, so that modes, hooks and gradients need no guard.
    """
    numbers = GlobalNumbers()
    with shield():
        try:
            yield
        finally:
            numbers.put_back()


def rank() -> tuple[int, int]:
    """(rank, world size) of this process: (0, 1) where there is only one."""
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        return torch.distributed.get_rank(), torch.distributed.get_world_size()
    return 0, 1
