"""A scan that is killed at any moment and begun again gives what one that ran through gives."""

from __future__ import annotations

import multiprocessing
import random
import signal
from collections.abc import Sequence
from pathlib import Path

import pytest

from phosphene.exemplars.scan import CHECKPOINT
from phosphene.exemplars.state import State
from tests.exemplars.killed import COUNT, Moment, run, scanned
from tests.exemplars.test_scan import same

SERVER = multiprocessing.get_context("forkserver")
SERVER.set_forkserver_preload(["tests.exemplars.killed"])  # torch is imported once for all processes


def killed(folder: Path, moment: Moment) -> bool:
    process = SERVER.Process(target=run, args=(folder, moment))
    process.start()
    process.join()
    return process.exitcode == -signal.SIGKILL


def killed_often(folder: Path, moments: Sequence[Moment]) -> None:
    reached = 0
    for moment in moments:
        assert killed(folder, moment)
        if (folder / CHECKPOINT).exists():
            end = State.load(folder / CHECKPOINT).parts[0].end
            assert end >= reached
            reached = end
        if moment.of == "picture":
            assert reached == moment.number // 4 * 4  # the batches before it are written
    same(scanned(folder), scanned(None))
    assert [path.name for path in folder.iterdir()] == [CHECKPOINT]  # nothing half-written is left
    assert State.load(folder / CHECKPOINT).seen == COUNT - COUNT // 50


def test_a_scan_that_was_killed_counts_nothing_twice(tmp_path: Path) -> None:
    killed_often(tmp_path, [Moment("checkpoint", 0), Moment("picture", 101), Moment("checkpoint", 3), Moment("picture", 222)])


@pytest.mark.slow
def test_a_scan_that_was_killed_twenty_times_counts_nothing_twice(tmp_path: Path) -> None:
    chance = random.Random(0)
    places = sorted(chance.sample(range(8, COUNT), 10))
    moments = [[Moment("checkpoint", chance.randrange(2)), Moment("picture", place)] for place in places]
    killed_often(tmp_path, [moment for pair in moments for moment in pair])
