"""How the program ends: interrupted, piped into nothing, with a bug; and the installed one."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from torch import Tensor

import phosphene as ph
from phosphene.cli import app, making, options
from phosphene.pictures import files

from .conftest import Phosphene, contents

PROGRAM = str(Path(sys.executable).with_name("phosphene"))


def test_the_installed_program_draws_and_prints_nothing_else(tmp_path: Path) -> None:
    done = subprocess.run(
        [PROGRAM, "class-model", "-m", "demo:robust", "-c", "cat", "--steps", "2"], cwd=tmp_path, capture_output=True, text=True
    )
    assert (done.returncode, done.stdout) == (0, "1 picture, contact_sheet.png and run.json are in out/\n")
    assert done.stderr == "rendering 1 to 1 of 1, 2 steps\n"
    assert (tmp_path / "out" / "cat.png").is_file()


def test_the_installed_program_refuses_in_one_line(tmp_path: Path) -> None:
    done = subprocess.run(
        [PROGRAM, "class-model", "-m", "demo:robust", "-c", "kat"], cwd=tmp_path, capture_output=True, text=True
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("phosphene: no class 'kat'; nearest: cat")
    assert done.stderr.count("\n") == 1


def test_help_needs_no_torch(tmp_path: Path) -> None:
    code = "import sys; from phosphene.cli.app import main; main(['layers', '--help']); print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.endswith("\nFalse\n")


def interrupted_after_the_first_picture(command: list[str], out: Path, number: int = signal.SIGINT) -> tuple[int, str]:
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    end = time.monotonic() + 60
    while not list(out.glob("[!.]*.png")) and process.poll() is None and time.monotonic() < end:
        time.sleep(0.01)
    process.send_signal(number)
    _, err = process.communicate(timeout=60)
    return process.returncode, err


def test_ctrl_c_keeps_the_finished_pictures_and_says_what_is_missing(tmp_path: Path) -> None:
    command = [PROGRAM, "class-model", "-m", "demo:robust", "--all", "--batch", "2", "--steps", "24", "-o", str(tmp_path)]
    status, err = interrupted_after_the_first_picture(command, tmp_path)
    run = json.loads((tmp_path / "run.json").read_text("utf-8"))
    drawn = [item["file"] for item in run["items"]]
    assert status == 1
    assert drawn
    assert run["missing"]
    assert len(drawn) + len(run["missing"]) == 10
    assert all(files.read_png(tmp_path / name)[1] for name in drawn)
    assert (tmp_path / "contact_sheet.png").is_file()
    assert err.splitlines()[-1].startswith(f"interrupted: {len(drawn)} of 10 pictures are in {tmp_path}; missing logit:")
    assert "Traceback" not in err


def test_what_was_kept_at_ctrl_c_is_what_would_have_been(phosphene: Phosphene, monkeypatch: pytest.MonkeyPatch) -> None:
    line = "class-model -m demo:robust --all --batch 3 --steps 2 -o".split()
    phosphene(*line, "whole")
    told = making.Bar.on_step

    def stop(self: making.Bar, done: int, items: int, step: int, steps: int, pictures: Tensor, values: Tensor) -> None:
        told(self, done, items, step, steps, pictures, values)
        if done == 6:
            raise KeyboardInterrupt

    monkeypatch.setattr(making.Bar, "on_step", stop)
    ran = phosphene(*line, "part")
    run = json.loads(Path("part/run.json").read_text("utf-8"))
    names = [item["file"] for item in run["items"]]
    assert ran.status == 1
    assert run["missing"] == [f"logit:{name}" for name in ("frog", "horse", "ship", "truck")]
    assert [Path("part", name).read_bytes() for name in names] == [Path("whole", name).read_bytes() for name in names]
    assert [(item["file"], item["notes"]) for item in run["unfinished"]] == [
        (f"{name}.png", ["interrupted at step 1 of 2"]) for name in ("frog", "horse", "ship")
    ]
    assert ran.err.splitlines()[-1] == (
        "interrupted: 6 of 10 pictures are in part; missing logit:frog, logit:horse, logit:ship, logit:truck "
        "(run.json lists them and 3 unfinished pictures); the same line goes on"
    )


def test_the_same_line_goes_on_and_ends_in_the_same_files(phosphene: Phosphene, monkeypatch: pytest.MonkeyPatch) -> None:
    line = "class-model -m demo:robust --all --batch 4 --steps 2 -o".split()
    phosphene(*line, "whole")
    told = making.Bar.on_step

    def stop(self: making.Bar, done: int, items: int, step: int, steps: int, pictures: Tensor, values: Tensor) -> None:
        told(self, done, items, step, steps, pictures, values)
        if done == 4:
            raise KeyboardInterrupt

    with monkeypatch.context() as during:
        during.setattr(making.Bar, "on_step", stop)
        phosphene(*line, "parts")
    ran = phosphene(*line, "parts")
    assert (ran.status, ran.out) == (0, "10 pictures, contact_sheet.png and run.json are in parts/\n")
    assert ran.err.splitlines() == [
        "resumed: 4 of 10 pictures are in parts already, of the same request",
        "rendering 5 to 8 of 10, 2 steps",
        "rendering 9 to 10 of 10, 2 steps",
    ]
    assert contents("parts") == contents("whole")
    again = phosphene(*line, "parts")
    assert (again.status, again.err) == (0, "")  # nothing is left to do


def test_another_line_starts_anew_and_says_so(phosphene: Phosphene, monkeypatch: pytest.MonkeyPatch) -> None:
    line = "class-model -m demo:robust -c cat -c dog --batch 1 --steps 2 -o out".split()
    told = making.Bar.on_step

    def stop(self: making.Bar, done: int, *rest: Any) -> None:
        told(self, done, *rest)
        if done == 1:
            raise KeyboardInterrupt

    with monkeypatch.context() as during:
        during.setattr(making.Bar, "on_step", stop)
        phosphene(*line)
    ran = phosphene(*line, "--seed", "1")
    assert ran.err.splitlines()[0] == "note: the unfinished run in out was of another request, and is not resumed"
    assert [item["seed"] for item in json.loads(Path("out/run.json").read_text())["items"]] == [1, 1]


def test_sigterm_saves_and_ends_with_its_own_status(tmp_path: Path) -> None:
    command = [PROGRAM, "class-model", "-m", "demo:robust", "--all", "--batch", "2", "--steps", "24", "-o", str(tmp_path)]
    status, err = interrupted_after_the_first_picture(command, tmp_path, signal.SIGTERM)
    run = json.loads((tmp_path / "run.json").read_text("utf-8"))
    assert status == 128 + signal.SIGTERM
    assert len(run["items"]) + len(run["missing"]) == 10
    assert err.splitlines()[-1].startswith(f"interrupted: {len(run['items'])} of 10 pictures are in {tmp_path}; missing logit:")


@pytest.mark.parametrize("line", ["layers -m demo:robust", "doctor -m demo:robust", "class-model -m demo:robust -c cat"])
def test_ctrl_c_before_anything_is_made_is_told(phosphene: Phosphene, monkeypatch: pytest.MonkeyPatch, line: str) -> None:
    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(options, "opened", stop)
    ran = phosphene(*line.split())
    assert (ran.status, ran.line) == (1, "phosphene: interrupted")


def test_ctrl_c_during_rerun_is_told(phosphene: Phosphene, monkeypatch: pytest.MonkeyPatch) -> None:
    phosphene("class-model", "-m", "demo:robust", "-c", "cat", "--steps", "1", "-o", "out")

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(making.Bar, "on_step", stop)
    ran = phosphene("rerun", "out/cat.png", "-o", "again")
    assert (ran.status, ran.err.strip()) == (1, "phosphene: interrupted")
    assert not Path("again").exists()


def failing(monkeypatch: pytest.MonkeyPatch, error: BaseException) -> None:
    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr(options, "opened", fail)


def test_a_bug_is_told_in_one_line_with_where_to_look(phosphene: Phosphene, monkeypatch: pytest.MonkeyPatch) -> None:
    failing(monkeypatch, ZeroDivisionError("by zero\nand more"))
    ran = phosphene("layers", "-m", "demo:robust")
    assert (ran.status, ran.line) == (1, "phosphene: ZeroDivisionError: by zero (a bug; --debug shows where)")


def test_running_out_of_memory_is_no_bug(phosphene: Phosphene, monkeypatch: pytest.MonkeyPatch) -> None:
    failing(monkeypatch, RuntimeError("DefaultCPUAllocator: can't allocate memory"))
    ran = phosphene("layers", "-m", "demo:robust")
    assert (ran.status, ran.line.startswith("phosphene: out of memory: ")) == (1, True)


def test_a_bug_shows_its_traceback_with_debug(phosphene: Phosphene, monkeypatch: pytest.MonkeyPatch) -> None:
    failing(monkeypatch, ZeroDivisionError("by zero"))
    ran = phosphene("layers", "-m", "demo:robust", "--debug")
    assert ran.status == 1
    assert "Traceback" in ran.err
    assert "in fail" in ran.err


def test_a_failed_ascent_is_status_1(phosphene: Phosphene) -> None:
    ran = phosphene("render", "-m", "demo:robust", "1e38*layer:stage3.0:squares", "--steps", "1", "-o", "out")
    assert (ran.status, "is not finite at any of" in ran.err) == (1, True)


def test_a_reader_that_goes_away_is_no_error() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    try:
        done = subprocess.run(
            [PROGRAM, "layers", "-m", "demo:robust", "--json"], stdout=writer, stderr=subprocess.PIPE, text=True
        )
    finally:
        os.close(writer)
    assert (done.returncode, done.stderr) == (1, "")


def test_a_program_called_without_arguments_takes_those_of_the_process(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["phosphene", "--version"])
    with pytest.raises(SystemExit) as ended:
        app.run()
    assert ended.value.code == 0
    assert capsys.readouterr().out == f"phosphene {ph.__version__}\n"


def test_notes_on_the_network_are_told_once(phosphene: Phosphene) -> None:
    Path("net.py").write_text(
        "from torch import nn\ndef net():\n    return nn.Sequential(nn.Flatten(), nn.Linear(192, 3), nn.Softmax(1))\n"
    )
    ran = phosphene("layers", "-m", "net.py:net?size=8")
    said = [line for line in ran.err.splitlines() if line.startswith("note: ")]
    assert ran.status == 0
    assert said
    assert len(said) == len(set(said))


def test_progress_is_drawn_on_a_terminal(phosphene: Phosphene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TTY_COMPATIBLE", "1")
    ran = phosphene("class-model", "-m", "demo:robust", "-c", "cat", "--steps", "2", "-o", "out")
    assert ran.status == 0
    assert "rendering 1 to 1 of 1" not in ran.err
