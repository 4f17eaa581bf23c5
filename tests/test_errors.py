from __future__ import annotations

import errno
import inspect
import os
import pickle

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from phosphene import errors
from phosphene.errors import FolderError, Interrupted, PhospheneError, UnknownNameError, first_line, nearest, shown

TREE = [kind for _, kind in inspect.getmembers(errors, inspect.isclass) if issubclass(kind, BaseException)]


@pytest.mark.parametrize("kind", TREE)
def test_every_error_is_a_phosphene_error_but_the_interrupt(kind: type[BaseException]) -> None:
    assert issubclass(kind, PhospheneError) or kind is Interrupted


@pytest.mark.parametrize("kind", TREE)
def test_the_tree_in_the_docstring_names_every_error(kind: type[BaseException]) -> None:
    assert kind.__name__ in str(errors.__doc__)


@pytest.mark.parametrize(
    ("kind", "builtin"),
    [
        (errors.RequestError, ValueError),
        (errors.UnknownNameError, LookupError),
        (errors.OutputError, ValueError),
        (errors.WeightsError, errors.ModelError),
        (errors.PictureError, ValueError),
        (errors.RecordError, ValueError),
        (errors.ExtraError, ImportError),
        (errors.FolderError, OSError),
        (errors.RenderError, RuntimeError),
    ],
)
def test_an_error_is_caught_as_its_builtin_kind(kind: type[BaseException], builtin: type[BaseException]) -> None:
    assert issubclass(kind, builtin)


def test_only_a_failed_ascent_has_status_one() -> None:
    statuses = {kind.__name__: kind.status for kind in TREE if issubclass(kind, PhospheneError)}
    assert {name for name, status in statuses.items() if status == 1} == {"RenderError"}
    assert set(statuses.values()) == {1, 2}


def test_unknown_name_says_what_was_given_and_the_three_nearest() -> None:
    error = UnknownNameError("class", "catt", ["dog", "cat", "cart", "ship"], "give an index")
    assert str(error) == "no class 'catt'; nearest: cat, cart, dog. give an index"
    assert error.near == ["cat", "cart", "dog"]


def test_unknown_name_among_none_says_that_there_is_none() -> None:
    assert str(UnknownNameError("recipe", "x", [])) == "no recipe 'x'; there is no recipe at all"


def test_an_interrupt_carries_what_was_finished() -> None:
    assert Interrupted([1]).partial == [1]
    assert Interrupted().partial is None


def test_a_long_value_is_cut() -> None:
    assert len(shown("x" * 1000)) == errors.SHOWN
    assert shown("a/long/path" * 100 + "/name.png").endswith("/name.png'")


def test_a_value_of_many_lines_is_shown_on_one() -> None:
    assert "\n" not in shown(torch.zeros(3, 3))


def test_a_name_that_holds_the_given_one_is_nearest() -> None:
    assert nearest("shark", ["spark", "great white shark", "bark"])[0] == "great white shark"


def test_case_does_not_matter_to_nearness() -> None:
    assert nearest("CAT", ["dog", "cat"])[0] == "cat"


@given(st.text(), st.lists(st.text()))
def test_the_nearest_are_at_most_three_different_known_names(name: str, known: list[str]) -> None:
    found = nearest(name, known)
    assert len(found) == len(set(found)) == min(3, len(set(known)))
    assert set(found) <= set(known)


def test_the_first_line_of_a_silent_error_is_its_kind() -> None:
    assert first_line(ValueError()) == "ValueError"
    assert first_line(ValueError("\n one\ntwo")) == "one"


def test_the_first_line_is_cut() -> None:
    assert len(first_line(ValueError("x" * 999))) == 200


def test_an_unknown_name_is_told_across_processes() -> None:
    error = UnknownNameError("layer", "stem2", ["stem", "stage1"])
    other = pickle.loads(pickle.dumps(error))
    assert type(other) is UnknownNameError
    assert (str(other), other.near) == (str(error), error.near)


@pytest.mark.parametrize(
    ("error", "status", "reason"),
    [
        (OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)), 1, "No space left on device"),
        (OSError(errno.EACCES, "Permission denied"), 2, "Permission denied"),
        (
            RuntimeError("lance error: IO: No space left on device (os error 28), /root/.cargo/x.rs:1:2"),
            1,
            "No space left on device",
        ),
        (RuntimeError("(sqlite3.OperationalError) database or disk is full\n[SQL: …]"), 1, "disk is full"),
    ],
)
def test_a_full_disk_is_no_fault_of_the_request(error: Exception, status: int, reason: str) -> None:
    found = FolderError.of("'out'", error)
    assert (str(found), found.status) == (f"'out' cannot be written: {reason}", status)


def test_names_of_anyones_are_told_on_one_line() -> None:
    error = UnknownNameError("class", "x", ["a\nb\x1b[31m", "y" * 1000])
    assert "'a\\nb\\x1b[31m'" in str(error)
    assert len(str(error)) < 200
    assert error.near[0] in ("a\nb\x1b[31m", "y" * 1000)
