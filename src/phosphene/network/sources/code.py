"""Networks made by the user's own code: `package.module:factory` and `path/file.py:factory`."""

from __future__ import annotations

import ast
import importlib
import importlib.util
import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

from torch import nn

from ... import registry
from ...errors import ModelError, UnknownNameError, first_line, shown
from ..opened import Opened

LARGEST_CODE = 4 << 20  # bytes of a file that is looked through
_NAME = re.compile(r"[a-z][a-z0-9_]+")  # as torchvision and timm call their networks
_HOW = "package.module:factory or path/file.py:factory is needed"


def open_factory(name: str) -> Opened:
    """Import the module, take the attribute, call it if it is no module yet."""
    place, colon, attribute = name.rpartition(":")
    if not colon:
        libraries = [f"{source}:{name}" for source in ("torchvision", "timm")] if _NAME.fullmatch(name) else []
        raise UnknownNameError("model", name, [*libraries, *_examples()], _HOW)
    if not place or not all(part.isidentifier() for part in attribute.split(".")):
        raise ModelError(f"model {shown(name)}; {_HOW}")
    module = _import_file(Path(place)) if place.endswith(".py") else _import_module(place, name)
    return Opened(_made(_attribute(module, attribute, place), name))


def factories(path: Path) -> list[str]:
    """Functions without required arguments and networks that a file defines, read without running it."""
    try:
        tree = ast.parse(path.read_bytes()[:LARGEST_CODE])
    except (OSError, SyntaxError, ValueError, RecursionError, MemoryError):
        return []
    return [node.name for node in tree.body if _is_factory(node)]  # type: ignore[attr-defined]


def _is_factory(node: ast.stmt) -> bool:
    if isinstance(node, ast.ClassDef):
        return any("Module" in ast.unparse(base) for base in node.bases)
    if not isinstance(node, ast.FunctionDef) or node.name.startswith("_"):
        return False
    arguments = node.args
    return len(arguments.posonlyargs) + len(arguments.args) == len(arguments.defaults)


def _examples() -> list[str]:
    return [
        "demo:standard",
        "demo:robust",
        *(f"{source}:NAME" for source in registry.names("sources") if source != "demo"),
    ]


def _import_file(path: Path) -> ModuleType:
    if not os.path.isfile(path):
        raise ModelError(f"{shown(str(path))} is not there; {_HOW}")
    name = f"phosphene_user_{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise ModelError(f"{shown(str(path))} is not a Python file; {_HOW}")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses and pickles look their module up there
    run = spec.loader.exec_module
    with _on_path(path.resolve().parent):
        _run(lambda: run(module), str(path))
    return module


def _import_module(place: str, name: str) -> ModuleType:
    if not all(part.isidentifier() for part in place.split(".")):
        raise UnknownNameError("model", name, _examples(), _HOW)
    with _on_path(Path.cwd()):
        try:
            found: ModuleType = _run(lambda: importlib.import_module(place), place)
        except ModelError as error:
            if isinstance(error.__cause__, ModuleNotFoundError) and error.__cause__.name == place.split(".")[0]:
                raise UnknownNameError("model", name, _examples(), f"there is no module {place}") from error
            raise
    return found


def _attribute(module: ModuleType, attribute: str, place: str) -> Any:
    found: Any = module
    for part in attribute.split("."):
        try:
            found = _run(partial(getattr, found, part), place)
        except ModelError as error:
            if not isinstance(error.__cause__, AttributeError):
                raise
            inside = getattr(found, "__dict__", {})
            known = [key for key, value in inside.items() if callable(value) and not key.startswith("_")]
            raise UnknownNameError(f"factory in {place}", attribute, known) from error
    return found


def _made(found: Any, name: str) -> nn.Module:
    if not isinstance(found, nn.Module) and callable(found):
        found = _run(found, name)
    if not isinstance(found, nn.Module):
        raise ModelError(f"{name} gives {type(found).__name__}; a torch.nn.Module is needed")
    return found


def _run(act: Any, name: str) -> Any:
    """Code of the user's may raise anything, and may call sys.exit."""
    try:
        return act()
    except (Exception, SystemExit) as error:
        raise ModelError(f"{name} raised {type(error).__name__}: {first_line(error)}") from error


@contextmanager
def _on_path(folder: Path) -> Iterator[None]:
    """A script finds its neighbours, as when Python runs it."""
    sys.path.insert(0, str(folder))
    try:
        yield
    finally:
        sys.path.remove(str(folder))
