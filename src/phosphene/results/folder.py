"""RunFolder: the pictures of one run, their contact sheet, and the run.json that lists them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image

from ..pictures import contact_sheet, files
from ..pictures.animation import check_kind
from .kinds import Item, Rendering, _lines, titled
from .listing import Listing
from .record import Record


@dataclass(frozen=True)
class _Picture:
    """One picture as run.json lists it and as the contact sheet shows it."""

    item: Item
    said: dict[str, Any]
    image: Image.Image
    record: Record


class RunFolder(Listing):
    """A Listing of pictures, each wanted of so many seeds, with a contact sheet.

    Pictures that are not finished are listed apart, under `unfinished`, and give way to finished ones of the same name.
    """

    reserved = ("contact_sheet",)

    def __init__(self, path: str | Path, *, seeds: int = 1, **about: Any) -> None:
        super().__init__(path, **about)
        self._seeds = seeds
        self._pictures: list[_Picture] = []
        for said in (*self._unchanged(), *self._unchanged("unfinished")):
            image, record = files.read_png(self.path / said["file"])
            self._pictures.append(_Picture(Item.from_dict(said), said, image, Record.from_json(record)))
        self._taken |= {Path(one.said["file"]).stem.casefold() for one in self._pictures if one.item.finished}
        if "batches" in self.before:
            self.more["batches"] = self.before["batches"]
        self._list()

    def add(
        self,
        rendering: Rendering,
        *,
        animate: str | None = None,
        transparent: bool = False,
        words: str = "",
        batches: Sequence[int] = (),
    ) -> list[Path]:
        """Save the pictures of a rendering; gives their paths.

        transparent  also each with opacity, as NAME.rgba.png
        words        the settings that tell it from its neighbours
        batches      sizes of all batches so far, for a run that is resumed
        """
        if animate is not None:
            check_kind(animate)
        self.begin()
        paths = []
        for place, item in enumerate(rendering.items):
            path = self.path / f"{self._stem_of(item, words)}.png"
            image, record = rendering.image(place), rendering.signed_record(place)
            files.write_png(path, image, record.to_json())
            said = item.to_dict() | ({"settings": words} if words else {}) | {"file": path.name}
            if animate:
                suffix = ".apng" if animate == "png" else f".{animate}"  # .png is the picture's
                said["animation"] = rendering.animate(path.with_suffix(suffix), place).name
            if transparent:
                said["transparent"] = path.with_suffix(".rgba.png").name
                files.write_png(self.path / said["transparent"], rendering.transparent(place))
            self._pictures = [one for one in self._pictures if one.said["file"] != path.name]
            self._pictures.append(_Picture(item, said, image, record))
            paths.append(path)
        if batches:
            self.more["batches"] = list(batches)
        self._list()
        self.write()
        return paths

    def finish(self, *, columns: int | None = None) -> Path:
        """Write the contact sheet and the final run.json; gives the path of the latter."""
        if self._pictures:
            tiles = [contact_sheet.Tile(one.image, self._labels(one)) for one in self._pictures]
            title = titled([one.record for one in self._pictures])
            sheet = contact_sheet.contact_sheet(tiles, title=title, columns=columns)
            files.write_sheet(self.path / "contact_sheet.png", sheet)
        return self.write()

    @property
    def missing(self) -> list[str]:
        """The objectives that were wanted and are not there, or not of every seed."""
        done = Counter(item["objective"] for item in self._items)
        return [text for text in self.wanted if done[text] < self._seeds]

    def holds(self, objective: str, seed: int) -> bool:
        """Whether the finished picture of an objective and seed is there."""
        return any(item["objective"] == objective and (self._seeds == 1 or item["seed"] == seed) for item in self._items)

    def batches_before(self, pictures: int) -> list[int]:
        """Sizes of the batches of the earlier run, which was of so many pictures."""
        sizes = self.before.get("batches")
        if not isinstance(sizes, list) or not all(type(size) is int and size > 0 for size in sizes) or sum(sizes) > pictures:
            return []
        return sizes

    def _list(self) -> None:
        """Bring the pictures into the order in which they are wanted, and tell the finished from the others."""
        order = {text: place for place, text in enumerate(self.wanted)}
        last = len(order)
        self._pictures.sort(key=lambda one: (order.get(one.item.objective, last), one.item.seed if order else 0))
        self._items = [one.said for one in self._pictures if one.item.finished]
        self.more["unfinished"] = [one.said for one in self._pictures if not one.item.finished]
        if not self.more["unfinished"]:
            del self.more["unfinished"]

    def _words(self, item: Item) -> str:
        return f"seed {item.seed}" if self._seeds > 1 else ""

    def _labels(self, picture: _Picture) -> tuple[str, ...]:
        lines = _lines(picture.item)
        settings, seed = picture.said.get("settings", ""), self._words(picture.item)
        return (settings or (f"{lines[0]}, {seed}" if seed else lines[0]), *lines[1:])

    def _stem_of(self, item: Item, words: str) -> str:
        name = item.name if item.name is not None and not item.of_probability else item.objective
        return self._stem(f"{name} {words or self._words(item)}", "" if item.index is None else str(item.index))
