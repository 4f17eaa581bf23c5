"""Tuning: a search that can be stopped and repeated, and never gives less than what it began with."""

from __future__ import annotations

import copy
import shutil
import sqlite3
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import phosphene as ph
from phosphene.errors import ExtraError, FolderError, RenderError, RequestError
from phosphene.evaluation import Trial, Tuning, tune, tuning
from phosphene.evaluation.jury import FLOOR, Verdict, changed, jury_of
from phosphene.evaluation.perturbed import perturbed
from phosphene.evaluation.recognisability import recognisability
from phosphene.evaluation.space import searched, space
from phosphene.recipes import natural, pixels
from phosphene.rendering.recipe import read_recipe
from tests.nets import made, network

pytest.importorskip("optuna")
BASE = ph.Recipe("quick", steps=2, lr=0.05, views=(ph.jitter(0.1),))
SHAPE = (3, 32, 32)
CLASSES = ("ship", "dog", "deer", "cat", "frog")


def tuned(net: ph.Network, judges: list[ph.Network], trials: int, **how: Any) -> Tuning:
    return tune(net, ["cat", "ship"], judges, trials=trials, base=BASE, **how)


@pytest.fixture(scope="module")
def drawer() -> ph.Network:
    return ph.Network(made("plain"), ph.Preprocess(size=12), CLASSES, name="drawer")


@pytest.fixture(scope="module")
def judge() -> ph.Network:
    return ph.Network(made("functional"), ph.Preprocess(size=12), CLASSES, name="judge")


@pytest.fixture(scope="module")
def dozen(drawer: ph.Network, judge: ph.Network) -> Tuning:
    """More trials than are drawn at random."""
    return tuned(drawer, [judge], 12)


def of(number: int, score: float, seconds: float) -> Trial:
    return Trial(number, {}, {}, score, 0, 0, seconds, 1, BASE)


def test_the_first_trial_is_the_base_recipe_itself(dozen: Tuning) -> None:
    assert dozen.base.recipe == BASE
    assert dozen.base.changes == {}
    assert dozen.base.number == 0


def test_the_best_is_no_worse_than_the_base(dozen: Tuning) -> None:
    assert dozen.best.recognisability == max(trial.recognisability for trial in dozen.trials)
    assert dozen.best.recognisability >= dozen.base.recognisability


def test_nothing_dominates_the_front_and_all_else_is_dominated(dozen: Tuning) -> None:
    for one in dozen.trials:
        better = [
            other
            for other in dozen.trials
            if (other.recognisability >= one.recognisability and other.seconds < one.seconds)
            or (other.recognisability > one.recognisability and other.seconds <= one.seconds)
        ]
        assert (one in dozen.front) == (not better)
    assert dozen.best in dozen.front
    assert [trial.seconds for trial in dozen.front] == sorted(trial.seconds for trial in dozen.front)


def test_the_front_and_the_best_in_closed_form() -> None:
    found = Tuning((of(0, -2, 3), of(1, -1, 5), of(2, -2, 4), of(3, -5, 1), of(4, -1, 4)))
    assert [trial.number for trial in found.front] == [3, 0, 4]
    assert found.best.number == 4


def test_a_trial_is_judged_as_its_recipe_is(dozen: Tuning, drawer: ph.Network, judge: ph.Network) -> None:
    trial = dozen.trials[3]
    drawn = ph.render(drawer, ["logit:cat", "logit:ship"], recipe=trial.recipe, frames=0)
    (said,) = recognisability(drawn.pictures, ["cat", "ship"], [judge]).judgements
    assert trial.recognisability == pytest.approx(float(said.probabilities.log().clamp(min=FLOOR).mean()), abs=1e-4)
    assert trial.top1 == pytest.approx(said.top(1))
    assert trial.passes == trial.recipe.steps * trial.recipe.samples


def test_trials_differ_and_tell_in_what(dozen: Tuning) -> None:
    assert len(set(dozen.recipes)) == 12
    for trial in dozen.trials[1:]:
        assert trial.changes
        assert trial.changes.items() <= trial.settings.items()
        assert trial.recipe.name == f"quick-tuned-{trial.number}"


def test_another_seed_gives_other_settings(drawer: ph.Network, judge: ph.Network, dozen: Tuning) -> None:
    other = tuned(drawer, [judge], 3, seed=1)
    assert other.trials[0].settings == dozen.trials[0].settings
    assert other.trials[1].settings != dozen.trials[1].settings
    assert other.trials[2].settings != dozen.trials[2].settings


def test_it_goes_on_where_it_was(drawer: ph.Network, judge: ph.Network, dozen: Tuning, tmp_path: Path) -> None:
    told: list[int] = []
    first = tuned(drawer, [judge], 4, folder=tmp_path)
    whole = tuned(drawer, [judge], 10, folder=tmp_path, on_trial=lambda trial: told.append(trial.number))
    assert whole.trials[:4] == first.trials
    assert told == [4, 5, 6, 7, 8, 9]
    assert [trial.settings for trial in whole.trials] == [trial.settings for trial in dozen.trials[:10]]


def test_with_nothing_left_to_do_nothing_is_drawn(
    drawer: ph.Network, judge: ph.Network, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = tuned(drawer, [judge], 3, folder=tmp_path)
    monkeypatch.setattr(tuning, "render", None)
    assert tuned(drawer, [judge], 2, folder=tmp_path) == first


def test_an_interrupted_trial_is_done_again(
    drawer: ph.Network, judge: ph.Network, dozen: Tuning, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Stop:
        def on_step(self, *_: object) -> None:
            if (tmp_path / "stop").exists():
                raise KeyboardInterrupt

    def ask(_: Trial) -> None:
        (tmp_path / "stop").touch()

    with pytest.raises(ph.Interrupted) as stopped:
        tuned(drawer, [judge], 3, folder=tmp_path, on_trial=ask, observers=[Stop()])
    (only,) = stopped.value.partial.trials
    whole = tuned(drawer, [judge], 3, folder=tmp_path)
    assert whole.trials[0] == only
    assert [trial.settings for trial in whole.trials] == [trial.settings for trial in dozen.trials[:3]]
    assert states(tmp_path) == ["COMPLETE", "FAIL", "COMPLETE", "COMPLETE"]


def test_stopped_at_the_base_the_base_comes_first_again(drawer: ph.Network, judge: ph.Network, tmp_path: Path) -> None:
    class Stop:
        def on_step(self, *_: object) -> None:
            raise KeyboardInterrupt

    with pytest.raises(ph.Interrupted) as stopped:
        tuned(drawer, [judge], 2, folder=tmp_path, observers=[Stop()])
    assert stopped.value.partial is None
    assert tuned(drawer, [judge], 2, folder=tmp_path).base.recipe == BASE
    assert states(tmp_path) == ["FAIL", "COMPLETE", "COMPLETE"]


def test_a_trial_of_a_killed_program_is_marked_and_done_again(
    drawer: ph.Network, judge: ph.Network, dozen: Tuning, tmp_path: Path
) -> None:
    tuned(drawer, [judge], 2, folder=tmp_path)
    with sqlite3.connect(tmp_path / "tune.db") as data:
        data.execute("UPDATE trials SET state = 'RUNNING' WHERE number = 1")
    data.close()
    whole = tuned(drawer, [judge], 2, folder=tmp_path)
    assert whole.trials[1].settings == dozen.trials[1].settings
    assert states(tmp_path) == ["COMPLETE", "FAIL", "COMPLETE"]


def states(folder: Path) -> list[str]:
    data = sqlite3.connect(folder / "tune.db")
    found = [row[0] for row in data.execute("SELECT state FROM trials ORDER BY number")]
    data.close()
    return found


@pytest.mark.parametrize(
    ("how", "words"),
    [
        ({"net": "judge"}, "another network"),
        ({"classes": ["cat"]}, "another list of classes"),
        ({"judges": []}, "another list of judges"),
        ({"size": 24}, "another size"),
        ({"seed": 1}, "another seed"),
        ({"base": BASE.replace(steps=3)}, "another base recipe and another search space"),
    ],
)
def test_a_study_of_another_search_is_refused(
    drawer: ph.Network, judge: ph.Network, begun: Path, how: dict[str, Any], words: str
) -> None:
    given: dict[str, Any] = {"net": drawer, "classes": ["cat", "ship"], "judges": [judge], "base": BASE} | how
    net = judge if how.get("net") else drawer
    others = {key: value for key, value in given.items() if key not in ("net", "classes", "judges")}
    with pytest.raises(RequestError, match=words):
        tune(net, given["classes"], given["judges"], trials=2, folder=begun, **others)


@pytest.fixture(scope="module")
def begun(drawer: ph.Network, judge: ph.Network, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("odd ?%20# name")
    tuned(drawer, [judge], 1, folder=folder)
    return folder


def test_a_file_that_can_no_longer_be_written_is_told_in_one_line(
    drawer: ph.Network, judge: ph.Network, tmp_path: Path
) -> None:
    def spoil(_: Trial) -> None:
        with sqlite3.connect(tmp_path / "tune.db") as data:
            data.execute("DROP TABLE trial_values")
        data.close()

    with pytest.raises(FolderError, match=r"tune\.db' cannot be written: .*no such table") as failed:
        tuned(drawer, [judge], 3, folder=tmp_path, on_trial=spoil)
    assert "\n" not in str(failed.value)


def test_a_study_that_another_process_took_over_is_told(drawer: ph.Network, judge: ph.Network, tmp_path: Path) -> None:
    class Other:
        def on_step(self, *_: object) -> None:
            with sqlite3.connect(tmp_path / "tune.db") as data:
                data.execute("UPDATE trials SET state = 'FAIL' WHERE state = 'RUNNING'")
            data.close()

    with pytest.raises(FolderError, match=r"cannot be written: .*finished"):
        tuned(drawer, [judge], 2, folder=tmp_path, observers=[Other()])


def test_a_file_that_is_no_study_is_refused_in_one_line(drawer: ph.Network, judge: ph.Network, tmp_path: Path) -> None:
    (tmp_path / "tune.db").write_text("a diary\n" * 1000)
    with pytest.raises(RequestError, match=r"cannot be read as a study: .*; another folder is needed") as refused:
        tuned(drawer, [judge], 1, folder=tmp_path)
    assert "\n" not in str(refused.value)


def test_a_study_with_a_damaged_trial_is_refused_in_one_line(
    begun: Path, drawer: ph.Network, judge: ph.Network, tmp_path: Path
) -> None:
    for sql in (
        "UPDATE trial_user_attributes SET value_json = '{'",
        "UPDATE trial_user_attributes SET value_json = '{}'",
        'UPDATE trial_params SET distribution_json = \'{"name": "Float", "attributes": {}}\'',
    ):
        shutil.copy(begun / "tune.db", tmp_path)
        with sqlite3.connect(tmp_path / "tune.db") as data:
            data.execute(sql)
        data.close()
        with pytest.raises(RequestError, match=r"tune\.db' cannot be read as a study: .*; another folder is needed"):
            tuned(drawer, [judge], 1, folder=tmp_path)


def test_a_study_of_somebody_else_is_refused(drawer: ph.Network, judge: ph.Network, tmp_path: Path) -> None:
    tuned(drawer, [judge], 1, folder=tmp_path)
    with sqlite3.connect(tmp_path / "tune.db") as data:
        data.execute("DELETE FROM study_user_attributes")
    data.close()
    with pytest.raises(RequestError, match="none of Phosphene's"):
        tuned(drawer, [judge], 1, folder=tmp_path)


def test_a_recipe_that_leaves_the_finite_numbers_counts_as_unrecognised(
    drawer: ph.Network, judge: ph.Network, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, recipe: ph.Recipe, **others: object) -> ph.Rendering:
        if recipe.name != "quick":
            raise RenderError("the ascent left the finite numbers")
        return ph.render(drawer, ["logit:cat", "logit:ship"], recipe=recipe, frames=0)

    monkeypatch.setattr(tuning, "render", fail)
    found = tuned(drawer, [judge], 3)
    assert [trial.recognisability for trial in found.trials[1:]] == [FLOOR, FLOOR]
    assert found.trials[1].notes == ("the ascent left the finite numbers",)
    assert found.best == found.base


def test_every_recipe_outlives_toml(dozen: Tuning, tmp_path: Path) -> None:
    for trial in dozen.trials:
        path = tmp_path / "recipe.toml"
        path.write_text(trial.recipe.to_toml())
        assert read_recipe(str(path)) == trial.recipe


def test_a_trial_outlives_its_words(dozen: Tuning) -> None:
    assert [Trial.from_dict(said) for said in dozen.to_dict()["items"]] == list(dozen.trials)


@pytest.mark.parametrize("base", [BASE, ph.Recipe("bare"), pixels.recipe(SHAPE), natural.recipe(SHAPE), natural.fast(SHAPE)])
def test_every_setting_reaches_the_recipe(base: ph.Recipe) -> None:
    knobs = space(base, SHAPE)
    same = {knob.name: knob.base for knob in knobs}
    assert searched(base, knobs, same, "tuned") is base
    for knob in knobs:
        ends = knob.choices or (knob.low, knob.high)
        assert min(ends) <= knob.base <= max(ends)
        other = next(end for end in (*ends[::-1],) if knob.tidied(end) != knob.base)
        assert searched(base, knobs, same | {knob.name: knob.tidied(other)}, "tuned") != base.replace(name="tuned")


def test_what_a_canvas_keeps_is_not_searched() -> None:
    names = {knob.name for knob in space(natural.recipe(SHAPE), SHAPE)}
    assert {"contrast", "shift"} <= names
    assert not names & {"decay", "blur", "total_variation", "jitter"}
    assert {"decay", "blur", "total_variation", "jitter"} <= {knob.name for knob in space(pixels.recipe(SHAPE), SHAPE)}


def test_a_part_that_stands_twice_is_left_as_it_is() -> None:
    base = BASE.replace(views=(ph.noise(0.1), ph.noise(0.2), ph.scale(1, 2), ph.scale(0.5, 1)))
    assert not {knob.name for knob in space(base, SHAPE)} & {"noise", "scale_low", "scale_high"}


def test_a_scale_of_one_is_no_view() -> None:
    base = pixels.recipe(SHAPE)
    knobs = space(base, SHAPE)
    same = {knob.name: knob.base for knob in knobs}
    found = searched(base, knobs, same | {"scale_low": 1.0, "scale_high": 1.0}, "tuned")
    assert not any(isinstance(view, type(ph.scale(1, 1))) for view in found.views)
    turned = searched(base, knobs, same | {"scale_low": 1.1, "scale_high": 1.0}, "tuned")
    assert ph.scale(1.0, 1.1) in turned.views


def test_a_perturbed_copy_is_near_and_leaves_the_network_as_it_was(standard: ph.Network) -> None:
    before = copy.deepcopy(standard.module.state_dict())
    twin = perturbed(standard, strength=0.01)
    assert twin is not None
    after, state = twin.module.state_dict(), standard.module.state_dict()
    assert all(torch.equal(before[name], state[name]) for name in before)
    assert all(torch.equal(before[name], after[name]) for name in before if "running" in name)
    weights = [name for name, _ in standard.module.named_parameters()]
    ratio = torch.cat([(after[name] / before[name]).flatten() for name in weights if before[name].abs().min() > 0])
    assert ratio.mean() == pytest.approx(1, abs=1e-3)
    assert ratio.std() == pytest.approx(0.01, rel=0.02)


def test_a_perturbed_copy_is_its_seeds(judge: ph.Network) -> None:
    one, same, other = (perturbed(judge, seed) for seed in (0, 0, 1))
    assert one is not None
    assert same is not None
    assert other is not None
    assert one.sha256() == same.sha256()
    assert one.sha256() != other.sha256()


class Shared(nn.Module):
    """Says that it is copied, and is not."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 5, 3)

    def __deepcopy__(self, memo: object) -> Shared:
        return self

    def forward(self, x: Tensor) -> Tensor:
        scores: Tensor = self.conv(x).mean((2, 3))
        return scores


class Uncopied(Shared):
    def __deepcopy__(self, memo: object) -> Shared:
        raise TypeError("not to be copied")


@pytest.mark.parametrize("kind", [Shared, Uncopied])
def test_a_network_that_cannot_be_copied_judges_alone(kind: type[Shared]) -> None:
    module = kind()
    before = module.conv.weight.detach().clone()
    net = ph.Network(module, ph.Preprocess(size=8))
    assert perturbed(net) is None
    found = tune(net, [0, 1], trials=2, base=BASE)
    assert "it cannot be copied" in found.notes[0]
    assert torch.equal(module.conv.weight, before)


def test_without_a_judge_the_network_judges_itself_and_says_so(drawer: ph.Network) -> None:
    found = tuned(drawer, [], 2)
    assert "which is weaker evidence" in found.notes[0]
    drawn = ph.render(drawer, ["logit:cat", "logit:ship"], recipe=BASE, frames=0)
    assert found.base.recognisability == jury_of(drawer, [], 0)(drawn.pictures, ["cat", "ship"]).score


def test_a_judge_that_draws_is_told(drawer: ph.Network, judge: ph.Network) -> None:
    assert "drawer is the network that draws" in jury_of(drawer, [drawer, judge], 0).notes[0]
    assert jury_of(drawer, [judge], 0).notes == ()


def test_judges_count_alike(drawer: ph.Network, judge: ph.Network) -> None:
    pictures = torch.rand((2, 3, 32, 32), generator=torch.Generator().manual_seed(0))
    alone = [jury_of(drawer, [one], 0)(pictures, ["cat", "ship"]) for one in (drawer, judge)]
    both = jury_of(drawer, [drawer, judge], 0)(pictures, ["cat", "ship"])
    assert both.score == pytest.approx((alone[0].score + alone[1].score) / 2)


def test_what_a_judge_rules_out_counts_as_the_floor(robust: ph.Network) -> None:
    drawn = ph.render(robust, "logit:cat", recipe="pixels", steps=20, frames=0)
    worst = int(robust.scores(drawn.pictures)[0].argmin())
    assert jury_of(robust, [robust], 0)(drawn.pictures, [str(worst)]) == Verdict(FLOOR, 0.0, 0.0)


def test_changes_of_view_keep_a_flat_picture_but_for_noise() -> None:
    flat = torch.full((2, 3, 9, 14), 0.5)
    *views, noisy = changed(flat, 0)
    for one in views:
        torch.testing.assert_close(one, flat)
    assert noisy.std() > 0
    assert torch.equal(noisy, changed(flat, 0)[-1])


def test_two_turns_undo_each_other() -> None:
    y, x = torch.meshgrid(torch.linspace(-1, 1, 33), torch.linspace(-1, 1, 47), indexing="ij")
    picture = torch.exp(-8 * ((x - 0.3) ** 2 + (y - 0.1) ** 2)).expand(1, 1, 33, 47)
    right = changed(picture, 0)[2]
    assert (right - picture).abs().max() > 0.3
    torch.testing.assert_close(changed(right, 0)[3][..., 10:-10], picture[..., 10:-10], atol=0.05, rtol=0)


@pytest.mark.parametrize(
    ("how", "words"),
    [
        ({"trials": 0}, "trials is 0; 1 to 10000 is needed"),
        ({"seed": -1}, "seed is -1"),
        ({"base": "nonsense"}, "no recipe 'nonsense'"),
        ({"size": 0}, "size is 0"),
        ({"classes": []}, "no classes; a sequence of names or indices is needed"),
        ({"classes": ["kat"]}, "no class 'kat'; nearest: cat"),
    ],
)
def test_a_wrong_request_is_told(drawer: ph.Network, how: dict[str, Any], words: str) -> None:
    classes = how.get("classes", ["cat"])
    others = {key: value for key, value in how.items() if key != "classes"}
    with pytest.raises(ph.PhospheneError, match=words):
        tune(drawer, classes, **{"trials": 1, "base": BASE, **others})


def test_a_judge_that_knows_no_such_class_is_told_before_anything_is_drawn(drawer: ph.Network) -> None:
    with pytest.raises(RequestError, match="judge 'Sequential' does not know the class: no class 'cat'"):
        tune(drawer, ["cat"], [network("plain")], trials=1, base=BASE)


def test_a_network_of_one_score_cannot_judge(drawer: ph.Network) -> None:
    single = ph.Network(nn.Sequential(nn.Conv2d(3, 1, 8), nn.Flatten()), ph.Preprocess(size=8), name="one")
    with pytest.raises(RequestError, match="judge 'one' gives one score"):
        tune(single, [0], trials=1, base=BASE)


def test_classes_whose_names_do_not_lead_back_are_asked_for_by_index(drawer: ph.Network) -> None:
    names = ["crane", "crane", *drawer.classes[2:]]
    net = ph.Network(drawer.module, drawer.preprocess, names)
    found = tune(net, [0, 1, "cat", 3], [drawer], trials=1, base=BASE)
    apart = tune(drawer, [0, 1, 3], [drawer], trials=1, base=BASE)
    assert found.base.recognisability == apart.base.recognisability


def test_without_optuna_the_extra_is_named(drawer: ph.Network, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(ExtraError, match=r"pip install 'phosphene\[tune\]'"):
        tune(drawer, ["cat"], trials=1)


def test_what_optuna_tells_is_as_loud_as_before(drawer: ph.Network, capfd: pytest.CaptureFixture[str]) -> None:
    import optuna

    before = optuna.logging.get_verbosity()
    tuned(drawer, [], 2)
    assert optuna.logging.get_verbosity() == before
    assert capfd.readouterr().err == ""


@pytest.mark.slow
def test_a_tuned_recipe_is_recognised_better_at_other_seeds(standard: ph.Network, robust: ph.Network) -> None:
    found = tune(standard, standard.classes, [robust], trials=25)
    jury, every = jury_of(standard, [robust], 0), [ph.logit(name) for name in standard.classes]
    scores = [
        sum(
            jury(ph.render(standard, every, recipe=recipe, seed=seed, frames=0).pictures, standard.classes).score
            for seed in (1, 2)
        )
        for recipe in (found.best.recipe, found.base.recipe)
    ]
    assert scores[0] > scores[1]


def test_total_variation_is_searched_up_to_what_weighs_as_much_as_a_score() -> None:
    """It sums over all numbers of a picture."""
    (knob,) = (knob for knob in space(pixels.recipe((3, 20, 30)), (3, 20, 30)) if knob.name == "total_variation")
    assert knob.high == pytest.approx(100 / (3 * 20 * 30))


def test_a_scale_of_one_size_that_is_not_one_is_a_view() -> None:
    base = pixels.recipe(SHAPE)
    same = {knob.name: knob.base for knob in space(base, SHAPE)}
    found = searched(base, space(base, SHAPE), same | {"scale_low": 1.2, "scale_high": 1.2}, "tuned")
    assert ph.scale(1.2, 1.2) in found.views
