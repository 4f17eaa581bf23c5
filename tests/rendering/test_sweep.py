from __future__ import annotations

import pytest

import phosphene as ph
from phosphene.rendering.sweep import grid, knobs, varied

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


@pytest.mark.parametrize("key", knobs())
def test_every_knob_turns(key: str) -> None:
    assert varied(PLAIN, key, 1) != varied(PLAIN, key, 2 if key in ("steps", "samples", "l1", "l2") else 0.5)


def test_what_cannot_be_varied_is_told() -> None:
    with pytest.raises(ph.PhospheneError, match="no setting to vary 'blurr'; nearest: blur"):
        varied(PLAIN, "blurr", 1)
    with pytest.raises(ph.PhospheneError, match="no setting to vary 'scale'"):
        varied(PLAIN, "scale", 1)
    with pytest.raises(ph.PhospheneError, match="nothing to vary"):
        list(grid(PLAIN, {}))
    twice = ph.Recipe("twice", views=(ph.jitter(0.1), ph.jitter(0.2)))
    with pytest.raises(ph.PhospheneError, match="which one to vary is not clear"):
        varied(twice, "jitter", 0.3)
