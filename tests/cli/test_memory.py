"""Memory that the program keeps, seen by the page faults that it saves."""

from __future__ import annotations

import ctypes
import subprocess
import sys

import pytest

from phosphene.cli.memory import keep_memory

FAULTS = """
import resource, torch
from phosphene.cli.memory import keep_memory
if {keep}:
    assert keep_memory()
def round():
    torch.ones(20_000_000).add_(1)
round()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(20):
    round()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def faults(keep: bool) -> int:
    done = subprocess.run([sys.executable, "-c", FAULTS.format(keep=keep)], capture_output=True, text=True, check=True)
    return int(done.stdout)


def test_large_blocks_are_not_given_back_after_every_layer() -> None:
    if not hasattr(ctypes.CDLL(None), "gnu_get_libc_version"):
        pytest.skip("no glibc here")
    assert 5 * faults(keep=True) < faults(keep=False)


def test_without_glibc_nothing_happens(monkeypatch: pytest.MonkeyPatch) -> None:
    def none(_: str) -> None:
        raise OSError

    monkeypatch.setattr(ctypes, "CDLL", none)
    assert not keep_memory()
