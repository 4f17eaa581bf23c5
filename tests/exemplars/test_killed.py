"""A scan that is killed at any moment and begun again gives what one that ran through gives."""

from __future__ import annotations

import multiprocessing
import random
import signal
import time
from pathlib import Path

import pytest

from phosphene.exemplars.scan import CHECKPOINT
from phosphene.exemplars.state import State
from tests.exemplars.killed import COUNT, run, scanned
from tests.exemplars.test_scan import same

SERVER = multiprocessing.get_context("forkserver")
SERVER.set_forkserver_preload(["tests.exemplars.killed"])  # torch is imported once for all processes


def kill_after(folder: Path, seconds: float, pause: float) -> bool:
    """Start a scan, wait until it reads, and SIGKILL it some time later; whether it was still running."""
    begun = SERVER.Event()
    process = SERVER.Process(target=run, args=(folder, begun, pause))
    process.start()
    assert begun.wait(100)
    time.sleep(seconds)
    process.kill()
    process.join()
    assert process.exitcode in (0, -signal.SIGKILL)
    return process.exitcode != 0


def killed_often(folder: Path, moments: list[float], pause: float) -> None:
    reached, killed = 0, 0
    for seconds in moments:
        killed += kill_after(folder, seconds, pause)
        if (folder / CHECKPOINT).exists():
            part = State.load(folder / CHECKPOINT).parts[0]
            assert part.end >= reached
            reached = part.end
    assert killed > len(moments) / 2
    same(scanned(folder), scanned(None))
    assert [path.name for path in folder.iterdir()] == [CHECKPOINT]  # nothing half-written is left
    assert State.load(folder / CHECKPOINT).seen == COUNT - COUNT // 50


def test_a_scan_that_was_killed_counts_nothing_twice(tmp_path: Path) -> None:
    killed_often(tmp_path, [0.3, 0.05, 0.5], 0.01)


@pytest.mark.slow
def test_a_scan_that_was_killed_twenty_times_counts_nothing_twice(tmp_path: Path) -> None:
    chance = random.Random(0)
    killed_often(tmp_path, [chance.uniform(0, 0.5) for _ in range(20)], 0.04)
