"""RunFolder: the pictures of one run and the run.json that lists them, kept whole after every batch."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..pictures import contact_sheet, files
from ..pictures.animation import check_kind
from .kinds import Item, Rendering, _lines
from .record import phosphene_version


class RunFolder:
    """A folder that a command fills. What is added is on disk at once; run.json is always whole, and says what is missing."""

    def __init__(
        self,
        path: str | Path,
        *,
        command: str,
        model: dict[str, str],
        device: str = "cpu",
        arguments: dict[str, Any] | None = None,
        wanted: Sequence[str] = (),
        seeds: int = 1,
    ) -> None:
        self.path = files.folder(path)
        self._about = {
            "phosphene": phosphene_version(),
            "command": command,
            "model": model,
            "device": device,
            "arguments": arguments or {},
        }
        self._wanted, self._seeds = list(wanted), seeds
        self._started = time.monotonic()
        self._items: list[dict[str, Any]] = []
        self._tiles: list[contact_sheet.Tile] = []
        self._title = ""

    def add(
        self, rendering: Rendering, *, animate: str | None = None, transparent: bool = False, words: str = ""
    ) -> list[Path]:
        """Save the pictures of a rendering; gives their paths. words: the settings that tell it from its neighbours;
        transparent: also each with opacity, as NAME.rgba.png."""
        if animate is not None:
            check_kind(animate)
        self._title = rendering.title
        paths = []
        for place, item in enumerate(rendering.items):
            told = words or (f"seed {item.seed}" if self._seeds > 1 else "")
            path = self.path / self._name(item, told)
            image = rendering.image(place)
            files.write_png(path, image, rendering.signed_record(place).to_json())
            said = item.to_dict() | ({"settings": words} if words else {}) | {"file": path.name}
            if animate:
                suffix = ".apng" if animate == "png" else f".{animate}"  # .png is the picture's
                said["animation"] = rendering.animate(path.with_suffix(suffix), place).name
            if transparent:
                said["transparent"] = path.with_suffix(".rgba.png").name
                files.write_png(self.path / said["transparent"], rendering.transparent(place))
            self._items.append(said)
            lines = _lines(item)
            first = words or (f"{lines[0]}, {told}" if told else lines[0])
            self._tiles.append(contact_sheet.Tile(image, (first, *lines[1:])))
            paths.append(path)
        self._write()
        return paths

    def finish(self, *, columns: int | None = None) -> Path:
        """Write the contact sheet and the final run.json; gives the path of the latter."""
        if self._tiles:
            sheet = contact_sheet.contact_sheet(self._tiles, title=self._title, columns=columns)
            files.write_png(self.path / "contact_sheet.png", sheet)
        return self._write()

    def __len__(self) -> int:
        """How many pictures are there."""
        return len(self._items)

    @property
    def missing(self) -> list[str]:
        """The objectives that were wanted and are not there, or not of every seed."""
        done = Counter(item["objective"] for item in self._items)
        return [text for text in self._wanted if done[text] < self._seeds]

    def _name(self, item: Item, words: str) -> str:
        """A name that no other picture of this run has, also where file systems do not tell case apart."""
        name = item.name if item.name is not None and not item.of_probability else item.objective
        stem = files.slug(f"{name} {words}")
        taken = {said["file"].casefold() for said in self._items} | {"contact_sheet.png"}
        if f"{stem}.png".casefold() in taken and item.index is not None:
            stem = f"{stem}-{item.index}"
        name, number = f"{stem}.png", 2
        while name.casefold() in taken:
            name, number = f"{stem}-{number}.png", number + 1
        return name

    def _write(self) -> Path:
        said = self._about | {"seconds": round(time.monotonic() - self._started, 3), "items": self._items}
        if self.missing:
            said["missing"] = self.missing
        return files.write_text(self.path / "run.json", json.dumps(said, indent=1, ensure_ascii=False, allow_nan=False))
