"""What filters, activations and neighbours have in common when they are shown and saved: a picture, raw numbers, notes."""

from __future__ import annotations

import json
import time
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from torch import Tensor

from ..pictures import colour, files
from .record import Record, phosphene_version


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

    @property
    def stem(self) -> str:
        """What its files are called after."""
        return self.layer

    @property
    def model(self) -> str:
        """The network's name without options and folders."""
        return self.record.model["ref"].partition("?")[0].rpartition("/")[2]


class PartFolder:
    """A folder of parts: for each a PNG that carries its Record and a .npy. run.json is always whole, and says what is missing.

    wanted: names of all that are to come, as `add` is told them
    """

    def __init__(
        self,
        path: str | Path,
        *,
        command: str,
        model: dict[str, str],
        device: str = "cpu",
        arguments: dict[str, Any] | None = None,
        wanted: Sequence[str] = (),
    ) -> None:
        self.path = files.folder(path)
        self._about = {
            "phosphene": phosphene_version(),
            "command": command,
            "model": model,
            "device": device,
            "arguments": arguments or {},
        }
        self._wanted = tuple(wanted)
        self._started = time.monotonic()
        self._items: list[dict[str, Any]] = []
        self._taken = {"run", "map", "depth"}
        self.more: dict[str, Any] = {}  # what run.json says beside the items

    def __len__(self) -> int:
        return len(self._items)

    @property
    def missing(self) -> list[str]:
        done = {item["asked"] for item in self._items}
        return [name for name in self._wanted if name not in done]

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

    def write(self) -> Path:
        said = self._about | {"seconds": round(time.monotonic() - self._started, 3), **self.more, "items": self._items}
        if self.missing:
            said["missing"] = self.missing
        return files.write_text(self.path / "run.json", json.dumps(said, indent=1, ensure_ascii=False, allow_nan=False))

    def _stem(self, text: str) -> str:
        """A name that no other part of this folder has, also where file systems do not tell case apart."""
        stem = slug = files.slug(text)
        number = 2
        while stem.casefold() in self._taken:
            stem, number = f"{slug}-{number}", number + 1
        self._taken.add(stem.casefold())
        return stem


def save(folder: str | Path, command: str, parts: Sequence[Part], more: dict[str, Any] | None = None) -> Path:
    """A folder of these parts; gives the path of its run.json."""
    record = parts[0].record
    run = PartFolder(folder, command=command, model=record.model, device=record.environment["device"])
    run.more = more or {}
    for part in parts:
        run.add(part)
    return run.write()
