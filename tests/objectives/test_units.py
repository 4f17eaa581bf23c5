"""Units in closed form, on activations made by hand."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import phosphene as ph
from phosphene import registry
from phosphene.errors import RequestError
from phosphene.objectives.direction import LARGEST_VECTOR
from phosphene.objectives.expression import Activations, values

SCORES = torch.tensor([[1.0, 2.0, 4.0], [0.0, -1.0, 3.0]])
FEATURES = torch.arange(8.0).reshape(2, 4)  # (b, c)
TOKENS = torch.arange(24.0).reshape(2, 3, 4)  # (b, tokens, c)
MAPS = torch.arange(48.0).reshape(2, 4, 2, 3)  # (b, c, h, w)
GIVEN: Activations = {"": SCORES, "f": FEATURES, "t": TOKENS, "m": MAPS}
SHAPES = {a: tuple((given.mT if given.ndim == 3 else given).shape[1:]) for a, given in GIVEN.items()}  # channels first


def same(objective: ph.Objective, wanted: Tensor | Sequence[float]) -> bool:
    torch.testing.assert_close(objective(GIVEN), torch.as_tensor(wanted))
    return True


def index(name: str | int) -> int:
    return {"cat": 0, "dog": 1, "ship": 2}[name] if isinstance(name, str) else name


def test_a_logit_is_the_raw_score() -> None:
    assert same(ph.logit(2), [4.0, 3.0])


def test_a_logit_by_name_is_the_one_by_index() -> None:
    assert ph.logit("ship").resolved(index) == ph.logit(2)


def test_a_name_that_is_not_resolved_is_refused_by_name() -> None:
    with pytest.raises(RequestError, match=r"class 'ship' is not resolved; call objective\.resolved"):
        ph.logit("ship")(GIVEN)


def test_a_probability_is_the_softmax() -> None:
    assert same(ph.probability(1), SCORES.exp()[:, 1] / SCORES.exp().sum(1))


def test_the_probability_of_a_single_output_is_its_sigmoid() -> None:
    given = {"": torch.tensor([[0.0], [2.0]])}
    torch.testing.assert_close(ph.probability(0)(given), 1 / (1 + torch.exp(torch.tensor([0.0, -2.0]))))


def test_a_neuron_of_a_map_is_channel_y_x() -> None:
    assert same(ph.neuron("m", 3, 1, 2), [MAPS[0, 3, 1, 2].item(), MAPS[1, 3, 1, 2].item()])


def test_a_neuron_of_tokens_is_channel_then_token() -> None:
    assert same(ph.neuron("t", 3, 1), [TOKENS[0, 1, 3].item(), TOKENS[1, 1, 3].item()])


def test_a_neuron_of_features_is_one_number() -> None:
    assert same(ph.neuron("f", 3), [3.0, 7.0])


@pytest.mark.parametrize(
    ("address", "wanted"), [("f", FEATURES[:, 2]), ("t", TOKENS[:, :, 2].mean(1)), ("m", MAPS[:, 2].mean((1, 2)))]
)
def test_a_channel_is_the_mean_over_places(address: str, wanted: Tensor) -> None:
    assert same(ph.channel(address, 2), wanted)


def test_a_channel_is_the_mean_of_its_neurons() -> None:
    neurons = [ph.neuron("m", 1, y, x)(GIVEN) for y in range(2) for x in range(3)]
    assert same(ph.channel("m", 1), torch.stack(neurons).mean(0))


@pytest.mark.parametrize("address", ["f", "t", "m"])
def test_a_layer_is_the_sum_of_all_numbers(address: str) -> None:
    assert same(ph.layer(address), [GIVEN[address][0].sum().item(), GIVEN[address][1].sum().item()])


@pytest.mark.parametrize("address", ["f", "t", "m"])
def test_a_layer_of_squares_is_the_sum_of_squares(address: str) -> None:
    assert same(ph.layer(address, "squares"), [GIVEN[address][i].square().sum().item() for i in range(2)])


@pytest.mark.parametrize("address", ["f", "t", "m"])
def test_a_direction_along_one_axis_is_that_channel(address: str) -> None:
    assert same(ph.direction(address, [0.0, 0.0, 1.0, 0.0]), ph.channel(address, 2)(GIVEN))


@pytest.mark.parametrize("address", ["f", "t", "m"])
def test_a_direction_is_the_sum_of_weighted_channels(address: str) -> None:
    weights = (0.5, -2.0, 0.0, 3.0)
    channels = sum((w * ph.channel(address, c)(GIVEN) for c, w in enumerate(weights)), torch.zeros(2))
    assert same(ph.direction(address, weights), channels)


def test_a_custom_objective_is_its_function_of_what_it_reads() -> None:
    seen: list[list[str]] = []

    def spread(given: Activations) -> Tensor:
        seen.append(sorted(given))
        return given["f"].amax(1) - given["f"].amin(1)

    assert same(ph.custom(spread, ["f", ""], "spread"), [3.0, 3.0])
    assert seen == [["", "f"]]


def test_a_custom_objective_fits_any_shapes() -> None:
    ph.custom(lambda given: given["f"].sum(1), ["f"], "sum").check({})


def test_a_custom_objective_says_what_it_gave_instead_of_one_number_per_picture() -> None:
    with pytest.raises(RequestError, match=r"custom objective 'all' gave \(2, 4\); one number per picture, \(2,\)"):
        ph.custom(lambda given: given["f"], ["f"], "all")(GIVEN)


def test_a_custom_objective_that_gives_no_tensor_says_so() -> None:
    with pytest.raises(RequestError, match="gave float; one number per picture"):
        ph.custom(lambda given: 1.0, ["f"], "one")(GIVEN)  # type: ignore[arg-type, return-value]  # the mistake


def test_a_custom_objective_parses_back_where_it_is_registered() -> None:
    mine = ph.custom(lambda given: given["f"].sum(1), ["f"], "my one: 2")
    with registry.registered("objectives", "my one: 2", mine):
        assert ph.parse(str(mine - ph.logit(0))) == mine - ph.logit(0)


def test_a_registered_thing_that_is_no_objective_is_refused() -> None:
    with (
        registry.registered("objectives", "tall", "a word"),
        pytest.raises(RequestError, match="registered objective 'tall' is str; an Objective"),
    ):
        ph.parse("custom:tall")


@pytest.mark.parametrize(
    ("function", "reads", "name", "words"),
    [
        (None, ["f"], "x", "None cannot be called"),
        (torch.sum, "f", "x", "reads 'f'; a list of addresses"),
        (torch.sum, [], "x", "a list of addresses"),
        (torch.sum, ["f"], "", "name is ''"),
    ],
)
def test_a_custom_objective_is_checked_when_it_is_made(function: object, reads: object, name: str, words: str) -> None:
    with pytest.raises(RequestError, match=words):
        ph.custom(function, reads, name)  # type: ignore[arg-type]  # the mistake


@pytest.mark.parametrize("objective", [ph.logit(2), ph.neuron("m", 3, 1, 2), ph.neuron("t", 3, 2), ph.channel("t", 3)])
def test_the_last_place_is_inside(objective: ph.Objective) -> None:
    objective.check(SHAPES)


@pytest.mark.parametrize("text", ["layer:m:squares", "direction:t:[1, 2, 3, 4]", "logit:dog"])
def test_what_fits_these_shapes_passes(text: str) -> None:
    ph.parse(text).check(SHAPES)


@pytest.mark.parametrize(
    ("objective", "words"),
    [
        (ph.logit(3), r"class 3 is outside the network's scores, which has 3: 0 to 2 is needed"),
        (ph.channel("f", 4), "channel 4 is outside f, which has 4: 0 to 3"),
        (ph.channel("t", 4), "channel 4 is outside t, which has 4: 0 to 3"),
        (ph.channel("m", 4), "channel 4 is outside m, which has 4: 0 to 3"),
        (ph.neuron("m", 0, 2, 0), "y 2 is outside m, which has 2: 0 to 1"),
        (ph.neuron("m", 0, 0, 3), "x 3 is outside m, which has 3: 0 to 2"),
        (ph.neuron("t", 0, 3), "token 3 is outside t, which has 3: 0 to 2"),
        (ph.neuron("m", 0), r"neuron:m:0 has 1 numbers; m gives \(4, 2, 3\): channel,y,x is needed"),
        (ph.neuron("f", 0, 0), "channel is needed"),
        (ph.neuron("t", 0, 0, 0), "channel,token is needed"),
        (ph.direction("m", [1.0, 2.0]), "direction has 2 numbers; m has 4 channels"),
    ],
)
def test_what_is_outside_says_the_range(objective: ph.Objective, words: str) -> None:
    with pytest.raises(RequestError, match=words):
        (ph.logit(0) - objective).check(SHAPES)


@pytest.mark.parametrize("target", [-1, True, 1.5, None, ""])
def test_a_class_that_is_no_name_and_no_index_is_refused_when_made(target: Any) -> None:
    for make in (ph.logit, ph.probability):
        with pytest.raises(RequestError, match=r"class is .* is needed"):
            make(target)


@pytest.mark.parametrize("number", [-1, True, 1.5, None, "1"])
def test_a_place_that_is_no_whole_number_is_refused_when_made(number: Any) -> None:
    with pytest.raises(RequestError, match=r"channel is .* is needed"):
        ph.channel("m", number)
    with pytest.raises(RequestError, match=r"neuron's place is .* is needed"):
        ph.neuron("m", 0, number)


@pytest.mark.parametrize("address", ["", None, 3])
def test_a_layer_that_is_no_address_is_refused_when_made(address: Any) -> None:
    with pytest.raises(RequestError, match=r"layer .*; an address as `phosphene layers` lists them"):
        ph.layer(address)


def test_a_layer_of_something_else_is_refused() -> None:
    with pytest.raises(RequestError, match="layer of 'cubes'; sum or squares"):
        ph.parse("layer:m:cubes")


def saved(path: Path, array: np.ndarray) -> Path:
    np.save(path, array)
    return path


def test_a_direction_from_a_file_is_the_one_given_by_numbers(tmp_path: Path) -> None:
    file = saved(tmp_path / "v 1.npy", np.array([1.0, -2.0, 0.5, 0.0], dtype=np.float32))
    read = ph.direction("m", file)
    assert read == ph.direction("m", torch.tensor([1.0, -2.0, 0.5, 0.0]))
    assert ph.parse(str(read)) == read
    assert str(file) in str(read)


def test_an_inlined_direction_names_no_file(tmp_path: Path) -> None:
    read = ph.direction("m", saved(tmp_path / "v.npy", np.array([1.0, -2.5])))
    assert str(read.inlined()) == "direction:m:[1.0, -2.5]"
    assert ph.parse(str(read.inlined()), files=False) == read


@pytest.mark.parametrize(
    "array",
    [np.zeros(4), np.array([1.0, np.nan]), np.array([1.0, np.inf]), np.ones((2, 2)), np.ones(()), np.ones(0), np.array(["a"])],
    ids=["zeros", "nan", "infinite", "two axes", "no axis", "empty", "text"],
)
def test_a_file_without_a_usable_direction_is_refused(tmp_path: Path, array: np.ndarray) -> None:
    with pytest.raises(RequestError, match=r"direction is .*one.* per channel"):
        ph.direction("m", saved(tmp_path / "v.npy", array))


def test_a_pickled_direction_is_refused_unread(tmp_path: Path) -> None:
    file = tmp_path / "v.npy"
    np.save(file, np.array([{"a": 1}], dtype=object), allow_pickle=True)
    with pytest.raises(RequestError, match="cannot be read: Object arrays cannot be loaded"):
        ph.direction("m", file)


@pytest.mark.parametrize("content", [b"", b"\x93NUMPY\x01\x00", b"text", np.random.default_rng(0).bytes(300)])
def test_a_damaged_direction_file_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "v.npy").write_bytes(content)
    with pytest.raises(RequestError, match=r"^direction '.* cannot be read: "):
        ph.direction("m", str(tmp_path / "v.npy"))


def test_a_truncated_direction_file_is_refused(tmp_path: Path) -> None:
    file = saved(tmp_path / "v.npy", np.ones(100))
    file.write_bytes(file.read_bytes()[:-50])
    with pytest.raises(RequestError, match="cannot be read"):
        ph.direction("m", file)


def test_a_direction_file_too_large_is_refused_unread(tmp_path: Path) -> None:
    with (tmp_path / "v.npy").open("wb") as file:
        file.truncate(17 * LARGEST_VECTOR)  # a hole: it takes no room
    with pytest.raises(RequestError, match=r"not a \.npy file of up to"):
        ph.direction("m", tmp_path / "v.npy")


@pytest.mark.parametrize("name", ["none.npy", "folder.npy", "v.txt", "n" * 400 + ".npy", "nul\0.npy"])
def test_a_place_without_a_direction_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / "folder.npy").mkdir()
    (tmp_path / "v.txt").write_text("1")
    with pytest.raises(RequestError, match=r"^direction '.* (is not a .npy file|cannot be read)"):
        ph.direction("m", str(tmp_path / name))


def test_a_direction_of_words_is_refused() -> None:
    with pytest.raises(RequestError, match=r"direction is \['a'\]; one number per channel"):
        ph.direction("m", ["a"])  # type: ignore[list-item]  # the mistake


def test_values_are_each_objective_at_its_own_picture() -> None:
    objectives = [ph.parse("channel:m:1 - 2*logit:0"), ph.parse("neuron:t:3,1 + layer:f:squares")]
    one_by_one = [objective({a: t[i : i + 1] for a, t in GIVEN.items()}) for i, objective in enumerate(objectives)]
    torch.testing.assert_close(values(objectives, GIVEN), torch.cat(one_by_one))


def test_a_value_has_a_gradient_in_its_own_picture_alone() -> None:
    maps = MAPS.clone().requires_grad_()
    values([ph.channel("m", 0), ph.channel("m", 1)], {"m": maps}).sum().backward()
    wanted = torch.zeros_like(MAPS)
    wanted[0, 0], wanted[1, 1] = 1 / 6, 1 / 6
    assert maps.grad is not None
    torch.testing.assert_close(maps.grad, wanted)


def test_a_direction_with_a_power_asks_for_the_angle_too() -> None:
    activations = {"l": torch.tensor([[[[3.0]], [[4.0]]], [[[0.0]], [[5.0]]]])}  # cos 0.6 and 0 with (1, 0)
    values = ph.direction("l", [2.0, 0.0], power=2)(activations)
    torch.testing.assert_close(values, torch.tensor([6 * 0.6**2, 0.0]))
    torch.testing.assert_close(ph.direction("l", [2.0, 0.0])(activations), torch.tensor([6.0, 0.0]))


def test_a_direction_with_a_power_parses_back() -> None:
    for power in (0.0, 1.5, 2, 1e-05):
        objective = ph.direction("l", [1.0, -2.0], power=power)
        assert ph.parse(str(objective)) == objective


@pytest.mark.parametrize("power", ["-1", "x", "17", ""])
def test_a_power_out_of_range_is_refused(power: str) -> None:
    with pytest.raises(ph.PhospheneError, match="power"):
        ph.parse(f"direction:l:[1.0]:{power}")
