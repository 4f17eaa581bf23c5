"""Heatmap: maps of which places of a picture an objective owes its value to, raw and signed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from .. import checks
from ..ambient import shielded_methods
from ..errors import RequestError, shown
from ..network.preprocess import Preprocess
from ..pictures import colour as colours
from ..pictures import contact_sheet, overlay
from ..pictures.notebook import figure
from .record import Record
from .several import Several, columns_of

CONSTANT = 1e-6  # of the largest size: a map that varies less says nothing of places
EXACT = 1e-5  # relative error up to which an identity holds; single precision adds thousands of numbers up to 1e-6
SATURATED = 0.1  # share of a map at its largest size, from which on it is a plateau
LEAST_SIDE = 160  # pixels: smaller pictures are enlarged before a map is laid over them
Share = Literal["magnitude", "positive"]


@dataclass(frozen=True)
class MapItem:
    """One map in words and numbers.

    image        name of the picture
    objective    its text, as it was asked for
    name, index  of the class, where the objective is one class's score or probability
    score        the objective's value at the picture; probability: of that class
    method, layer  how the map was made, and the layer it is of, if it is of one
    numbers      what the method tells beside the map, such as how far an identity holds
    notes        sentences on what may mislead
    """

    image: str
    objective: str
    name: str | None
    index: int | None
    score: float
    probability: float | None
    method: str
    layer: str | None = None
    numbers: dict[str, float] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        said = {
            "image": self.image,
            "objective": self.objective,
            "class": self.name,
            "index": self.index,
            "score": self.score,
            "probability": self.probability,
            "method": self.method,
        }
        more = {"layer": self.layer, "numbers": self.numbers, "notes": list(self.notes)}
        return said | {key: value for key, value in more.items() if value}

    @classmethod
    def from_dict(cls, said: Mapping[str, Any]) -> MapItem:
        """The MapItem of which `to_dict` gave this."""
        keys = ("image", "objective", "index", "score", "probability", "method", "layer", "numbers")
        same = {key: said[key] for key in keys if key in said}
        return cls(name=said["class"], notes=tuple(said.get("notes", ())), **same)

    @property
    def label(self) -> tuple[str, str]:
        """Two lines for a sheet: what was asked, and the answer."""
        if self.name is None:
            return self.objective, f"value {self.score:.4g}"
        certainty = f", p {self.probability:.2f}" if self.probability is not None else ""
        return self.name, f"score {self.score:.1f}{certainty}"


@shielded_methods
@dataclass(frozen=True, eq=False)
class Heatmap(Several):
    """What `explain` and its kin give. h[0], iteration, np.asarray(h) and h.plot(): see `Several`.

    values    (b, h, w) float32, raw and signed; h, w are the picture's, or those of the layer the map is of. Never NaN
    pictures  (b, c, H, W) in [0, 1], as the network saw them: fitted to its size
    items     one MapItem per map; what a map's `diagnosis` finds is among its notes
    record    what can make the maps again; its `recipe` is the method with its settings
    colour    (b, c, h, w) signed, one number per channel and pixel, where the method has it, else None
    network_notes  sentences on the network that may mislead
    by_size   whether a map over its picture shows |values|: a gradient's sign alternates from pixel to pixel, and smoothed
              it would cancel itself out
    has_sign  whether the sign means something and is shown, also where it happens not to differ; None: where it differs
    """

    values: Tensor
    pictures: Tensor
    items: tuple[MapItem, ...]
    record: Record
    colour: Tensor | None = None
    network_notes: tuple[str, ...] = ()
    by_size: bool = False
    has_sign: bool | None = None

    def __post_init__(self) -> None:
        if self.values.ndim != 3 or self.pictures.ndim != 4 or not len(self.values) == len(self.pictures) == len(self.items):
            raise RequestError(
                f"maps {tuple(self.values.shape)}, pictures {tuple(self.pictures.shape)}, {len(self.items)} items; "
                "(b, h, w), (b, c, H, W) and b items are needed"
            )
        if not bool(torch.isfinite(self.values).all()):
            raise RequestError("the maps hold NaN or infinite values; finite ones are needed")
        noted = []
        for i, item in enumerate(self.items):
            new = tuple(said for said in self.diagnosis(i) if said not in item.notes)
            noted.append(replace(item, notes=item.notes + new))
        object.__setattr__(self, "items", tuple(noted))  # frozen: set once, here

    def __len__(self) -> int:
        return len(self.items)

    def __repr__(self) -> str:
        h, w = self.values.shape[1:]
        said = ", ".join(f"{item.image} {item.objective}" for item in self.items)
        return f"Heatmap({self.method}, {len(self)} of {h}×{w}: {shown(said)})"

    def chosen(self, rows: Sequence[int]) -> Heatmap:
        """These maps alone, in this order."""
        kept = list(rows)
        return replace(
            self,
            values=self.values[kept],
            pictures=self.pictures[kept],
            items=tuple(self.items[row] for row in kept),
            colour=None if self.colour is None else self.colour[kept],
        )

    @property
    def array(self) -> Tensor:
        """The values, for np.asarray."""
        return self.values

    def title_of(self, item: int) -> str:
        return f"{' · '.join(self.items[self._place(item)].label)} · {self.method}"

    def to_dict(self) -> dict[str, list[Any]]:
        """What was asked and the answers, a column each, as pandas.DataFrame takes them."""
        return columns_of([item.to_dict() for item in self.items])

    @property
    def method(self) -> str:
        return str(self.record.recipe.get("name"))

    @property
    def notes(self) -> tuple[str, ...]:
        """All sentences on what may mislead: of the network, then of each map."""
        several = len(self) > 1
        return self.network_notes + tuple(
            f"{item.image}, {item.objective}: {note}" if several else note for item in self.items for note in item.notes
        )

    @property
    def score(self) -> Tensor:
        """(b,): the objectives' values at the pictures, as the network gives them."""
        return torch.tensor([item.score for item in self.items])

    @property
    def exact(self) -> bool:
        """Whether every map and its bias add up to the score, S = Σ M + b, to 1e-5 of what is added; `cam` measures it."""
        return all(item.numbers.get("identity_error", 1.0) <= EXACT for item in self.items)

    def total(self) -> Tensor:
        """(b,) float64: Σ M + b of each map, with the bias b that no place gives where the method knows it, else Σ M."""
        bias = torch.tensor([item.numbers.get("bias", 0.0) for item in self.items], dtype=torch.float64)
        return self.values.double().sum((1, 2)) + bias

    @property
    def title(self) -> str:
        name = self.record.model["ref"].partition("?")[0].rpartition("/")[2]
        return f"{name} · {self.method}"

    def share(self, of: Share = "magnitude") -> Tensor:
        """How the map is shared out among places, (b, h, w): M = w / Σ w, which sums to 1 per map.

        of: w is |value| ("magnitude") or the positive part ("positive"). A map without any w stays zero: see `diagnosis`.
        """
        if of not in ("magnitude", "positive"):
            raise RequestError(f"share of {shown(of)}; magnitude or positive is needed")
        w = self.values.double()
        w = w.abs() if of == "magnitude" else w.clamp(min=0)
        w = w / w.amax((1, 2), keepdim=True).clamp(min=torch.finfo(torch.double).tiny)  # no sum under- or overflows
        return (w / w.sum((1, 2), keepdim=True).clamp(min=torch.finfo(torch.double).tiny)).float()

    def diagnosis(self, item: int = 0) -> tuple[str, ...]:
        """What is wrong with a map, in sentences that begin with empty, constant, saturated or negative; mostly nothing."""
        values = self.values[self._place(item)].double()
        size = values.abs()
        top, spread = float(size.max()), float(values.max() - values.min())
        if top == 0:
            return ("empty: the map is zero everywhere",)
        if values.numel() > 1 and spread <= CONSTANT * top:
            return (f"constant: the map is {float(values.mean()):.4g} everywhere",)
        found = []
        full = float((size >= top * (1 - CONSTANT)).double().mean())
        if full > SATURATED and values.numel() > 1 / SATURATED:
            found.append(f"saturated: {full:.0%} of the map is at its largest size, {top:.4g}")
        if float(values.max()) <= 0:
            found.append("negative: no place raises the objective")
        return tuple(found)

    def upsampled(self, size: int | tuple[int, int] | None = None) -> Tensor:
        """The values in another size, (b, height, width), bilinear; None: the picture's."""
        h, w = checks.size(size) if size is not None else (int(side) for side in self.pictures.shape[-2:])
        return overlay.resized(self.values, (h, w))

    def image(self, item: int = 0) -> Image.Image:
        """A map by itself in colours, in the picture's size. Scaled for the eye, see `pictures.overlay`; `values` are raw."""
        return colours.image_of(overlay.coloured(self.upsampled()[self._place(item)], self.has_sign))

    def overlay(self, photo: Tensor | None = None, item: int = 0) -> Image.Image:
        """A map over its picture in grey. What is larger is covered more.

        photo: another picture (1, c, h, w) or (b, c, h, w) than the fitted one; of another size it is fitted too.
        """
        place = self._place(item)
        return colours.image_of(overlay.overlay(*self._enlarged(photo, place), self.has_sign))

    def contour(self, photo: Tensor | None = None, item: int = 0, levels: Sequence[float] = (0.25, 0.5, 0.75)) -> Image.Image:
        """The picture with lines where the map passes shares of its largest value."""
        shares = [checks.real("level", level, low=0, high=1) for level in levels]
        return colours.image_of(overlay.contour(*self._enlarged(photo, self._place(item)), shares))

    def colour_image(self, item: int = 0) -> Image.Image:
        """The signed numbers per channel as a picture about mid-grey, as guided backpropagation is shown."""
        if self.colour is None:
            raise RequestError(f"{self.method} has no numbers per channel; guided_backprop or gradient has")
        return colours.image_of(overlay.signed_colour(self.colour[self._place(item)]))

    def sheet(self, photos: Tensor | None = None) -> Image.Image:
        """Each picture beside its map and the map over it, with labels and bars of colours, one row a map."""
        tiles = []
        for i in range(len(self)):
            tiles += [self.picture_tile(photos, i), *self._map_tiles(photos, i)]
        return contact_sheet.contact_sheet(tiles, title=self.title, columns=3)

    def beside(self, *others: Heatmap, photos: Tensor | None = None) -> Image.Image:
        """A sheet of what several methods say of the same pictures, one row a picture: the picture, then each map over it."""
        rows = [[self.picture_tile(photos, i), *(h.overlay_tile(photos, i) for h in (self, *others))] for i in range(len(self))]
        title = self.record.model["ref"].partition("?")[0].rpartition("/")[2]
        return contact_sheet.contact_sheet([tile for row in rows for tile in row], title=title, columns=len(rows[0]))

    def picture_tile(self, photo: Tensor | None = None, item: int = 0) -> contact_sheet.Tile:
        """A picture, its name, what was asked and the answer."""
        return picture_tile(self._photo(photo, item), self.items[self._place(item)])

    def overlay_tile(self, photo: Tensor | None = None, item: int = 0) -> contact_sheet.Tile:
        """A map over its picture, a bar of colours, the values of its ends, and what was diagnosed."""
        return overlay_tile(self.overlay(photo, item), self.ends(photo, item), self.items[item])

    def ends(self, photo: Tensor | None = None, item: int = 0) -> str:
        """The lowest and the highest value of the bar of colours."""
        picture, values = self._enlarged(photo, self._place(item))
        return _ends(overlay.overlay_scale(picture, values), overlay.signed(values, self.has_sign))

    def _map_tiles(self, photos: Tensor | None, item: int) -> tuple[contact_sheet.Tile, contact_sheet.Tile]:
        """A map by itself and over its picture, of one range unless the second is smoothed, which it says."""
        picture, shown = self._enlarged(photos, item)
        smoothed, over = overlay.smooths(picture, shown), self.overlay_tile(photos, item)
        values = self.values[item]
        if tuple(values.shape) != tuple(self.pictures.shape[-2:]):
            values = overlay.resized(values[None], (picture.shape[-2], picture.shape[-1]))[0]
        percentile = overlay.PERCENTILE if smoothed else 100.0
        signed = overlay.signed(values, self.has_sign)
        image = colours.enlarged(colours.image_of(overlay.coloured(values, signed, percentile)), LEAST_SIDE)
        ends = _ends(overlay.scale(values, percentile), signed)
        alone = contact_sheet.Tile(_barred(image, signed), ("the map by itself", ends))
        return alone, replace(over, lines=(*over.lines[:2], "smoothed", *over.lines[2:])) if smoothed else over

    def signed_record(self, item: int) -> Record:
        """The Record with the hash of the overlay's pixels as it is saved."""
        return replace(self.record, position=self._place(item), pixels_sha256=colours.pixels_sha256(self.overlay(item=item)))

    def save(self, folder: str | Path) -> Path:
        """Write each map over its picture as PNG, raw as .npy, contact_sheet.png and run.json; gives the path of the last."""
        from .map_folder import MapFolder  # here: that file needs this one

        run = MapFolder(folder, command="explain", model=self.record.model, device=self.record.environment["device"])
        run.add([self])
        return run.finish()

    def _repr_html_(self) -> str:
        return figure(self.sheet(), self.title, self.notes)

    def _photo(self, photo: Tensor | None, item: int) -> Tensor:
        if photo is None:
            return self.pictures[item]
        if not isinstance(photo, Tensor) or photo.ndim != 4 or len(photo) not in (1, len(self)):
            what = tuple(photo.shape) if isinstance(photo, Tensor) else shown(photo)
            raise RequestError(f"photo is {what}; (1, c, h, w) or one per map, ({len(self)}, c, h, w), is needed")
        one = photo[item if len(photo) > 1 else 0].detach().cpu().float()
        if one.shape[-2:] == self.pictures.shape[-2:]:
            return one
        return Preprocess.from_dict(self.record.preprocess).fit(one[None])[0]

    def _enlarged(self, photo: Tensor | None, item: int) -> tuple[Tensor, Tensor]:
        """A picture of a few pixels is enlarged, and its map with it: a line of one pixel would hide it."""
        picture, values = self._photo(photo, item), self.values[item].abs() if self.by_size else self.values[item]
        factor = -(-LEAST_SIDE // min(picture.shape[-2:]))
        if factor > 1:
            if values.shape == picture.shape[-2:]:
                values = values.repeat_interleave(factor, 0).repeat_interleave(factor, 1)
            picture = picture.repeat_interleave(factor, -2).repeat_interleave(factor, -1)
        return picture, values

    def _place(self, item: int) -> int:
        return checks.whole("item", item, low=0, high=len(self) - 1)


def picture_tile(picture: Tensor, item: MapItem) -> contact_sheet.Tile:
    """A picture (c, h, w), its name, what was asked and the answer."""
    return contact_sheet.Tile(colours.enlarged(colours.image_of(picture), LEAST_SIDE), (Path(item.image).name, *item.label))


def overlay_tile(shown: Image.Image, ends: str, item: MapItem) -> contact_sheet.Tile:
    """A map over its picture with a bar of colours below, the values of its ends, and what was diagnosed."""
    return contact_sheet.Tile(_barred(shown, ends.startswith("-")), (item.method, ends, *_first(item.notes)))


def _barred(image: Image.Image, signed: bool) -> Image.Image:
    pixels = torch.from_numpy(np.array(image)).permute(2, 0, 1) / 255
    return colours.image_of(overlay.with_bar(pixels, signed))


def _ends(top: float, signed: bool) -> str:
    return f"{-top:.2g} to {top:.2g}" if signed else f"0 to {top:.2g}"


def _first(notes: tuple[str, ...]) -> tuple[str, ...]:
    return (notes[0].partition(":")[0],) if notes else ()
