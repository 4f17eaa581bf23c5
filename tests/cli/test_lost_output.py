"""Standard output and error that are closed or full."""

from __future__ import annotations

import subprocess
import sys

import pytest

PROGRAM = f"{sys.executable} -c 'from phosphene.cli.app import run; run()'"


@pytest.mark.parametrize(
    ("line", "status", "said"),
    [
        ("--version >&-", 0, ""),
        ("--version >/dev/full", 1, "No space left on device"),
        ("layers --nothing 2>/dev/full", 2, ""),
        ("layers --nothing >&- 2>&- <&-", 2, ""),
    ],
)
def test_lost_output(line: str, status: int, said: str) -> None:
    done = subprocess.run(["sh", "-c", f"{PROGRAM} {line}"], capture_output=True, text=True, check=False)
    assert done.returncode == status
    assert said in done.stderr
    assert "Traceback" not in done.stderr
    assert "bug" not in done.stderr
    assert len(done.stderr.splitlines()) <= 1


def test_a_reader_that_is_gone_is_status_1_without_a_word() -> None:
    """As of `phosphene … | head -1`."""
    line = f"({PROGRAM} --help; echo $? >&2) | true"
    done = subprocess.run(["sh", "-c", line], capture_output=True, text=True, check=False)
    assert done.stderr == "1\n"
