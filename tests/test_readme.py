"""What the README shows, runs."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from phosphene.cli.app import main
from tests.conftest import ROOT

README = (ROOT / "README.md").read_text("utf-8")
BLOCKS = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
COMMANDS = [line for block in re.findall(r"```console\n(.*?)```", README, re.DOTALL) for line in block.splitlines()]
DRAWN = ("class-model", "render", "dream")


def test_the_readme_shows_code_and_commands() -> None:
    assert len(BLOCKS) >= 2
    assert len(COMMANDS) >= 5


@pytest.mark.parametrize("block", BLOCKS)
def test_python_of_the_readme_runs(block: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    exec(compile(block, "README.md", "exec"), {})
    assert list(tmp_path.rglob("contact_sheet.png"))


@pytest.mark.parametrize("more", [["--steps", "3"], pytest.param([], marks=pytest.mark.slow)], ids=["few steps", "as shown"])
def test_commands_of_the_readme_run_one_after_another(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, more: list[str]) -> None:
    """Of an option that is given twice the last counts."""
    monkeypatch.chdir(tmp_path)
    for line in COMMANDS:
        program, *arguments = shlex.split(line)
        assert program == "phosphene"
        assert main(arguments + (more if arguments[0] in DRAWN else [])) == 0, line
