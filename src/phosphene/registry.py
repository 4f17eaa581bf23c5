"""Where named things are found: sources of networks, recipes, canvases, priors, projections, views, objectives.

Every one is an entry point of the group `phosphene.KIND`, ours like a plug-in's, so a lower line of the layout never
imports a higher one and nothing is imported before it is asked for.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from .errors import ExtraError, RequestError, UnknownNameError, first_line

_registered: dict[tuple[str, str], Any] = {}


def names(kind: str) -> list[str]:
    """The names of a kind, sorted."""
    return sorted(set(_entries(kind)) | {name for k, name in _registered if k == kind})


def find(kind: str, name: str) -> Any:
    """The thing of that kind and name, imported now."""
    if (kind, name) in _registered:
        return _registered[kind, name]
    entries = _entries(kind)
    if name not in entries:
        raise UnknownNameError(kind.removesuffix("s"), name, names(kind))
    try:
        return entries[name].load()
    except ImportError as error:
        raise ExtraError(f"{kind.removesuffix('s')} {name!r} does not import: {first_line(error)}") from error


@contextmanager
def registered(kind: str, name: str, thing: Any) -> Iterator[None]:
    """Inside, `thing` is found under that name: for a script's own recipe or objective, and for tests."""
    if (kind, name) in _registered or name in _entries(kind):
        raise RequestError(f"there is a {kind.removesuffix('s')} {name!r} already; another name is needed")
    _registered[kind, name] = thing
    try:
        yield
    finally:
        del _registered[kind, name]


@cache  # what is installed does not change while we run, and reading it takes milliseconds
def _entries(kind: str) -> dict[str, EntryPoint]:
    found: dict[str, EntryPoint] = {}
    for entry in entry_points(group=f"phosphene.{kind}"):
        # One installation can be seen twice (an editable one and its folder); two owners of one name is a conflict.
        if entry.name in found and found[entry.name].value != entry.value:
            raise RequestError(f"{kind} {entry.name!r} is claimed by {found[entry.name].value} and {entry.value}")
        found[entry.name] = entry
    return found
