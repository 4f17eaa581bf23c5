"""Memory that is kept while a network runs, seen by the page faults that it saves."""

from __future__ import annotations

import ctypes
import subprocess
import sys

import pytest

from phosphene.network import memory

FAULTS = """
import contextlib, resource, torch
from phosphene.network.memory import kept
def faults(numbers):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(10):
        torch.ones(numbers).add_(1)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
faults(20_000_000)
print(faults(20_000_000))
with kept(), kept():
    faults(20_000_000)  # until they fit where others were, which takes a few
    print(faults(20_000_000))
with kept():
    pass
print(faults(60_000_000))  # larger than any block that may lie free since then: it would be taken without a fault
"""


def test_large_blocks_are_not_given_back_after_every_layer() -> None:
    if not hasattr(ctypes.CDLL(None), "gnu_get_libc_version"):
        pytest.skip("no glibc here")
    done = subprocess.run([sys.executable, "-c", FAULTS], capture_output=True, text=True, check=True)
    before, inside, after = map(int, done.stdout.split())
    assert 5 * inside < before
    assert 5 * inside < after


def test_it_is_put_back_also_when_a_network_raises(monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[tuple[int, int]] = []

    def told(which: int, value: int) -> int:
        said.append((which, value))
        return 1

    monkeypatch.setattr(memory, "_mallopt", lambda: told)
    with pytest.raises(ValueError, match="mine"), memory.kept():
        raise ValueError("mine")
    assert [value for _, value in said] == [1 << 30, 2**31 - 1, 1 << 25, 1 << 26]


def test_without_glibc_nothing_happens(monkeypatch: pytest.MonkeyPatch) -> None:
    def none(_: str) -> None:
        raise OSError

    monkeypatch.setattr(ctypes, "CDLL", none)
    with memory.kept():
        pass
