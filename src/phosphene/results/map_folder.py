"""MapFolder: the maps of one run as pictures and raw arrays, and the run.json that lists them."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from torch import Tensor

from ..pictures import contact_sheet, files
from .heatmap import Heatmap, MapItem, overlay_tile, picture_tile
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
        self._name = self._title = about["model"]["ref"].partition("?")[0].rpartition("/")[2]
        self._failed: list[dict[str, str]] = []
        self._rows: list[list[contact_sheet.Tile]] = []
        self._sheets = 0
        self._items = self._unchanged()
        self._taken |= {_stem(item) for item in self._items}

    def add(self, heatmaps: Sequence[Heatmap]) -> list[dict[str, Any]]:
        """Save the maps of the same pictures by one or several methods; gives what run.json says of them."""
        self.begin()
        new = []
        for i in range(len(heatmaps[0])):
            saved = [self._saved(heatmap, i) for heatmap in heatmaps]
            ends = [heatmap.ends(item=i) for heatmap in heatmaps]
            self._row(heatmaps[0].pictures[i], saved, ends)
            new += [item | {"colours": end} if self.resumable else item for item, end in zip(saved, ends, strict=True)]
        return self._put(new)

    def resume(self, pictures: Mapping[str, Tensor], count: int) -> bool:
        """Whether an earlier run left `count` items of each of these pictures; they are put on the sheet, else dropped.

        pictures: fitted, (1, c, h, w), by their names
        """
        earlier = {name: [item for item in self._items if item["image"] == name] for name in pictures}
        if any(len(items) != count for items in earlier.values()):
            self.drop(pictures)
            return False
        for name, items in earlier.items():
            self._show(pictures[name][0], items)
        return True

    def drop(self, names: Collection[str]) -> None:
        """Forget the items of these pictures, which are to be made again."""
        self._taken -= {_stem(item) for item in self._items if item["image"] in names}
        self._items = [item for item in self._items if item["image"] not in names]

    @property
    def missing(self) -> list[str]:
        """The pictures that were wanted, of which there is no map, and which did not fail."""
        done = {said["image"] for said in (*self._items, *self._failed)}
        return [name for name in self.wanted if name not in done]

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

    def _put(self, new: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """List new items, in the order in which pictures are wanted."""
        order = {name: place for place, name in enumerate(self.wanted)}
        self._items = sorted(self._items + new, key=lambda item: order.get(item["image"], 0))
        self.write()
        return new

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

    def _show(self, picture: Tensor, items: Sequence[dict[str, Any]]) -> None:
        """Put the items of a picture (c, h, w) on the sheet."""
        for _, row in groupby(items, key=itemgetter("objective")):
            maps = list(row)
            self._row(picture, maps, [item["colours"] for item in maps])

    def _row(self, picture: Tensor, items: Sequence[dict[str, Any]], ends: Sequence[str]) -> None:
        """Put the picture and the map of each method over it on the sheet."""
        tiles = [picture_tile(picture, MapItem.from_dict(items[0]))]
        for item, end in zip(items, ends, strict=True):
            with Image.open(self.path / item["file"]) as shown:
                tiles.append(overlay_tile(shown, end, MapItem.from_dict(item)))
        self._rows.append(tiles)
        if len(self._rows) == ROWS:
            self._sheet()

    def _sheet(self) -> None:
        if not self._rows:
            return
        columns = max(map(len, self._rows))
        blank = contact_sheet.Tile(self._rows[0][0].image.point(lambda _: 255))
        tiles = [tile for row in self._rows for tile in (*row, *[blank] * (columns - len(row)))]
        self._sheets += 1
        name = "contact_sheet.png" if self._sheets == 1 else f"contact_sheet-{self._sheets}.png"
        files.write_sheet(self.path / name, self._joined(tiles, columns))
        self._rows = []

    def _joined(self, tiles: Sequence[contact_sheet.Tile], columns: int) -> Image.Image:
        return contact_sheet.contact_sheet(tiles, title=self._title, columns=columns)


def _stem(item: Mapping[str, Any]) -> str:
    return Path(item["file"]).stem.casefold()
