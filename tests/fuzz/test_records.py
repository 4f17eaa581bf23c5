"""Records and recipes of anyone's: every field in turn replaced by odd values."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from phosphene.errors import RequestError
from phosphene.network.load import parse as parse_reference
from phosphene.rendering.recipe import Recipe, find_recipe, read_recipe
from phosphene.results.record import Record

from .held import ODD, held


def replaced(value: Any) -> Iterator[Any]:
    """The value with each of its fields, at any depth, odd in turn."""
    yield from ODD
    keys = list(value) if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ()
    for key in keys:
        for inner in replaced(value[key]):
            other = copy.copy(value)
            other[key] = inner
            yield other


def recipes(name: str) -> Iterator[Any]:
    return replaced(json.loads(json.dumps(find_recipe(name, (3, 128, 128)).to_dict())))


@pytest.mark.parametrize("name", ["pixels", "natural", "olah2017"])
def test_recipes(name: str) -> None:
    for values in recipes(name):
        if isinstance(values, dict):
            found = held(partial(Recipe.from_dict, values))
            if isinstance(found, Recipe):
                assert Recipe.from_dict(json.loads(json.dumps(found.to_dict()))) == found


def test_records() -> None:
    record = Record({"ref": "demo:standard", "sha256": "0"}, {}, {}, (8, 8), 1, ("logit:cat",), 0, {"threads": 1}, seeds=(1,))
    for values in replaced(json.loads(record.to_json())):
        held(partial(Record.from_json, json.dumps(values)))


def test_deep_toml(tmp_path: Path) -> None:
    file = tmp_path / "deep.toml"
    file.write_text("a = " + "[" * 5000)
    assert isinstance(held(lambda: read_recipe(str(file))), RequestError)


@pytest.mark.parametrize(
    "reference",
    ["hf:/a/folder", "hf:a/b", "hf:here", "hf:./here", "timm:hf-hub:a/b", "timm:local-dir:/a", "demo:../a", "a:b", "a.pt2"],
)
def test_what_a_record_must_not_choose(reference: str) -> None:
    assert parse_reference(reference).runs_code


@pytest.mark.parametrize("reference", ["demo:standard", "torchvision:resnet50?size=64", "timm:resnet18"])
def test_what_a_record_may_choose(reference: str) -> None:
    assert not parse_reference(reference).runs_code
