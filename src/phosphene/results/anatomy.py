"""What filters, activations and neighbours have in common when they are shown and saved: a picture, raw numbers, notes."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from torch import Tensor

from ..pictures import colour, files
from .listing import Listing
from .record import Record
from .several import array_of, plotted


class Part(ABC):
    """What is seen in one layer: a picture of it and the raw numbers. Subclasses are frozen dataclasses."""

    layer: str
    record: Record

    @abstractmethod
    def image(self) -> Image.Image: ...

    @abstractmethod
    def array(self) -> Tensor: ...

    @abstractmethod
    def to_dict(self) -> dict[str, Any]: ...

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray[Any, Any]:
        return array_of(self.array(), dtype, copy)

    def sheet(self) -> Image.Image:
        """The picture as it is saved."""
        return self.image()

    def plot(self, ax: Any = None) -> Any:
        """Draw it into Matplotlib's axes (default: new ones), which are returned. Matplotlib must be installed."""
        return plotted(self.image(), self.stem, ax)

    @property
    def stem(self) -> str:
        """What its files are called after."""
        return self.layer

    @property
    def model(self) -> str:
        """The network's name without options and folders."""
        return self.record.model["ref"].partition("?")[0].rpartition("/")[2]


class PartFolder(Listing):
    """A Listing of parts: for each a PNG that carries its Record and a .npy. wanted: names as `add` is told them."""

    key = "asked"
    reserved = ("run", "map", "depth")

    def add(self, part: Part, *, asked: str | None = None, image: Image.Image | None = None) -> Path:
        """Save one; gives the picture's path. image: another picture of it than `part.image()`."""
        stem = self._stem(part.stem)
        image = image or part.image()
        record = replace(part.record, pixels_sha256=colour.pixels_sha256(image))
        file = files.write_png(self.path / f"{stem}.png", image, record.to_json())
        array = part.array().numpy()
        files.write_whole(self.path / f"{stem}.npy", lambda beside: np.save(beside, array, allow_pickle=False))
        self._items.append({"asked": asked or part.layer} | part.to_dict() | {"file": file.name, "array": f"{stem}.npy"})
        self.write()
        return file


def save(folder: str | Path, command: str, parts: Sequence[Part], more: dict[str, Any] | None = None) -> Path:
    """A folder of these parts; gives the path of its run.json."""
    record = parts[0].record
    run = PartFolder(folder, command=command, model=record.model, device=record.environment["device"])
    run.more = more or {}
    for part in parts:
        run.add(part)
    return run.write()
