"""From texts to objectives and back."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as some

import phosphene as ph
from phosphene.errors import PhospheneError, RequestError, UnknownNameError
from phosphene.objectives.expression import Objective
from phosphene.objectives.spec import LONGEST, MOST_TERMS, coerce, several
from phosphene.objectives.words import quoted, split, unquoted
from tests.nets import made

ODD = [
    "7",
    " a",
    "a ",
    "a  b",
    "a: b",
    'say "hi"',
    "+ b",
    "a - b",
    "- a",
    "a + ",
    "a -",
    "é: ü",
    "\\",
    "\n",
    "2*x",
    "١",
    "²",
    "a +b",
]
names = some.sampled_from(ODD) | some.text(min_size=1) | some.text("ab +-*:\"\\'17[]., \n", min_size=1)
places = some.integers(0, 999_999_999)
finite = some.floats(allow_nan=False, allow_infinity=False)
vectors = some.lists(finite, min_size=1, max_size=4).filter(any)
units = (
    some.builds(ph.logit, names | places)
    | some.builds(ph.probability, names | places)
    | some.builds(ph.channel, names, places)
    | some.builds(ph.neuron, names, places, places, places)
    | some.builds(ph.layer, names, some.sampled_from(["sum", "squares"]))
    | some.builds(ph.direction, names, vectors)
)
scaled = some.builds(lambda c, unit: c * unit, some.floats(-1e300, 1e300), units) | units
objectives = some.lists(scaled, min_size=1, max_size=4).map(lambda terms: sum(terms[1:], terms[0]))


@given(objectives)
def test_every_text_parses_back(objective: Objective) -> None:
    again = ph.parse(str(objective))
    assert again == objective
    assert (str(again), hash(again)) == (str(objective), hash(objective))


@given(objectives)
def test_what_names_no_file_is_safe_to_obey(objective: Objective) -> None:
    assert ph.parse(str(objective), files=False) == objective


@given(names)
def test_every_name_stands_in_quotes_and_comes_out_again(name: str) -> None:
    assert unquoted(quoted(name)) == name


@given(some.lists(names.map(quoted), min_size=1, max_size=4))
def test_what_is_joined_by_colons_splits_there(parts: list[str]) -> None:
    assert split(":".join(parts), ":") == parts


@given(
    some.text()
    | some.text('logitchaner: +-*"\\0123456789.e[],')
    | some.builds(str.__add__, some.sampled_from(["logit:", "direction:a:", "direction:a:[", "custom:", "- 1e"]), some.text())
)
@example("direction:a:[1" + "0" * 400 + "]")
@example("direction:a:[1e999]")
@example("direction:a:[[[" * 9)
@example("direction:a:" + "[" * 100_000)
@example('direction:a:"' + "n" * 5000 + '.npy"')
@example('direction:a:"\\u0000.npy"')
@example("direction:a:[null, {}]")
@example("1e999*logit:cat")
@example("1e308*logit:cat + 1e308*logit:cat")
@example("1" + "0" * 5000 + "*logit:cat")
@example("logit:" + "9" * 5000)
@example('logit:"\\ud800"')
@example("-")
@example(" + ")
def test_any_text_is_an_objective_or_an_error_of_ours(text: str) -> None:
    with suppress(PhospheneError):
        assert isinstance(ph.parse(text), Objective)


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("logit:cat", ph.logit("cat")),
        ("  logit:cat  ", ph.logit("cat")),
        ("logit:3", ph.logit(3)),
        ('logit:"3"', ph.logit("3")),
        ("probability:polar bear", ph.probability("polar bear")),
        ("-logit:cat", -ph.logit("cat")),
        ("- 2 * logit:cat", -2 * ph.logit("cat")),
        (".5*logit:cat  +  1e-3*logit:dog", 0.5 * ph.logit("cat") + 0.001 * ph.logit("dog")),
        ("logit:black-and-tan - logit:dog", ph.logit("black-and-tan") - ph.logit("dog")),
        ('logit:"a - b"', ph.logit("a - b")),
        ("channel:stage3.0:5", ph.channel("stage3.0", 5)),
        ("neuron:stage3.0:5,4,4", ph.neuron("stage3.0", 5, 4, 4)),
        ("neuron:fc:5", ph.neuron("fc", 5)),
        ("channel:relu@1:5", ph.channel("relu@1", 5)),
        ('layer:"0.conv":squares', ph.layer("0.conv", "squares")),
        ("layer:m:sum", ph.layer("m")),
        ("direction:m:[1, -2.5e-3]", ph.direction("m", [1, -0.0025])),
    ],
)
def test_a_text_is_read_as_it_is_meant(text: str, wanted: Objective) -> None:
    assert ph.parse(text) == wanted


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "a text such as logit:cat"),
        ("   ", "a text such as logit:cat"),
        ("l" * (LONGEST + 1), "a text such as logit:cat"),
        ("logit", "objective 'logit'; logit:CLASS is needed"),
        ("logit:a:b", "logit:CLASS is needed"),
        ("logit:", "a name, or one in double quotes"),
        ('logit:"cat', "its quotes do not close"),
        ('logit:ca"t"', "a name, or one in double quotes"),
        ("channel:m", "channel:LAYER:channel is needed"),
        ("channel:m:x", "place 'x'; whole numbers joined by commas"),
        ("channel:m:-1", "place '-1'; whole numbers"),
        ("channel:m:1,2", "channel '1,2'; one number"),
        ("neuron:m:1,", "place '1,'; whole numbers"),
        ("direction:m:[1, 2", "a list of numbers as in JSON"),
        ("direction:m:[]", "finite numbers, one per channel"),
        ("direction:m:[NaN]", "finite numbers, one per channel"),
        ("2*2*logit:cat", "no kind of objective"),
    ],
)
def test_a_wrong_text_says_what_would_be_right(text: str, words: str) -> None:
    with pytest.raises(PhospheneError, match=words) as caught:
        ph.parse(text)
    assert "\n" not in str(caught.value)


def test_an_unknown_kind_names_the_nearest_and_the_text() -> None:
    with pytest.raises(UnknownNameError, match=r"no kind of objective 'logits'; nearest: logit, .*'logits:cat'"):
        ph.parse("logits:cat")


def test_an_unknown_custom_objective_is_refused() -> None:
    with pytest.raises(UnknownNameError, match="no objective 'nothing'"):
        ph.parse("custom:nothing")


def test_a_text_from_elsewhere_must_not_name_a_file() -> None:
    with pytest.raises(RequestError, match="names a file, which a record from elsewhere must not"):
        ph.parse("logit:1 - direction:m:v.npy", files=False)


def test_no_file_is_touched_for_a_text_from_elsewhere(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match="names a file"):
        ph.parse(f'direction:m:"{tmp_path}/none.npy"', files=False)


def test_what_is_no_text_is_refused() -> None:
    with pytest.raises(RequestError, match="objective 5; a text"):
        ph.parse(5)  # type: ignore[arg-type]  # the mistake


def test_an_objective_is_coerced_to_itself() -> None:
    one = ph.logit("cat")
    assert coerce(one) is one
    assert coerce("logit:cat") == one


def test_one_text_may_name_many_units() -> None:
    def texts(text: str) -> list[str]:
        return [str(one) for one in several(text, lambda address: 3)]

    assert texts("channel:a:2-4") == ["channel:a:2", "channel:a:3", "channel:a:4"]
    assert texts('channel:"0":*') == [f'channel:"0":{i}' for i in range(3)]
    assert texts("neuron:fc:0-1") == ["neuron:fc:0", "neuron:fc:1"]
    assert texts("channel:a:5 - logit:cat") == ["channel:a:5 - logit:cat"]


@pytest.mark.parametrize("text", ["channel:a:4-2", "channel:a:0-4096", "channel:a:-3", "channel:a:1-2-3"])
def test_no_units_or_too_many_are_refused(text: str) -> None:
    with pytest.raises(RequestError, match="channel:a"):
        several(text, lambda address: 3)


def test_channels_are_named_by_a_range() -> None:
    assert ph.channel("a", range(2)) == [ph.channel("a", 0), ph.channel("a", 1)]


def test_a_text_of_very_many_terms_is_refused() -> None:
    assert len(ph.parse(" + ".join(f"logit:{i}" for i in range(MOST_TERMS))).terms) == MOST_TERMS
    with pytest.raises(RequestError, match="has too many terms; up to 16,384 are read"):
        ph.parse(" + ".join(["logit:1"] * (MOST_TERMS + 1)))


def test_text_is_split_at_most_so_often() -> None:
    assert split("a:b:c:d", ":", 2) == ["a", "b", "c:d"]
    assert split('a:"b:c":d:e', ":", 2) == ["a", '"b:c"', "d:e"]
    assert split('a + "b + c""d + e" - f', r"\s([+-])\s") == ["a", "+", '"b + c""d + e"', "-", "f"]


CATS = ph.Network(made("plain", 12), ph.Preprocess(12), ["cat", "Great Dane, dog", "logit:2", "4", "a - b"])


@pytest.mark.parametrize(
    ("given", "index"),
    [
        (3, 3),
        (np.int64(1), 1),
        (torch.tensor(2), 2),
        ("cat", 0),
        ("CAT", 0),
        ("dog", 1),
        ("2", 2),
        ("4", 3),
        ("logit:2", 2),
        ("a - b", 4),
    ],
)
def test_a_class_means_its_logit(given: Any, index: int) -> None:
    """A class called 4 comes before the fifth, and what reads as an objective is one."""
    meant = coerce(given, CATS.index).resolved(CATS.index)
    assert meant == ph.logit(index)


def test_several_classes_are_one_for_each_picture() -> None:
    photos = torch.rand(3, 3, 12, 12)
    right = ph.explain(CATS, photos, ["logit:0", "logit:3", "logit:1"]).values
    several: list[Any] = [["cat", 3, "dog"], [0, 3, 1], torch.tensor([0, 3, 1]), np.array([0, 3, 1])]
    for asked in several:
        assert torch.equal(ph.explain(CATS, photos, asked).values, right)


def test_every_verb_takes_classes() -> None:
    photo = torch.rand(1, 3, 12, 12)
    assert torch.equal(ph.cam(CATS, photo, 1).values, ph.cam(CATS, photo, "logit:1").values)
    assert torch.equal(ph.render(CATS, "cat", steps=1).pictures, ph.render(CATS, "logit:cat", steps=1).pictures)
    assert torch.equal(
        ph.examples(CATS, photo, [0, 1], top=1).values, ph.examples(CATS, photo, ["logit:0", "logit:1"], top=1).values
    )
    assert ph.dream(CATS, photo, 1, octaves=1, steps=1).record.objective == "logit:1"


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ("cta", "no class or objective 'cta'; nearest: cat"),
        ("chanel:0:1", "no kind of objective 'chanel'; nearest: channel"),
        (7, "no class 7"),
        (-1, "class is -1"),
        (True, "must be one such as 'logit:cat', a class or its index, got True"),
        (1.5, "must be one such as 'logit:cat', a class or its index, got 1.5"),
        (torch.tensor([1, 2]), "must be one such as"),
    ],
)
def test_what_is_no_class_and_no_objective_is_one_sentence(given: Any, words: str) -> None:
    with pytest.raises(PhospheneError, match=words):
        coerce(given, CATS.index)
