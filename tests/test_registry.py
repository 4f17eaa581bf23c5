from __future__ import annotations

from collections.abc import Iterator
from importlib.metadata import EntryPoint

import pytest

from phosphene import registry
from phosphene.errors import ExtraError, RequestError, UnknownNameError

KINDS = ("sources", "recipes", "canvases", "priors", "projections", "views")


@pytest.fixture
def entries(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[EntryPoint]]:
    """The entry points that seem to be installed."""
    found: list[EntryPoint] = []
    monkeypatch.setattr(registry, "entry_points", lambda group: [e for e in found if e.group == group])
    registry._entries.cache_clear()
    yield found
    registry._entries.cache_clear()


@pytest.mark.parametrize("kind", KINDS)
def test_everything_of_ours_is_found(kind: str) -> None:
    assert registry.names(kind)
    assert all(callable(registry.find(kind, name)) for name in registry.names(kind))


def test_names_are_sorted() -> None:
    assert registry.names("sources") == sorted(registry.names("sources"))
    assert "demo" in registry.names("sources")


def test_a_kind_that_nobody_fills_is_empty() -> None:
    assert registry.names("nothings") == []


def test_an_unknown_name_tells_the_nearest() -> None:
    with pytest.raises(UnknownNameError, match=r"no recipe 'pixel'; nearest: pixels"):
        registry.find("recipes", "pixel")


def test_a_registered_thing_is_found_inside_and_gone_outside() -> None:
    thing = object()
    with registry.registered("recipes", "mine", thing):
        assert registry.find("recipes", "mine") is thing
        assert "mine" in registry.names("recipes")
    assert "mine" not in registry.names("recipes")


def test_a_registered_thing_is_gone_also_when_we_raise() -> None:
    with pytest.raises(ZeroDivisionError), registry.registered("recipes", "mine", object()):
        raise ZeroDivisionError
    assert "mine" not in registry.names("recipes")


def test_a_name_that_is_taken_is_refused() -> None:
    taken = registry.registered("recipes", "pixels", object())
    with pytest.raises(RequestError, match="there is a recipe 'pixels' already; another name is needed"):
        taken.__enter__()


def test_a_name_cannot_be_registered_twice() -> None:
    again = registry.registered("views", "mine", 2)
    with registry.registered("views", "mine", 1), pytest.raises(RequestError, match="there is a view 'mine' already"):
        again.__enter__()


def test_a_plug_in_is_as_good_as_ours(entries: list[EntryPoint]) -> None:
    entries.append(EntryPoint("root", "math:sqrt", "phosphene.views"))
    assert registry.find("views", "root")(9) == 3


def test_a_plug_in_that_does_not_import_is_an_extra_error(entries: list[EntryPoint]) -> None:
    entries.append(EntryPoint("broken", "no_such_module_at_all:thing", "phosphene.views"))
    with pytest.raises(ExtraError, match="view 'broken' does not import: No module named 'no_such_module_at_all'"):
        registry.find("views", "broken")


def test_an_installation_seen_twice_is_one(entries: list[EntryPoint]) -> None:
    entries.extend(EntryPoint("root", "math:sqrt", "phosphene.views") for _ in range(2))
    assert registry.names("views") == ["root"]


def test_two_owners_of_one_name_are_a_conflict(entries: list[EntryPoint]) -> None:
    entries.append(EntryPoint("root", "math:sqrt", "phosphene.views"))
    entries.append(EntryPoint("root", "cmath:sqrt", "phosphene.views"))
    with pytest.raises(RequestError, match="'root' is claimed by math:sqrt and cmath:sqrt"):
        registry.names("views")
