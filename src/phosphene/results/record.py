"""Record: what can make a picture again, as JSON in the picture's own file."""

from __future__ import annotations

import json
import platform
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from functools import cache
from importlib.metadata import version
from typing import Any

import numpy
import PIL
import torch

from .. import checks
from ..errors import RecordError, first_line, shown


@cache
def phosphene_version() -> str:
    return version("phosphene")


def environment(device: torch.device | str) -> dict[str, Any]:
    """What the numbers of a picture depend on beside its settings."""
    return {
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": numpy.__version__,
        "pillow": PIL.__version__,
        "device": str(device),
        "machine": platform.machine(),
        "cpu": torch.backends.cpu.get_cpu_capability(),
        "threads": torch.get_num_threads(),
    }


@dataclass(frozen=True)
class Record:
    """How one picture was made.

    seed: of this picture; seeds: of all that were rendered together, where they are not the same.

    batch: the texts of all objectives that were rendered together, this one at `position`. A picture does not depend on its
    neighbours by design, but the last bits of a convolution depend on the size of the batch: `rerun` makes them all.
    """

    model: dict[str, str]  # ref, sha256
    preprocess: dict[str, Any]
    recipe: dict[str, Any]
    size: tuple[int, int]
    seed: int
    batch: tuple[str, ...]
    position: int
    environment: dict[str, Any]
    pixels_sha256: str = ""
    seeds: tuple[int, ...] = ()
    phosphene: str = field(default_factory=phosphene_version)
    verb: str = "render"

    @property
    def objective(self) -> str:
        return self.batch[self.position]

    def to_json(self) -> str:
        return json.dumps(asdict(self) | {"objective": self.objective}, ensure_ascii=False, allow_nan=False)

    @classmethod
    def from_json(cls, text: str) -> Record:
        """A Record from a text that anyone may have written: every field is checked for its kind."""
        try:
            values = json.loads(text)
            if not isinstance(values, Mapping):
                raise TypeError("it is no object")
            values = {name: values[name] for name in (f.name for f in fields(cls))}
            record = cls._checked(values)
            record.to_json()  # what cannot be written again is refused too: numbers that are not finite
            return record
        except (ValueError, TypeError, KeyError, RecursionError) as error:
            raise RecordError(f"the record cannot be obeyed: {type(error).__name__} {first_line(error)}") from error

    @classmethod
    def _checked(cls, values: dict[str, Any]) -> Record:
        for name, kind in (
            ("model", dict),
            ("preprocess", dict),
            ("recipe", dict),
            ("environment", dict),
            ("batch", list),
            ("seeds", list),
            ("pixels_sha256", str),
            ("phosphene", str),
        ):
            if not isinstance(values[name], kind):
                raise TypeError(f"{name} is {shown(values[name])}")
        for name in ("ref", "sha256"):
            if not isinstance(values["model"].get(name), str):
                raise TypeError(f"model has no {name}")
        if not values["batch"] or not all(isinstance(text, str) for text in values["batch"]):
            raise TypeError("batch is no list of objectives")
        values["batch"] = tuple(values["batch"])
        values["position"] = checks.whole("position", values["position"], low=0, high=len(values["batch"]) - 1)
        values["size"] = checks.size(values["size"])
        values["seed"] = checks.seed(values["seed"])
        values["seeds"] = tuple(checks.seed(seed) for seed in values["seeds"])
        if values["seeds"] and len(values["seeds"]) != len(values["batch"]):
            raise TypeError("seeds and batch differ in length")
        if values["verb"] != "render":
            raise TypeError(f"verb is {shown(values['verb'])}; render is known")
        return cls(**values)
