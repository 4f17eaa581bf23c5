from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import phosphene as ph
from phosphene import registry
from phosphene.errors import RequestError
from phosphene.rendering.recipe import find_recipe

FULL = ph.Recipe(
    name="mine",
    canvas=ph.pixels("noise", 0.1),
    optimiser="adam",
    priors=(0.5 * ph.l2(), ph.l1(), 2 * ph.total_variation(1.5)),
    projections=(ph.decay(0.1), ph.blur(0.5, every=4)),
    views=(ph.jitter(0.1), ph.rotate(10), ph.scale(0.9, 1.1), ph.noise(0.2)),
)


@pytest.mark.parametrize("name", [*registry.names("recipes"), "mine"])
def test_a_recipe_is_data_that_comes_back(name: str) -> None:
    recipe = FULL if name == "mine" else find_recipe(name, (3, 32, 32))
    assert ph.Recipe.from_dict(recipe.to_dict()) == recipe


@pytest.mark.parametrize("name", registry.names("recipes"))
@pytest.mark.parametrize("shape", [(1, 28, 28), (3, 224, 160), (24, 7, 9)])
def test_recipes_fit_every_shape(name: str, shape: tuple[int, int, int]) -> None:
    assert find_recipe(name, shape).steps > 0


@given(st.integers(1, 400), st.floats(0, 1))
def test_the_rate_never_grows_and_never_is_0(steps: int, anneal: float) -> None:
    recipe = ph.Recipe("r", lr=1.0, steps=steps, anneal=anneal)
    rates = [recipe.rate(step) for step in range(steps)]
    assert rates == sorted(rates, reverse=True)
    assert 0 < rates[-1] <= rates[0] <= 1


def test_the_rate_falls_linearly_over_the_last_share() -> None:
    recipe = ph.Recipe("r", lr=1.0, steps=8, anneal=0.5)
    assert [recipe.rate(step) for step in range(8)] == [1, 1, 1, 1, 0.8, 0.6, 0.4, 0.2]


def test_replace_leaves_what_is_none() -> None:
    assert FULL.replace(steps=3, lr=None) == FULL.replace(steps=3)
    assert FULL.replace(steps=3).lr == FULL.lr


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"steps": 0}, "steps is 0; 1 to 1000000 is needed"),
        ({"steps": 2.5}, "a whole number is needed"),
        ({"lr": 0}, "lr is 0"),
        ({"anneal": 2}, "anneal is 2"),
        ({"optimiser": "lbfgs"}, "sgd, adam or nadam is needed"),
        ({"border": "white"}, "black, mean or reflect is needed"),
        ({"priors": (ph.decay(0.1),)}, "priors hold"),
        ({"views": ph.jitter(0.1)}, "views hold"),
    ],
)
def test_settings_that_make_no_sense_are_refused(settings: dict[str, Any], words: str) -> None:
    with pytest.raises(RequestError, match=words):
        ph.Recipe("r", **settings)


def test_an_unknown_recipe_names_the_nearest() -> None:
    with pytest.raises(ph.PhospheneError, match=r"no recipe 'pixel'; nearest: pixels"):
        find_recipe("pixel", (3, 32, 32))


def test_a_script_can_register_a_recipe_for_a_while() -> None:
    with registry.registered("recipes", "mine", FULL):
        assert find_recipe("mine", (3, 32, 32)) is FULL
    with pytest.raises(ph.PhospheneError, match="no recipe 'mine'"):
        find_recipe("mine", (3, 32, 32))


def test_what_is_registered_must_be_a_recipe() -> None:
    with registry.registered("recipes", "wrong", lambda shape: 3), pytest.raises(RequestError, match="gives int"):
        find_recipe("wrong", (3, 32, 32))


@pytest.mark.parametrize(
    "hostile",
    [
        {"name": "r", "evil": 1},
        {"name": "r", "canvas": "pixels"},
        {"name": "r", "canvas": {"kind": "os.system"}},
        {"name": "r", "priors": [{"kind": "l2", "strength": 3}]},
        {"name": "r", "priors": [{"kind": "l2", "weight": "much"}]},
        {"steps": 3},
    ],
)
def test_a_recipe_from_elsewhere_is_checked(hostile: dict[str, Any]) -> None:
    with pytest.raises(ph.PhospheneError):
        ph.Recipe.from_dict(hostile)


@pytest.mark.parametrize("name", [*registry.names("recipes"), "mine"])
def test_a_recipe_is_a_file_that_comes_back(name: str, tmp_path: Path) -> None:
    recipe = FULL if name == "mine" else find_recipe(name, (3, 224, 224))
    (tmp_path / "r.toml").write_text(recipe.to_toml())
    assert find_recipe(str(tmp_path / "r.toml"), (3, 224, 224)) == recipe


def test_a_recipe_file_may_leave_out_what_is_usual(tmp_path: Path) -> None:
    (tmp_path / "short.toml").write_text('lr = 0.5\npriors = [{kind = "l2", weight = 2.0}]\n')
    assert find_recipe(str(tmp_path / "short.toml"), (3, 32, 32)) == ph.Recipe("short", lr=0.5, priors=(2 * ph.l2(),))


@pytest.mark.parametrize("text", ["lr = ", 'lr = "much"', "colour = 3", "\x00", 'views = [{kind = "spin"}]'])
def test_a_recipe_file_that_is_none_is_told(text: str, tmp_path: Path) -> None:
    (tmp_path / "r.toml").write_text(text)
    with pytest.raises(RequestError, match=r"recipe .*r\.toml"):
        find_recipe(str(tmp_path / "r.toml"), (3, 32, 32))


def test_a_recipe_file_that_is_not_there_is_told() -> None:
    with pytest.raises(RequestError, match="cannot be read"):
        find_recipe("nowhere.toml", (3, 32, 32))


def test_auto_fits_the_size() -> None:
    assert find_recipe("auto", (3, 224, 224)).name == "natural"
    assert find_recipe("auto", (3, 32, 32)).name == "pixels"


@pytest.mark.parametrize(
    ("name", "side", "statistics", "evaluations"),
    [
        ("natural", 224, True, 512),
        ("natural", 224, False, 1024),
        ("natural", 32, True, 256),
        ("natural-fast", 224, True, 256),
        ("natural-fast", 32, False, 256),
        ("natural-sketch", 224, True, 64),
    ],
)
def test_natural_recipes_take_the_evaluations_that_are_told(name: str, side: int, statistics: bool, evaluations: int) -> None:
    recipe = find_recipe(name, (3, side, side), statistics)
    assert (recipe.name, recipe.steps * recipe.samples) == (name, evaluations)
    assert bool(recipe.layers_weight) == statistics


@pytest.mark.parametrize(
    ("side", "statistics", "name"),
    [(95, True, "pixels"), (95, False, "pixels"), (96, False, "natural"), (96, True, "natural")],
)
def test_auto_is_natural_where_there_is_room_for_shapes(side: int, statistics: bool, name: str) -> None:
    assert find_recipe("auto", (3, side, 2 * side), statistics).name == name
