"""`phosphene tune`: what it says, what it writes, how it ends."""

from __future__ import annotations

import json
import shlex
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest

import phosphene as ph
from phosphene import evaluation
from phosphene.cli.tune import tune
from phosphene.evaluation import Trial
from phosphene.rendering.recipe import read_recipe
from tests.cli.conftest import Phosphene, Ran, run_in

pytest.importorskip("optuna")
LINE = "tune -m demo:robust -c cat -c ship -j demo:standard --recipe quick.toml -o out --trials"
RECIPE = ph.Recipe("quick", steps=2, lr=0.05).to_toml()


@pytest.fixture
def quick(phosphene: Phosphene) -> Phosphene:
    """The program, beside a recipe of two steps."""
    Path("quick.toml").write_text(RECIPE)
    return phosphene


@pytest.fixture(scope="module")
def tuned(tmp_path_factory: pytest.TempPathFactory) -> tuple[Ran, Path]:
    """A tuning of three trials, and the folder that it was started in."""
    folder = tmp_path_factory.mktemp("tuned")
    (folder / "quick.toml").write_text(RECIPE)
    return run_in(folder, *LINE.split(), "3"), folder


@pytest.fixture
def again(quick: Phosphene, tuned: tuple[Ran, Path]) -> Phosphene:
    """The program in a copy of that folder."""
    shutil.copytree(tuned[1] / "out", "out")
    return quick


def run(folder: Path = Path()) -> dict[str, Any]:
    read: dict[str, Any] = json.loads((folder / "out/run.json").read_text("utf-8"))
    return read


def test_the_front_is_shown_and_the_best_recipe_written(tuned: tuple[Ran, Path]) -> None:
    ran, said = tuned[0], run(tuned[1])
    heads, *rows, last = ran.out.splitlines()
    assert ran.status == 0
    assert heads.split("  ")[0] == "trial"
    assert [int(row.split()[0]) for row in rows] == said["front"]
    assert [int(row.split()[0]) for row in rows if row.split()[1] == "*"] == [said["best"]]
    assert last.startswith("* chosen: out/recipe.toml; the base recipe's mean ln p is -")
    assert [line.partition(": mean ln p -")[0] for line in ran.err.splitlines()] == [f"trial {k} of 3" for k in (1, 2, 3)]


def test_the_run_tells_every_trial(tuned: tuple[Ran, Path], robust: ph.Network, standard: ph.Network) -> None:
    folder = tuned[1]
    said = run(folder)
    assert (said["command"], said["model"]) == ("tune", {"ref": "demo:robust", "sha256": robust.sha256()})
    assert said["judges"] == [{"ref": "demo:standard", "sha256": standard.sha256()}]
    assert said["arguments"] == {
        "classes": ["cat", "ship"],
        "all": False,
        "trials": 3,
        "recipe": "quick.toml",
        "size": None,
        "seed": 0,
    }
    trials = [Trial.from_dict(item) for item in said["items"]]
    assert read_recipe(str(folder / "out/recipe.toml")) == trials[said["best"]].recipe
    assert {path.name for path in (folder / "out").glob("trial-*.toml")} == {f"trial-{number}.toml" for number in said["front"]}


def test_a_command_draws_with_the_recipe_that_was_found(again: Phosphene) -> None:
    ran = again(*"class-model -m demo:robust -c cat --recipe out/recipe.toml -o drawn".split())
    assert ran.status == 0
    assert Path("drawn/cat.png").is_file()


def test_the_same_line_goes_on(again: Phosphene) -> None:
    before = run()["items"]
    ran = again(*LINE.split(), "4")
    assert [line.partition(":")[0] for line in ran.err.splitlines()] == ["trial 4 of 4"]
    assert run()["items"][:3] == before


def test_json_is_what_the_run_says(again: Phosphene) -> None:
    ran = again(*LINE.split(), "3", "--json")
    told = json.loads(ran.out)
    assert {key: run()[key] for key in told} == told
    assert len(told["items"]) == 3


def test_without_a_judge_it_says_what_the_measure_is_worth(quick: Phosphene) -> None:
    ran = quick(*"tune -m demo:robust --all --recipe quick.toml --trials 1 -o out".split())
    assert ran.status == 0
    assert "note: no judge was given: " in ran.err
    assert run()["notes"] == [line.removeprefix("note: ") for line in ran.err.splitlines() if line.startswith("note: ")]


def stopping(monkeypatch: pytest.MonkeyPatch, after: int) -> None:
    """Ctrl-C when so many trials are finished."""
    whole = evaluation.tune

    def stopped(*arguments: Any, on_trial: Any, **others: Any) -> evaluation.Tuning:
        def told(trial: Trial) -> None:
            on_trial(trial)
            if trial.number + 1 == after:
                raise KeyboardInterrupt

        return whole(*arguments, on_trial=told, **others)

    monkeypatch.setattr(evaluation, "tune", stopped)


def test_ctrl_c_keeps_what_is_finished(quick: Phosphene, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patched:
        stopping(patched, 1)
        ran = quick(*LINE.split(), "2")
    assert ran.status == 1
    assert ran.err.splitlines()[-1] == "interrupted: 1 of 2 trials are in out; the same line goes on"
    assert read_recipe("out/recipe.toml") in [Trial.from_dict(item).recipe for item in run()["items"]]
    assert quick(*LINE.split(), "2").status == 0
    assert len(run()["items"]) == 2


def test_ctrl_c_before_anything_is_finished_is_told(quick: Phosphene, monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(*_: object, **__: object) -> None:
        raise ph.Interrupted

    monkeypatch.setattr(evaluation, "tune", stop)
    ran = quick(*LINE.split(), "4")
    assert (ran.status, ran.line) == (1, "phosphene: interrupted")


def test_another_network_is_refused_in_one_line(again: Phosphene) -> None:
    ran = again(*LINE.replace("-m demo:robust", "-m demo:standard").split(), "4")
    assert (ran.status, "holds a tuning with another network" in ran.line) == (2, True)


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("tune -m demo:robust", "which classes?"),
        ("tune -m demo:robust --all -c cat", "which classes?"),
        ("tune -m demo:robust -c kat", "no class 'kat'; nearest: cat"),
        ("tune -m demo:robust -c cat --trials 0", "trials is 0; 1 to 10000 is needed"),
        ("tune -m demo:robust -c cat --size x", "--size 'x'"),
        ("tune -m demo:robust -c cat --recipe none.toml", "recipe 'none.toml' cannot be read"),
    ],
)
def test_a_wrong_request_is_answered_in_one_line(phosphene: Phosphene, line: str, words: str) -> None:
    ran = phosphene(*line.split())
    assert ran.status == 2
    assert words in ran.line


def test_without_optuna_the_extra_is_named(phosphene: Phosphene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "optuna", None)
    ran = phosphene("tune", "-m", "demo:robust", "-c", "cat", "-o", "out")
    assert (ran.status, ran.line) == (2, "phosphene: tuning needs Optuna; pip install 'phosphene[tune]'")
    assert not Path("out").exists()


def test_the_example_in_the_help_runs(quick: Phosphene) -> None:
    example = str(tune.__doc__).partition("Example: phosphene ")[2].strip()
    ran = quick(*shlex.split(example), "--recipe", "quick.toml", "--trials", "1")
    assert ran.status == 0
    assert Path("tuned/recipe.toml").is_file()


def test_steps_are_drawn_on_a_terminal(quick: Phosphene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TTY_COMPATIBLE", "1")
    ran = quick(*LINE.split(), "1")
    assert ran.status == 0
    assert "rendering 1 to 2 of 2" not in ran.err
