"""phosphene.toml, PHOSPHENE_MODEL, and one network alone."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

import pytest

from phosphene.cli import defaults
from phosphene.cli.app import main


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a phosphene.toml, seen from a folder inside it."""
    inside = tmp_path / "inside"
    inside.mkdir()
    monkeypatch.chdir(inside)
    monkeypatch.delenv(defaults.VARIABLE, raising=False)
    return tmp_path


def write(folder: Path, text: str) -> None:
    (folder / defaults.NAME).write_text(text)


TOML = """
model = "mine"
[models]
mine = "demo:robust"
[defaults]
out = "pictures"
[defaults.class-model]
steps = 2
class = ["cat"]
"""


def test_a_command_takes_its_network_and_options_from_the_file(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(project, TOML)
    assert main(["class-model", "-c", "dog"]) == 0
    record = json.loads(Path("pictures/run.json").read_text())
    assert record["model"]["ref"] == "demo:robust"
    assert [item["class"] for item in record["items"]] == ["dog"]
    assert record["arguments"]["steps"] == 2
    assert "note: mine is demo:robust" in capsys.readouterr().err


def test_the_line_wins_over_the_environment_and_that_over_the_file(
    project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write(project, TOML)
    monkeypatch.setenv(defaults.VARIABLE, "demo:standard")
    assert main(["doctor"]) == 0
    assert "demo:standard" in capsys.readouterr().out
    assert main(["doctor", "-m", "mine"]) == 0
    assert "demo:robust" in capsys.readouterr().out


def test_files_are_found_from_the_folder_of_the_toml(project: Path) -> None:
    (project / "net.py").write_text("")
    (project / "best.pth").write_bytes(b"")
    (project / "train").mkdir()
    write(project, '[models]\nmine = "net.py:make?weights=best.pth&classes=train&size=32&statistics=none.safetensors"')
    found = defaults.read().reference("mine")
    assert (
        found == f"{project}/net.py:make?weights={project}/best.pth&classes={project}/train&size=32&statistics=none.safetensors"
    )
    assert defaults.read().reference("demo:robust") == "demo:robust"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("model = ", "cannot be read"),
        ("modle = 'a'", "no key in .* 'modle'; nearest: model"),
        ("model = 3", "model must be a name or a reference, got 3"),
        ("models = 3", "models must be names with references"),
        ("[models]\na = 1", "models must be names with references"),
        ("defaults = 'out'", "defaults must be options with values"),
        ("[defaults]\nuot = 'a'", "no option in .* 'uot'; nearest: out"),
        ("[defaults.explian]\nout = 'a'", "no command in .* 'explian'; nearest: explain"),
        ("[defaults.explain]\nsteps = 3", "no option of explain in .* 'steps'"),
    ],
)
def test_a_wrong_file_is_one_sentence(project: Path, capsys: pytest.CaptureFixture[str], text: str, words: str) -> None:
    write(project, text)
    assert main(["layers", "-m", "demo:robust"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert re.search(words, line)
    assert main(["--version"]) == 0


@pytest.mark.skipif(not hasattr(os, "getuid"), reason="users have no numbers here")
def test_a_file_of_another_user_is_passed_over(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It may name code, which is run."""
    write(project, TOML)
    monkeypatch.setattr(os, "getuid", lambda: -1)
    found = defaults.read()
    assert found.model is None
    assert found.note.endswith("phosphene.toml belongs to another user and was passed over")


@pytest.mark.parametrize("line", [["-m", "a", "-m", "b"], ["-m", "a", "--model", "b"], ["--model=a", "-m", "b"]])
def test_two_networks_are_refused(line: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", *line]) == 2
    assert "-m must name one network, got 2: " in capsys.readouterr().err


def test_the_nearest_file_is_taken(project: Path) -> None:
    write(project, "model = 'demo:robust'")
    write(project / "inside", "model = 'demo:standard'")
    assert defaults.read().model == "demo:standard"


def test_code_is_never_that_of_the_working_folder(project: Path) -> None:
    """A file of that name there may be a stranger's."""
    (project / "inside" / "net.py").write_text("open('ran', 'w')")
    write(project, 'model = "net.py:make"\n[models]\nmine = "net.py:make"\n[defaults.explain]\nmodel = "net.py:make"')
    assert main(["doctor"]) == 2
    assert main(["doctor", "-m", "mine"]) == 2
    assert main(["explain", "sample", "-o", "why"]) == 2
    assert not list(project.rglob("ran"))


@pytest.mark.skipif(not hasattr(os, "getuid") or os.getuid() != 0, reason="only root may give files away")
@pytest.mark.parametrize("strange", ["link", "folder"])
def test_a_strangers_link_or_folder_is_passed_over(project: Path, strange: str) -> None:
    shared = project / "inside"
    (project / "mine.toml").write_text('model = "demo:robust"')
    (shared / defaults.NAME).symlink_to(project / "mine.toml")
    assert defaults.read().model == "demo:robust"
    os.lchown(shared / defaults.NAME if strange == "link" else shared, 12345, 12345)
    assert defaults.read().model is None
