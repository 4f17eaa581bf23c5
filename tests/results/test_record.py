"""Records: there and back, and what strangers may have written."""

from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import fields, replace
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as some

from phosphene.errors import RecordError
from phosphene.results.record import Record, environment, phosphene_version

RECORD = Record(
    model={"ref": "demo:robust", "sha256": "ab"},
    preprocess={"size": [32, 32], "mean": [0.5]},
    recipe={"name": "pixels", "steps": 2},
    size=(32, 48),
    seed=7,
    batch=("logit:3", 'logit:"é: ü"'),
    position=1,
    environment={"torch": "2", "threads": 2},
    pixels_sha256="cd",
)
GOOD: dict[str, Any] = json.loads(RECORD.to_json())
FIELDS = [f.name for f in fields(Record)]
anything = some.recursive(
    some.none() | some.booleans() | some.integers() | some.floats() | some.text(max_size=5),
    lambda inner: some.lists(inner, max_size=3) | some.dictionaries(some.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


def test_a_record_comes_back_as_it_was() -> None:
    assert Record.from_json(RECORD.to_json()) == RECORD


@given(
    some.lists(some.text(), min_size=1),
    some.integers(0, 2**63 - 1),
    some.dictionaries(some.text(), some.text() | some.integers() | some.floats(allow_nan=False, allow_infinity=False)),
)
def test_any_record_comes_back_as_it_was(batch: list[str], seed: int, recipe: dict[str, Any]) -> None:
    record = replace(RECORD, batch=tuple(batch), position=len(batch) - 1, seed=seed, recipe=recipe)
    assert Record.from_json(record.to_json()) == record


def test_the_objective_is_the_one_at_its_position_and_stands_in_the_text() -> None:
    assert RECORD.objective == 'logit:"é: ü"'
    assert GOOD["objective"] == RECORD.objective


def test_a_record_says_which_versions_made_it() -> None:
    said = environment("cpu")
    assert GOOD["phosphene"] == phosphene_version()
    assert said["device"] == "cpu"
    assert {"python", "torch", "numpy", "pillow", "machine", "cpu", "threads"} <= said.keys()


def test_more_than_is_known_is_passed_over() -> None:
    assert Record.from_json(json.dumps(GOOD | {"future": 1})) == RECORD


@pytest.mark.parametrize("name", FIELDS)
def test_a_record_without_a_field_is_refused(name: str) -> None:
    with pytest.raises(RecordError, match=f"the record cannot be obeyed: KeyError '{name}'"):
        Record.from_json(json.dumps({key: value for key, value in GOOD.items() if key != name}))


@pytest.mark.parametrize("name", [name for name in FIELDS if name != "seeds"])
@pytest.mark.parametrize("wrong", [None, True, 1.5, [], [[1, 2], [3, 4]], float("nan")])
def test_a_field_of_the_wrong_kind_is_refused(name: str, wrong: Any) -> None:
    with pytest.raises(RecordError, match="the record cannot be obeyed"):
        Record.from_json(json.dumps(GOOD | {name: wrong}))


@pytest.mark.parametrize(
    "change",
    [
        {"model": {"ref": "demo:robust"}},
        {"model": {"ref": 5, "sha256": "ab"}},
        {"batch": ["logit:3", 5]},
        {"batch": "logit:3"},
        {"position": 2},
        {"position": -1},
        {"size": [32]},
        {"size": [32, 0]},
        {"size": [32, 10**9]},
        {"size": ["32", "32"]},
        {"seed": -1},
        {"seed": 2**63},
        {"seed": 10**400},
        {"verb": "explain"},
        {"verb": ["render"]},
        {"recipe": {"lr": float("nan")}},
        {"environment": {"threads": float("inf")}},
        {"pixels_sha256": 5},
        {"phosphene": None},
    ],
)
def test_a_hostile_value_is_refused(change: dict[str, Any]) -> None:
    with pytest.raises(RecordError, match="the record cannot be obeyed"):
        Record.from_json(json.dumps(GOOD | change))


@pytest.mark.parametrize("depth", [100, 1_000, 100_000])
def test_deep_nesting_breaks_nothing(depth: int) -> None:
    text = json.dumps(GOOD | {"recipe": {"deep": "?"}}).replace('"?"', "[" * depth + "]" * depth)
    with suppress(RecordError):
        record = Record.from_json(text)
        assert Record.from_json(record.to_json()) == record


@given(some.text() | anything.map(json.dumps))
@example("")
@example("null")
@example("{}")
@example("[" * 100_000)
@example('{"seed": 1' + "0" * 10_000 + "}")
def test_any_text_is_a_record_or_an_error_of_ours(text: str) -> None:
    with pytest.raises(RecordError, match="the record cannot be obeyed"):
        Record.from_json(text)


@given(some.dictionaries(some.sampled_from(FIELDS), anything, min_size=1))
def test_a_record_of_odd_parts_is_read_or_refused(change: dict[str, Any]) -> None:
    with suppress(RecordError):
        record = Record.from_json(json.dumps(GOOD | change))
        assert Record.from_json(record.to_json()) == record


@pytest.mark.parametrize("wrong", [None, True, 1, [-1, 0], ["0", "1"], [0], [0, 1, 2]])
def test_seeds_are_as_many_as_objectives_or_none(wrong: Any) -> None:
    said = json.loads(RECORD.to_json())
    two = said | {"batch": [RECORD.objective] * 2, "position": 0}
    assert Record.from_json(json.dumps(two | {"seeds": [3, 4]})).seeds == (3, 4)
    with pytest.raises(RecordError, match="the record cannot be obeyed"):
        Record.from_json(json.dumps(two | {"seeds": wrong}))
