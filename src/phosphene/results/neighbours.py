"""Neighbours: the pictures of a data set that are nearest to one, to the network and pixel by pixel."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from ..ambient import shielded_methods
from ..errors import RequestError, shown
from ..pictures import colour, contact_sheet
from ..pictures.notebook import figure
from .anatomy import Part, save
from .record import Record

THUMBNAIL = 160  # pixels of the longer side
_LARGEST = 1024  # pixels a side of a thumbnail that is obeyed: an index may be anyone's


@dataclass(frozen=True)
class Neighbour:
    """One picture of the data set.

    distance  from the query: 1 − cosine, or the Euclidean distance, of the features; of pixels the root of the mean square
              difference, 0 to 1
    """

    id: str
    path: str | None
    label: str | None
    prediction: str
    probability: float
    distance: float
    thumbnail: bytes

    def image(self) -> Image.Image:
        """What the network was given, made small; grey where it cannot be read."""
        return opened(self.thumbnail)

    def to_dict(self) -> dict[str, Any]:
        return {
            "id": self.id,
            "path": self.path,
            "label": self.label,
            "prediction": self.prediction,
            "probability": round(self.probability, 6),
            "distance": self.distance,
        }


@shielded_methods
@dataclass(frozen=True, eq=False)
class Neighbours(Part):
    """What `FeatureIndex.query` gives.

    picture     (1, c, h, w) float32 in [0, 1], as the network was given it; image_name: its name
    vector      (d,) float32, its features
    prediction, probability  the likeliest class of the query
    features    its neighbours in the network's eyes, nearest first
    pixels      those by pixels, of pictures made small
    metric      cosine or l2; exact: whether every vector was compared, or an index found candidates
    notes       sentences on what may mislead
    """

    picture: Tensor
    image_name: str
    vector: Tensor
    prediction: str
    probability: float
    features: tuple[Neighbour, ...]
    pixels: tuple[Neighbour, ...]
    layer: str
    metric: str
    exact: bool
    notes: tuple[str, ...]
    record: Record

    def __len__(self) -> int:
        return len(self.features)

    def __repr__(self) -> str:
        return f"Neighbours({shown(self.image_name)}: {shown(', '.join(one.id for one in self.features))})"

    def rows(self) -> list[list[contact_sheet.Tile]]:
        """The query beside its neighbours in features, and beneath them those in pixels."""
        query = _tile(opened(thumbnail(self.picture[0])), Path(self.image_name).name, f"seen as {self.prediction}", "the query")
        found = [[query, *(_neighbour(one, "features") for one in self.features)]]
        if self.pixels:
            found.append([query, *(_neighbour(one, "pixels") for one in self.pixels)])
        return found

    @property
    def stem(self) -> str:
        return f"{Path(self.image_name).stem} neighbours"

    def image(self) -> Image.Image:
        """The sheet as it is saved."""
        return self.sheet()

    def array(self) -> Tensor:
        return self.vector

    def sheet(self) -> Image.Image:
        """The query, its neighbours in features, and below them those in pixels."""
        return sheet_of([self])

    def save(self, folder: str | Path) -> Path:
        """Write the sheet as PNG, the query's vector as .npy and run.json into the folder; gives the last's path."""
        return save(folder, "neighbours", (self,))

    def to_dict(self) -> dict[str, Any]:
        said: dict[str, Any] = {
            "image": self.image_name,
            "prediction": self.prediction,
            "probability": round(self.probability, 6),
            "layer": self.layer,
            "metric": self.metric,
            "exact": self.exact,
            "features": [one.to_dict() for one in self.features],
            "pixels": [one.to_dict() for one in self.pixels],
        }
        return said | ({"notes": list(self.notes)} if self.notes else {})

    def _repr_html_(self) -> str:
        return figure(self.sheet(), f"neighbours of {self.image_name}", self.notes)


def sheet_of(found: Sequence[Neighbours]) -> Image.Image:
    """Several queries on one sheet, two rows each: by features, by pixels."""
    if not found:
        raise RequestError("a sheet of no queries; at least one is needed")
    rows = [row for one in found for row in one.rows()]
    columns = max(map(len, rows))
    blank = contact_sheet.Tile(Image.new("RGB", (THUMBNAIL, THUMBNAIL), contact_sheet.PAPER))
    tiles = [tile for row in rows for tile in (*row, *[blank] * (columns - len(row)))]
    first = found[0]
    distance = "cosine" if first.metric == "cosine" else "Euclidean"
    title = f"{first.model} · nearest in {first.layer} ({distance}), below them the nearest in pixels"
    return contact_sheet.contact_sheet(tiles, title=title, columns=columns)


def thumbnail(picture: Tensor, side: int = THUMBNAIL) -> bytes:
    """(c, h, w) in [0, 1] as a PNG where it is small already, as a JPEG of at most `side` pixels where it was made small."""
    image, memory = colour.image_of(picture), io.BytesIO()
    if max(image.size) <= 64:
        image.save(memory, "PNG")
    else:
        image.thumbnail((side, side), Image.Resampling.LANCZOS)
        image.save(memory, "JPEG", quality=88)
    return memory.getvalue()


def opened(thumbnail: bytes) -> Image.Image:
    """A thumbnail as an image; grey where there is none that can be read, or one of many pixels."""
    return _decoded(thumbnail) or Image.new("RGB", (THUMBNAIL, THUMBNAIL), (160, 160, 160))


def within(thumbnail: bytes, most: int) -> bytes:
    """A thumbnail as it is, or where it has more than `most` bytes, of fewer pixels; nothing where it is no picture."""
    image = _decoded(thumbnail)
    if image is None or (len(thumbnail) <= most and max(image.size) <= THUMBNAIL):
        return b"" if image is None else thumbnail
    memory = io.BytesIO()
    for side in (THUMBNAIL, 96, 48):  # 48 pixels of noise are 4 kB
        memory = io.BytesIO()
        image.thumbnail((side, side), Image.Resampling.LANCZOS)
        image.save(memory, "JPEG", quality=80)
        if memory.tell() <= most:
            break
    return memory.getvalue()


def _decoded(thumbnail: bytes) -> Image.Image | None:
    try:
        with Image.open(io.BytesIO(thumbnail), formats=["PNG", "JPEG"]) as image:
            return image.convert("RGB") if max(image.size) <= _LARGEST else None
    except (OSError, SyntaxError, ValueError):
        return None


def small(pictures: Tensor, side: int) -> Tensor:
    """(b, c, h, w) in [0, 1] -> (b, c·side·side) uint8, averaged over squares: what pixels are compared by."""
    made = torch.nn.functional.interpolate(pictures.float(), size=(side, side), mode="area")
    return (made.clamp(0, 1) * 255).round().byte().flatten(1).cpu()


def _neighbour(one: Neighbour, by: str) -> contact_sheet.Tile:
    name = one.label if one.label is not None else Path(one.id).name
    return _tile(one.image(), name, f"seen as {one.prediction}", f"{by} {round(one.distance, 6) + 0.0:.3g}")


def _tile(image: Image.Image, *lines: str) -> contact_sheet.Tile:
    return contact_sheet.Tile(colour.enlarged(image, THUMBNAIL), lines)
