"""BoxFolder: the located photographs of one run, and the run.json that lists their boxes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from ..pictures import contact_sheet, files
from ..pictures.colour import image_of
from ..results.heatmap import MapItem
from ..results.map_folder import MapFolder
from .located import Located, sheet, tile

COLUMNS, SHEET_ROWS = 4, 5


class BoxFolder(MapFolder):
    """A folder that a command fills. What is put is on disk at once; run.json is always whole, and says what is missing."""

    def put(self, located: Located, *, masks: bool = False) -> list[dict[str, Any]]:
        """Save the photographs with their boxes, and the masks if they are wanted; gives what run.json says of them."""
        self.begin()
        new = [self._drawn(located, i, masks) for i in range(len(located))]
        for i, picture in enumerate(located.pictures):
            self._show(picture, new[i : i + 1])
        return self._put(new)

    def _drawn(self, located: Located, i: int, masks: bool) -> dict[str, Any]:
        item = located.heatmap.items[i]
        stem = self._stem(f"{Path(item.image).stem} {item.name or item.objective} {located.method}")
        file = files.write_png(self.path / f"{stem}.png", located.image(i), located.signed_record(i).to_json())
        said = located.row(i) | {"file": file.name}
        if masks:
            white = image_of(located.masks[i][None].to(torch.float32))
            said["mask"] = files.write_png(self.path / f"{stem}.mask.png", white).name
        return said

    def _show(self, picture: Tensor, items: Sequence[dict[str, Any]]) -> None:
        for item in items:
            if not self._rows or len(self._rows[-1]) == COLUMNS:
                if len(self._rows) == SHEET_ROWS:
                    self._sheet()
                self._rows.append([])
            self._title = f"{self._name} · {item['method']} · {item['locate']}"
            with Image.open(self.path / item["file"]) as drawn:
                self._rows[-1].append(tile(drawn, MapItem.from_dict(item)))

    def _joined(self, tiles: Sequence[contact_sheet.Tile], columns: int) -> Image.Image:
        return sheet(tiles, self._title, columns)
