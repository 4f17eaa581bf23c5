"""Listing: a folder that a command fills, and the run.json that lists what is in it."""

from __future__ import annotations

import hashlib
import itertools
import json
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..pictures import files
from .claim import claim
from .record import phosphene_version

FILES = ("file", "array", "colour", "contour", "mask", "animation", "transparent")  # keys under which an item names its files


class Listing:
    """What is added is on disk at once; run.json is always whole, and says what is missing.

    wanted    names of all that is to come; `key` of an item is its name
    request   everything the results depend on, as JSON. run.json keeps its hash, and a hash of each item with its files: where
              the folder holds a run.json of the same request, `before` is that, and unchanged items need not be made again
    reserved  stems that no item's file may have
    kept      the name that run.json of an earlier request gets, whose files stay; "" where there is none
    """

    key = "objective"
    reserved: tuple[str, ...] = ()

    def __init__(
        self,
        path: str | Path,
        *,
        command: str,
        model: dict[str, str],
        device: str = "cpu",
        arguments: dict[str, Any] | None = None,
        wanted: Sequence[str] = (),
        request: Mapping[str, Any] | None = None,
    ) -> None:
        self.path = files.folder(path)
        self._claim = claim(self.path) if arguments is not None else None  # of a command, which may run for hours
        self._about = {
            "phosphene": phosphene_version(),
            "command": command,
            "model": model,
            "device": device,
            "arguments": arguments or {},
        }
        self.before: dict[str, Any] = {}
        self.kept = ""
        self.replaces_unfinished = False  # a run.json of another request, which lists what is missing
        self.resumable = request is not None
        if request is not None:
            self._about["request"] = fingerprint({"command": command, **request})
            before = read_run(self.path)
            same = before.get("request") == self._about["request"]
            self.before = before if same else {}
            self.replaces_unfinished = not same and bool(before.get("missing"))
            self.kept = "" if same or not (self.path / "run.json").is_file() else free_name(self.path)
        self._begun = False
        self.wanted = tuple(wanted)
        earlier = self.before.get("seconds")
        self._started = time.monotonic() - (earlier if isinstance(earlier, float) and 0 <= earlier < 1e9 else 0)
        self._items: list[dict[str, Any]] = []  # finished ones
        self._taken = set(self.reserved) | (_stems(self.path) if self.kept else set())
        self.more: dict[str, Any] = {}  # what run.json says beside the items

    def __len__(self) -> int:
        """How many items are there."""
        return len(self._items)

    @property
    def missing(self) -> list[str]:
        """What was wanted and is not there."""
        done = {item[self.key] for item in self._items}
        return [name for name in self.wanted if name not in done]

    def begin(self) -> None:
        """Call before files are written: an older run.json must not list them as its own, should this run be killed."""
        if not self.before and not self._begun:
            if self.kept:
                keep_earlier(self.path, self.kept)
            self.write()
        self._begun = True

    def write(self) -> Path:
        """Write run.json as things stand; gives its path."""
        for item in (*self._items, *self.more.get("unfinished", ())) if self.resumable else ():
            if "sha256" not in item:
                item["sha256"] = self._sha256(item)
        payload = self._about | {"seconds": round(time.monotonic() - self._started, 3), "items": self._items} | self.more
        if self.missing:
            payload["missing"] = self.missing
        return files.write_text(self.path / "run.json", json.dumps(payload, indent=1, ensure_ascii=False, allow_nan=False))

    def finish(self) -> Path:
        """Write what is left; gives the path of run.json."""
        return self.write()

    def _unchanged(self, key: str = "items") -> list[dict[str, Any]]:
        """The items that the earlier run lists under this key and that are as it left them, their files included."""
        items = self.before.get(key)
        return [item for item in items if self._is_unchanged(item)] if isinstance(items, list) else []

    def _is_unchanged(self, item: Any) -> bool:
        try:
            return isinstance(item, dict) and item.get("sha256") == self._sha256(item)
        except (OSError, TypeError, ValueError, RecursionError):
            return False

    def _sha256(self, item: Mapping[str, Any]) -> str:
        """A hash of an item and of the files that it names."""
        rest = {key: value for key, value in item.items() if key != "sha256"}
        digest = hashlib.sha256(json.dumps(rest, sort_keys=True).encode())
        for name in (item[key] for key in FILES if key in item):
            if Path(name).name != name or not (self.path / name).is_file():
                raise FileNotFoundError(name)
            digest.update(files.sha256(self.path / name).encode())
        return digest.hexdigest()

    def _stem(self, text: str, other: str = "") -> str:
        """A name that no other file of this run has, also where file systems do not tell case apart; other: what is added
        first to one that is taken."""
        slug = files.slug(text)
        if other and slug.casefold() in self._taken:
            slug = f"{slug}-{other}"
        stem, number = slug, 2
        while stem.casefold() in self._taken:
            stem, number = f"{slug}-{number}", number + 1
        self._taken.add(stem.casefold())
        return stem


def free_name(folder: Path) -> str:
    """run-1.json, or the next that is not there."""
    return f"run-{next(i for i in itertools.count(1) if not (folder / f'run-{i}.json').exists())}.json"


def keep_earlier(folder: Path, name: str) -> None:
    """Give the run.json in a folder another name, and the sheets beside it names that begin with it."""
    stem = Path(name).stem
    for sheet in (folder / "contact_sheet.png", *folder.glob("contact_sheet-*.png")):
        if not sheet.is_file():
            continue
        sheet.replace(folder / f"{sheet.stem}.{stem}.png")
    (folder / "run.json").replace(folder / name)


def _stems(folder: Path) -> set[str]:
    """Of all files in a folder, so that no new one takes the place of an earlier run's."""
    return {name.casefold() for path in folder.iterdir() if path.is_file() for name in (path.stem, path.name.partition(".")[0])}


def fingerprint(request: Mapping[str, Any]) -> str:
    """A hash that two requests share if they are equal."""
    return hashlib.sha256(json.dumps(request, sort_keys=True).encode()).hexdigest()


def read_run(folder: Path) -> dict[str, Any]:
    """What the run.json in a folder says; nothing where there is none that can be read."""
    try:
        said = json.loads((folder / "run.json").read_text("utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return said if isinstance(said, dict) else {}
