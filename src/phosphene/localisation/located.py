"""Located: boxes and masks of what maps are large at, and the photographs with them drawn in."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from PIL import Image
from torch import Tensor

from .. import checks
from ..ambient import shielded_methods
from ..pictures import colour as colours
from ..pictures import contact_sheet
from ..pictures.notebook import figure
from ..results.heatmap import Heatmap, MapItem
from ..results.record import Record
from ..results.several import Several, columns_of
from .drawing import drawn

_NO_CUT = "located by thresholds alone: with OpenCV (extra opencv) a graph cut along colours and edges is averaged in"
SIDE = 224  # pixels of a tile of the sheet


@shielded_methods
@dataclass(frozen=True, eq=False)
class Located(Several):
    """What `locate` gives. l[0], iteration, np.asarray(l) (the boxes) and l.plot(): see `Several`.

    boxes    (b, 4) float32: left, top, right, bottom in pixels of the picture, right and bottom outside; of each map the box
             of its largest component, (0, 0, 0, 0) where there is none
    every    per map (n, 4), that box first and those of further components
    masks    per map (h, w) bool, of the picture's size
    points   (b, 2) float32: x and y of the middle of the pixel where the map is largest
    pictures per map (c, h, w) in [0, 1]: what the boxes are of
    heatmap  the maps
    method, threshold  how they were cut
    """

    boxes: Tensor
    every: tuple[Tensor, ...]
    masks: tuple[Tensor, ...]
    points: Tensor
    pictures: tuple[Tensor, ...]
    heatmap: Heatmap
    method: str
    threshold: float | str

    def __len__(self) -> int:
        return len(self.boxes)

    def __repr__(self) -> str:
        return f"Located({self.method}, {len(self)}: {', '.join(str(box) for box in self.boxes.round().int().tolist()[:3])} …)"

    def chosen(self, rows: Sequence[int]) -> Located:
        """Of these maps alone, in this order."""
        kept = list(rows)
        parts: dict[str, Any] = {
            name: tuple(getattr(self, name)[row] for row in kept) for name in ("every", "masks", "pictures")
        }
        return replace(self, boxes=self.boxes[kept], points=self.points[kept], heatmap=self.heatmap.chosen(kept), **parts)

    @property
    def array(self) -> Tensor:
        """The boxes, for np.asarray."""
        return self.boxes

    def title_of(self, item: int) -> str:
        return f"{self.heatmap.title_of(item)} · {self.method}"

    def save(self, folder: str | Path) -> Path:
        """Write each photograph with its boxes as PNG, a sheet and run.json; gives the path of the last."""
        from .folder import BoxFolder  # here: that file needs this one

        record = self.heatmap.record
        run = BoxFolder(folder, command="locate", model=record.model, device=record.environment["device"])
        run.put(self)
        return run.finish()

    def notes(self, item: int = 0) -> tuple[str, ...]:
        """Sentences on what may mislead: those of the map, and where no box was found."""
        place = self._place(item)
        nothing = () if len(self.every[place]) else ("nothing: no place of the map is positive, so there is no box",)
        without = (_NO_CUT,) if self.method == "thresholds" else ()
        return self.heatmap.items[place].notes + nothing + without

    def image(self, item: int = 0, *, contour: bool = True) -> Image.Image:
        """The photograph with its boxes, the first one thicker, and the outline of the mask."""
        place = self._place(item)
        return colours.image_of(drawn(self.pictures[place], self.every[place], self.masks[place] if contour else None))

    def sheet(self) -> Image.Image:
        """The photographs with their boxes, named."""
        return sheet([self.tile(i) for i in range(len(self))], f"{self.heatmap.title} · {self.method}")

    def tile(self, item: int = 0) -> contact_sheet.Tile:
        """One of the sheet: the photograph, of 224 px at most, its name, the class and the score."""
        return tile(self.image(item), self.heatmap.items[self._place(item)])

    def to_dict(self) -> dict[str, list[Any]]:
        """`row` of every map, a column for each key, as pandas.DataFrame takes them."""
        return columns_of([self.row(i) for i in range(len(self))])

    def row(self, item: int = 0) -> dict[str, Any]:
        """Plain numbers and words of one map: what was asked and the boxes, in tenths of a pixel."""
        place = self._place(item)
        boxes = [[round(side, 1) for side in box] for box in self.every[place].tolist()]
        said = self.heatmap.items[place].to_dict()
        more = {"locate": self.method, "threshold": self.threshold, "boxes": boxes, "size": list(self.masks[place].shape)}
        point = [round(side, 1) for side in self.points[place].tolist()]
        return said | more | {"point": point, "notes": list(self.notes(place))}

    def signed_record(self, item: int) -> Record:
        """The Record of the map, with how it was cut and the hash of `image`'s pixels."""
        place, record = self._place(item), self.heatmap.record
        cut = record.recipe | {"locate": self.method, "threshold": self.threshold}
        pixels = colours.pixels_sha256(self.image(place))
        return replace(record, recipe=cut, position=place, pixels_sha256=pixels, verb="locate")

    def _place(self, item: int) -> int:
        return checks.whole("item", item, low=0, high=len(self) - 1)

    def _repr_html_(self) -> str:
        return figure(self.sheet(), self.heatmap.title)


def tile(image: Image.Image, item: MapItem) -> contact_sheet.Tile:
    """A photograph with its boxes, its name, the class and the score."""
    image = image.copy()
    image.thumbnail((SIDE, SIDE))
    return contact_sheet.Tile(image, (Path(item.image).name, *item.label))


def sheet(tiles: Sequence[contact_sheet.Tile], title: str, columns: int | None = None) -> Image.Image:
    """Photographs of any proportions on one line, none of them enlarged."""
    return contact_sheet.contact_sheet(tiles, title=title, columns=columns, tile=1, standing=True)
