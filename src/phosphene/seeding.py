"""Random numbers that belong to items, and a guard for the random numbers of the user.

A stream is named by (seed, what it is for, whose it is), so that an item's numbers do not depend on its neighbours,
on their order, on the process or on what ran before.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch


def stream_seed(seed: int, *names: str) -> int:
    """A 63-bit seed from a seed and names; different names give unrelated streams.

    >>> stream_seed(0, "view", "logit:3") == stream_seed(0, "view", "logit:3")
    True
    """
    text = "\0".join((str(seed), *names)).encode()
    return int.from_bytes(hashlib.blake2b(text, digest_size=8).digest(), "big") >> 1


def stream(seed: int, *names: str) -> torch.Generator:
    """A generator on the CPU: its numbers are the same whatever the device of the network."""
    return torch.Generator().manual_seed(stream_seed(seed, *names))


@contextmanager
def private_rng(seed: int) -> Iterator[None]:
    """Inside, the global generators start from `seed`; outside, they are as they were, also when we raise.

    For code that is not ours and draws from global generators: factories that make weights, dropout in a forward pass.
    """
    python, numeric = random.getstate(), np.random.get_state()
    with torch.random.fork_rng(devices=_started_gpus()):
        try:
            random.seed(seed)
            np.random.seed(seed % 2**32)
            torch.manual_seed(seed)
            yield
        finally:
            random.setstate(python)
            np.random.set_state(numeric)


def _started_gpus() -> list[int]:
    return list(range(torch.cuda.device_count())) if torch.cuda.is_initialized() else []
