"""Listing: a folder that a command fills, and the run.json that lists what is in it."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..pictures import files
from .claim import claim
from .record import phosphene_version


class Listing:
    """What is added is on disk at once; run.json is always whole, and says what is missing.

    wanted    names of all that is to come; `key` of an item is its name
    reserved  stems that no item's file may have
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
        self._wanted = tuple(wanted)
        self._started = time.monotonic()
        self._items: list[dict[str, Any]] = []
        self._taken = set(self.reserved)
        self.more: dict[str, Any] = {}  # what run.json says beside the items

    def __len__(self) -> int:
        """How many items are there."""
        return len(self._items)

    @property
    def missing(self) -> list[str]:
        """What was wanted and is not there."""
        done = {item[self.key] for item in self._items}
        return [name for name in self._wanted if name not in done]

    def write(self) -> Path:
        """The run.json as things stand; gives its path."""
        said = self._about | {"seconds": round(time.monotonic() - self._started, 3), "items": self._items} | self.more
        if self.missing:
            said["missing"] = self.missing
        return files.write_text(self.path / "run.json", json.dumps(said, indent=1, ensure_ascii=False, allow_nan=False))

    def finish(self) -> Path:
        """Write what is left; gives the path of run.json."""
        return self.write()

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
