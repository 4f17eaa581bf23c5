"""How long a run measures, and what the process of a verb needs before it begins."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")


@dataclass(frozen=True)
class Settings:
    """What `python -m bench` is asked.

    rounds       in which all that is compared takes turns; medians are told
    sites        folders in which peers are installed
    keep_memory  the allocator keeps memory for peers too, as phosphene has it do while its own networks run
    quick        the smallest sizes: only whether it runs
    """

    rounds: int = 5
    threads: int | None = None
    sites: tuple[Path, ...] = ()
    keep_memory: bool = False
    quick: bool = False

    def of(self, full: T, quick: T) -> T:
        return quick if self.quick else full

    @property
    def side(self) -> int:
        """Of the pictures, where a verb has one size: that of the networks' training."""
        return self.of(224, 64)

    def environment(self, sites: bool = False) -> dict[str, str]:
        """Of a process that is measured as a whole; sites: where it finds peers too."""
        threads = {} if self.threads is None else {"OMP_NUM_THREADS": str(self.threads)}
        paths = [*map(str, self.sites), os.environ.get("PYTHONPATH", "")]
        found = {"PYTHONPATH": os.pathsep.join(filter(None, paths))} if sites else {}
        return os.environ | threads | found

    @contextmanager
    def begun(self) -> Iterator[None]:
        """In a verb's own process alone: sites and threads are not put back."""
        import torch

        from phosphene.network.memory import kept

        sys.path[:0] = [str(site) for site in self.sites]
        if self.threads is not None:
            torch.set_num_threads(self.threads)
        with kept() if self.keep_memory else nullcontext():
            yield
