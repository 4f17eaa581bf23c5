"""RunFolder: the pictures of one run, their contact sheet, and the run.json that lists them."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

from ..pictures import contact_sheet, files
from ..pictures.animation import check_kind
from .kinds import Item, Rendering, _lines, titled
from .listing import Listing
from .record import Record


class RunFolder(Listing):
    """A Listing of pictures, each wanted of so many seeds, with a contact sheet."""

    reserved = ("contact_sheet",)

    def __init__(self, path: str | Path, *, seeds: int = 1, **about: Any) -> None:
        super().__init__(path, **about)
        self._seeds = seeds
        self._tiles: list[contact_sheet.Tile] = []
        self._records: list[Record] = []

    def add(
        self, rendering: Rendering, *, animate: str | None = None, transparent: bool = False, words: str = ""
    ) -> list[Path]:
        """Save the pictures of a rendering; gives their paths. words: the settings that tell it from its neighbours;
        transparent: also each with opacity, as NAME.rgba.png."""
        if animate is not None:
            check_kind(animate)
        self._records += rendering.records
        paths = []
        for place, item in enumerate(rendering.items):
            told = words or (f"seed {item.seed}" if self._seeds > 1 else "")
            path = self.path / f"{self._named(item, told)}.png"
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
        self.write()
        return paths

    def finish(self, *, columns: int | None = None) -> Path:
        """Write the contact sheet and the final run.json; gives the path of the latter."""
        if self._tiles:
            sheet = contact_sheet.contact_sheet(self._tiles, title=titled(self._records), columns=columns)
            files.write_png(self.path / "contact_sheet.png", sheet)
        return self.write()

    @property
    def missing(self) -> list[str]:
        """The objectives that were wanted and are not there, or not of every seed."""
        done = Counter(item["objective"] for item in self._items)
        return [text for text in self._wanted if done[text] < self._seeds]

    def _named(self, item: Item, words: str) -> str:
        name = item.name if item.name is not None and not item.of_probability else item.objective
        return self._stem(f"{name} {words}", "" if item.index is None else str(item.index))
