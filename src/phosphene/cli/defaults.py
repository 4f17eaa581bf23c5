"""What a `phosphene.toml` says: networks by name, the network that is meant without -m, and defaults of options.

    model = "mine"

    [models]
    mine = "torchvision:resnet18?weights=best.pth&classes=data/train"

    [defaults]            # of every command that has the option
    out = "pictures"

    [defaults.explain]
    method = ["saliency", "cam"]

The file is looked for in the working folder and those above it. It may name code that is run, so a file that belongs to another
user is passed over, as git does.
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..errors import RequestError, UnknownNameError, first_line, shown

NAME = "phosphene.toml"
VARIABLE = "PHOSPHENE_MODEL"
LARGEST = 1 << 20  # bytes
KEYS = ("defaults", "model", "models")
_FILES = ("weights", "classes", "statistics")  # options of a reference that name files


@dataclass(frozen=True)
class Defaults:
    """What the file says; place: the file, None where there is none. note: on a file that was passed over."""

    place: Path | None = None
    model: str | None = None
    models: Mapping[str, str] = field(default_factory=dict)
    options: Mapping[str, Any] = field(default_factory=dict)
    note: str = ""

    def reference(self, model: str) -> str:
        """The reference that a name stands for; any other text as it is."""
        return self.models.get(model, model)

    def of_commands(self, commands: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
        """Values of parameters by command, as a command line's default map has them. commands: by name, with their `params`."""
        shared = {key: value for key, value in self.options.items() if not isinstance(value, Mapping)}
        own = {key: value for key, value in self.options.items() if isinstance(value, Mapping)}
        if unknown := set(own) - set(commands):
            raise UnknownNameError(f"command in {self.place}", min(unknown), commands)
        found: dict[str, dict[str, Any]] = {}
        for name, command in commands.items():
            names = _options(command)
            if unknown := set(own.get(name, {})) - set(names):
                raise UnknownNameError(f"option of {name} in {self.place}", min(unknown), names)
            values = {key: value for key, value in shared.items() if key in names} | dict(own.get(name, {}))
            found[name] = {names[key]: value for key, value in values.items()}
        if unknown := {key for key in shared if not any(key in _options(command) for command in commands.values())}:
            raise UnknownNameError(f"option in {self.place}", min(unknown), {o for c in commands.values() for o in _options(c)})
        return found


def read(folder: Path | None = None) -> Defaults:
    """Of the nearest phosphene.toml, from a folder upwards (default: the working folder)."""
    for place in _above(folder or Path.cwd()):
        file = place / NAME
        if not file.is_file():
            continue
        if not _own(file):
            return Defaults(note=f"{file} belongs to another user and was passed over")
        return _parsed(file)
    return Defaults()


def _above(folder: Path) -> Iterator[Path]:
    resolved = folder.resolve()
    yield resolved
    yield from resolved.parents


def _own(file: Path) -> bool:
    """Whether the file, a link to it and the folder that it is found in are the user's: who has the folder can change them."""
    places = (file.parent.stat(), file.lstat(), file.stat())
    return not hasattr(os, "getuid") or all(place.st_uid == os.getuid() for place in places)


def _parsed(file: Path) -> Defaults:
    try:
        if file.stat().st_size > LARGEST:
            raise RequestError(f"{file} has over {LARGEST >> 20} MiB")
        content = tomllib.loads(file.read_text("utf-8"))
    except (OSError, ValueError, RecursionError) as error:  # ValueErrors: no TOML, no UTF-8
        raise RequestError(f"{file} cannot be read: {first_line(error)}") from error
    if unknown := set(content) - set(KEYS):
        raise UnknownNameError(f"key in {file}", min(unknown), KEYS)
    models, options, model = content.get("models", {}), content.get("defaults", {}), content.get("model")
    if not isinstance(models, dict) or not all(isinstance(reference, str) for reference in models.values()):
        raise RequestError(f'{file}: models must be names with references, such as mine = "torchvision:resnet18"')
    if not isinstance(options, dict):
        raise RequestError(f"{file}: defaults must be options with values, got {shown(options)}")
    if model is not None and not isinstance(model, str):
        raise RequestError(f"{file}: model must be a name or a reference, got {shown(model)}")
    named = {name: _anchored(reference, file.parent) for name, reference in models.items()}
    return Defaults(file, _anchored_model(model, named, file.parent), named, _with_models(options, named, file.parent))


def _anchored_model(model: str | None, named: Mapping[str, str], folder: Path) -> str | None:
    return model if model is None or model in named else _anchored(model, folder)


def _with_models(options: Mapping[str, Any], named: Mapping[str, str], folder: Path) -> dict[str, Any]:
    """The options, with the networks among them found from the folder on, also those of one command."""
    found: dict[str, Any] = {}
    for key, value in options.items():
        if isinstance(value, Mapping):
            found[key] = _with_models(value, named, folder)
        else:
            found[key] = _anchored_model(value, named, folder) if key == "model" and isinstance(value, str) else value
    return found


def _options(command: Any) -> dict[str, str]:
    """The long names of a command's options without dashes -> the names of their parameters."""
    return {long.removeprefix("--"): one.name for one in command.params for long in one.opts if long.startswith("--")}


def _anchored(reference: str, folder: Path) -> str:
    """With the files that the reference names found from the folder of phosphene.toml on, wherever one works."""
    base, mark, query = reference.partition("?")
    pairs = [_anchored_pair(pair, folder) for pair in query.split("&")] if mark else []
    source, colon, rest = base.partition(":")
    if source.endswith((".py", ".pt2")):
        base = f"{folder / source}{colon}{rest}"  # also where it is not there: never a file of the working folder
    elif source == "gap-head":
        base = f"{source}:{folder / rest}"
    return base + mark + "&".join(pairs)


def _anchored_pair(pair: str, folder: Path) -> str:
    key, equals, value = pair.partition("=")
    return f"{key}={_found(value, folder)}" if key in _FILES and equals else pair


def _found(path: str, folder: Path) -> str:
    there = folder / path
    return str(there) if not Path(path).is_absolute() and there.exists() else path
