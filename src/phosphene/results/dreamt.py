"""Dream: a photograph into which a network has dreamt, and the folder in which such pictures are saved."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from torch import Tensor

from ..ambient import shielded_methods
from ..errors import RequestError, shown
from ..pictures import animation, colour, contact_sheet, files
from ..pictures.notebook import figure
from .listing import Listing
from .record import Record
from .several import array_of, plotted

RATE = 12  # frames a second
SHOWN = 480  # pixels: larger pictures are made smaller for the sheet, whose words else would be tiny beside them


@shielded_methods
@dataclass(frozen=True, eq=False)
class Dream:
    """What `dream` gives.

    picture    (1, c, h, w) float32 in [0, 1], of the photograph's size
    history    (n,) the objective at each step before it was made, the mean of all tiles: octave after octave, frame after
               frame. A larger octave has more to sum up, so that only values within one octave compare
    frames     (n, c, h, w) uint8, with zoom: the dreams one after another; else none
    objective  its text
    finished   False where Ctrl-C came before the end
    notes      sentences on what may mislead
    photo      (1, c, h, w) the photograph as it was
    record     all settings, the network and the photograph by their hashes. Its verb is "dream", which `rerun` refuses: a
               record does not hold the photograph. With it, `dream(net, photo, …)` and the settings of the record give
               the same picture again
    """

    picture: Tensor
    history: Tensor
    frames: Tensor
    objective: str
    finished: bool
    notes: tuple[str, ...]
    record: Record
    photo: Tensor | None = None

    def __repr__(self) -> str:
        c, h, w = self.picture.shape[1:]
        return f"Dream({c}×{h}×{w}: {shown(self.objective)})"

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray[Any, Any]:
        return array_of(self.picture, dtype, copy)

    def plot(self, ax: Any = None) -> Any:
        """Draw the picture into Matplotlib's axes (default: new ones), which are returned. Matplotlib must be installed."""
        return plotted(self.image(), self.objective, ax)

    def image(self) -> Image.Image:
        """The picture as Pillow has it, pixel for pixel as it is saved."""
        return colour.image_of(self.picture[0])

    def sheet(self) -> Image.Image:
        """The photograph before and after, of 480 px at most; `image` is the whole picture."""
        before = [] if self.photo is None else [_tile(colour.image_of(self.photo[0]), "before")]
        return contact_sheet.contact_sheet([*before, _tile(self.image(), "after", self.objective)], columns=2)

    def signed_record(self) -> Record:
        """The Record with the hash of the pixels as they are saved."""
        return replace(self.record, pixels_sha256=colour.pixels_sha256(self.image()))

    def animate(self, path: str | Path) -> Path:
        """The frames, twelve a second, as .gif, .webp, .apng, .png (APNG) or .mp4 (extra mp4)."""
        if len(self.frames) < 2:
            raise RequestError(f"{len(self.frames)} frames of a dream; at least two are needed: dream with zoom=2 or more")
        images = [colour.image_of(frame.float() / 255) for frame in self.frames]
        return animation.write_animation(path, images, seconds=len(images) / RATE, hold=0)

    def save(self, folder: str | Path, *, animate: str | None = None) -> Path:
        """Write dream.png, which carries the record, and run.json into the folder; gives the path of the latter.

        animate: also the frames, as this kind: gif, webp, apng or mp4.
        """
        run = DreamFolder(folder, command="dream", model=self.record.model, device=self.record.environment["device"])
        run.add_dream(self, "dream", animate=animate)
        return run.finish()

    def to_dict(self) -> dict[str, Any]:
        said: dict[str, Any] = {
            "objective": self.objective,
            "seed": self.record.seed,
            "size": list(self.record.size),
            "settings": self.record.recipe,
            "history": self.history.tolist(),
            "finished": self.finished,
        }
        return said | ({"notes": list(self.notes)} if self.notes else {})

    def _repr_html_(self) -> str:
        return figure(self.sheet(), self.objective, self.notes)


def _tile(image: Image.Image, *lines: str) -> contact_sheet.Tile:
    image.thumbnail((SHOWN, SHOWN))
    return contact_sheet.Tile(image, lines)


class DreamFolder(Listing):
    """A Listing of dreams; what is wanted are the names of photographs. No contact sheet: the pictures are large.

    An unfinished dream of an earlier run stays until its photograph is dreamt of again.
    """

    def __init__(self, path: str | Path, **about: Any) -> None:
        super().__init__(path, **about)
        self._items = self._unchanged()
        self._taken |= {Path(item["file"]).stem.casefold() for item in self._items if item["finished"]}

    def add_dream(self, dream: Dream, image: str, *, animate: str | None = None) -> Path:
        """Save the picture, named after the photograph `image`; gives its path."""
        self.begin()
        name = f"{self._stem(Path(image).stem)}.png"
        path = files.write_png(self.path / name, dream.image(), dream.signed_record().to_json())
        said = {"image": image} | dream.to_dict() | {"file": name}
        if animate and len(dream.frames) > 1:
            suffix = ".apng" if animate == "png" else f".{animate}"  # .png is the picture's
            said["animation"] = dream.animate(path.with_suffix(suffix)).name
        self._items = [item for item in self._items if item["image"] != image] + [said]
        self._items.sort(key=lambda item: self.wanted.index(item["image"]) if self.wanted else 0)
        self.write()
        return path

    @property
    def missing(self) -> list[str]:
        """The photographs that were wanted and whose dreams are not finished."""
        done = {item["image"] for item in self._items if item["finished"]}
        return [name for name in self.wanted if name not in done]
