"""MapFolder: the maps of one run as pictures and raw arrays, and the run.json that lists them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..pictures import contact_sheet, files
from .heatmap import Heatmap
from .listing import Listing

ROWS = 20  # pictures of one sheet; more make further sheets


class MapFolder(Listing):
    """A Listing of maps, of which pictures may fail, with contact sheets.

    wanted   names of all pictures that are to be explained
    contour  whether each picture is also saved with lines of equal value
    """

    def __init__(self, path: str | Path, *, contour: bool = False, **about: Any) -> None:
        super().__init__(path, **about)
        self._contour = contour
        self._title = about["model"]["ref"].partition("?")[0].rpartition("/")[2]
        self._failed: list[dict[str, str]] = []
        self._rows: list[list[contact_sheet.Tile]] = []
        self._sheets = 0

    def add(self, heatmaps: Sequence[Heatmap]) -> list[dict[str, Any]]:
        """Save the maps of the same pictures by one or several methods; gives what run.json says of them."""
        self.begin()
        new = []
        for i in range(len(heatmaps[0])):
            for heatmap in heatmaps:
                new.append(self._saved(heatmap, i))
            self._rows.append(_row(heatmaps, i))
            if len(self._rows) == ROWS:
                self._sheet()
        self._items += new
        self.write()
        return new

    @property
    def missing(self) -> list[str]:
        """The pictures that were wanted, of which there is no map, and which did not fail."""
        done = {said["image"] for said in (*self._items, *self._failed)}
        return [name for name in self._wanted if name not in done]

    def failed(self, image: str, reason: str) -> None:
        """Note a picture of which there is no map."""
        self._failed.append({"image": image, "reason": reason})
        self.more["failed"] = self._failed
        self.write()

    def tell(self, word: str, said: dict[str, Any]) -> None:
        """Put more into run.json, under a word of its own."""
        self.more[word] = said
        self.write()

    def finish(self) -> Path:
        """Write what is left: the last sheet and run.json; gives the path of the latter."""
        self._sheet()
        return self.write()

    def _saved(self, heatmap: Heatmap, i: int) -> dict[str, Any]:
        item = heatmap.items[i]
        stem = self._stem(f"{Path(item.image).stem} {item.name or item.objective} {item.method}")
        file, array = self.path / f"{stem}.png", self.path / f"{stem}.npy"
        files.write_png(file, heatmap.overlay(item=i), heatmap.signed_record(i).to_json())
        files.write_whole(array, lambda beside: np.save(beside, heatmap.values[i].numpy(), allow_pickle=False))
        said = item.to_dict() | {"file": file.name, "array": array.name}
        if heatmap.colour is not None:
            said["colour"] = files.write_png(self.path / f"{stem}.colour.png", heatmap.colour_image(i)).name
        if self._contour:
            said["contour"] = files.write_png(self.path / f"{stem}.contour.png", heatmap.contour(item=i)).name
        return said

    def _sheet(self) -> None:
        if not self._rows:
            return
        columns = max(map(len, self._rows))
        blank = contact_sheet.Tile(self._rows[0][0].image.point(lambda _: 255))
        tiles = [tile for row in self._rows for tile in (*row, *[blank] * (columns - len(row)))]
        self._sheets += 1
        name = "contact_sheet.png" if self._sheets == 1 else f"contact_sheet-{self._sheets}.png"
        files.write_png(self.path / name, contact_sheet.contact_sheet(tiles, title=self._title, columns=columns))
        self._rows = []


def _row(heatmaps: Sequence[Heatmap], i: int) -> list[contact_sheet.Tile]:
    """The picture, then the map of each method over it."""
    return [heatmaps[0].picture_tile(item=i), *(heatmap.overlay_tile(item=i) for heatmap in heatmaps)]
