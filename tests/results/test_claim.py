"""A folder is filled by one process at a time."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

import phosphene as ph
from phosphene.errors import RequestError
from phosphene.results.claim import claim
from phosphene.results.folder import RunFolder

HOLD = (
    "import fcntl, os, sys; fcntl.flock(os.open(sys.argv[1], os.O_RDONLY), fcntl.LOCK_EX); print(flush=True); sys.stdin.read()"
)


@contextmanager
def held_by_another(folder: Path) -> Iterator[subprocess.Popen[bytes]]:
    other = subprocess.Popen([sys.executable, "-c", HOLD, str(folder)], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert other.stdout is not None
    other.stdout.readline()
    with other:
        yield other
        other.kill()


def test_the_second_process_is_refused_in_a_sentence_until_the_first_is_gone(tmp_path: Path) -> None:
    with held_by_another(tmp_path) as other:
        with pytest.raises(RequestError, match="is being filled by another process"):
            claim(tmp_path)
        other.kill()  # leaves nothing that would block
        other.wait()
        with claim(tmp_path):
            assert list(tmp_path.iterdir()) == []


def test_verbs_and_commands_refuse_a_folder_that_another_process_fills(standard: ph.Network, tmp_path: Path) -> None:
    with held_by_another(tmp_path):
        for call in (
            lambda: ph.evaluation.tune(standard, ["cat"], trials=1, folder=tmp_path),
            lambda: ph.examples(standard, standard.preprocess.mean_picture(), "logit:cat", folder=tmp_path),
            lambda: RunFolder(tmp_path, command="render", model=standard.identity(), arguments={}),
        ):
            with pytest.raises(RequestError, match="is being filled by another process"):
                call()
        assert list(tmp_path.iterdir()) == []


def test_results_are_saved_also_where_a_command_runs(standard: ph.Network, tmp_path: Path) -> None:
    with held_by_another(tmp_path):
        ph.render(standard, "logit:cat", steps=1).save(tmp_path)
    assert (tmp_path / "cat.png").is_file()


def test_a_claim_ends_with_its_last_holder(tmp_path: Path) -> None:
    first, second = claim(tmp_path), claim(tmp_path)
    assert first is second
    refused = [sys.executable, "-c", "import fcntl, os, sys; fcntl.flock(os.open(sys.argv[1], os.O_RDONLY), 6)", str(tmp_path)]
    del first
    assert subprocess.run(refused, stderr=subprocess.DEVNULL).returncode == 1
    del second
    assert subprocess.run(refused).returncode == 0
