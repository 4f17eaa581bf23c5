from __future__ import annotations

import pytest

import phosphene as ph
from phosphene.rendering.settings import CANVAS, changed, grid, knobs, varied

PLAIN = ph.Recipe("plain", priors=(0.5 * ph.l2(),), projections=(ph.blur(1.0, every=4),))


def test_numbers_of_a_recipe_vary() -> None:
    assert varied(PLAIN, "lr", 0.3).lr == 0.3
    assert varied(PLAIN, "steps", 7.0).steps == 7


def test_a_part_that_is_there_changes_its_strength_alone() -> None:
    assert varied(PLAIN, "blur", 2.0).projections == (ph.blur(2.0, every=4),)
    assert varied(PLAIN, "l2", 0.1).priors == (0.1 * ph.l2(),)


def test_nothing_takes_a_part_away_and_something_puts_it_last() -> None:
    assert varied(PLAIN, "l2", 0).priors == ()
    assert varied(PLAIN, "l1", 0.2).priors == (0.5 * ph.l2(), 0.2 * ph.l1())
    assert varied(PLAIN, "jitter", 0.1).views == (ph.jitter(0.1),)


def test_a_grid_is_every_combination_the_last_fastest() -> None:
    words = [words for words, _ in grid(PLAIN, {"l2": [0, 1], "blur": [0.5, 2]})]
    assert words == ["l2 0, blur 0.5", "l2 0, blur 2", "l2 1, blur 0.5", "l2 1, blur 2"]


@pytest.mark.parametrize("key", [key for key in knobs() if key not in CANVAS])
def test_every_knob_turns(key: str) -> None:
    assert varied(PLAIN, key, 1) != varied(PLAIN, key, 2 if key in ("steps", "samples", "patience", "l1", "l2") else 0.5)


def test_what_cannot_be_varied_is_told() -> None:
    with pytest.raises(ph.PhospheneError, match="no setting 'blurr'; nearest: blur"):
        varied(PLAIN, "blurr", 1)
    with pytest.raises(ph.PhospheneError, match="no setting 'scale'"):
        varied(PLAIN, "scale", 1)
    with pytest.raises(ph.PhospheneError, match="nothing to vary"):
        list(grid(PLAIN, {}))
    twice = ph.Recipe("twice", views=(ph.jitter(0.1), ph.jitter(0.2)))
    with pytest.raises(ph.PhospheneError, match="which one to vary is not clear"):
        varied(twice, "jitter", 0.3)


def test_a_setting_is_changed_by_its_text() -> None:
    assert changed(PLAIN, "lr=0.3").lr == 0.3
    assert changed(PLAIN, "optimiser=adam").optimiser == "adam"
    assert changed(PLAIN, "blur=0").projections == ()
    assert changed(PLAIN, "start=noise").canvas == ph.pixels("noise")


def test_a_canvas_is_changed_with_its_numbers() -> None:
    phase = changed(ph.Recipe("p"), "canvas=phase")
    assert changed(phase, "contrast=0.5").canvas == ph.phase(contrast=0.5)
    assert changed(phase, "freedom=1").canvas == ph.phase(freedom=1.0)
    assert changed(phase, "grid=7").canvas == ph.phase(grid=7)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("lr", "setting 'lr'; KEY=VALUE is needed"),
        ("lr=", "KEY=VALUE is needed"),
        ("lr=fast", "setting 'lr=fast'; lr takes a number"),
        ("lrr=1", "no setting 'lrr'; nearest: lr"),
        ("contrast=2", "the canvas 'Pixels' of recipe 'plain' has no contrast"),
        ("canvas=phrase", "no canvase 'phrase'; nearest: phase"),
        ("start=nowhere", "start 'nowhere'; mean, zeros, noise or the path"),
        ("optimiser=lbfgs", "optimiser 'lbfgs'; sgd, adam or nadam"),
        ("l2=-1", "weight of a prior"),
    ],
)
def test_a_wrong_setting_is_answered_in_a_sentence(text: str, words: str) -> None:
    with pytest.raises(ph.PhospheneError, match=words):
        changed(PLAIN, text)
