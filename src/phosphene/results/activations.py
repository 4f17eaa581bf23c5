"""Activations: what a picture makes of every channel of some layers, raw, and how sparse layers are along the depth."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from .. import checks
from ..ambient import shielded_methods
from ..errors import RequestError, UnknownNameError, shown
from ..pictures import bars, contact_sheet, files, overlay
from ..pictures import colour as colours
from ..pictures.notebook import figure
from .anatomy import Part, save
from .record import Record
from .several import array_of, plotted

_SIDES = ((64, 96), (256, 64))  # up to so many channels tiles of at least so many pixels; more of them 40
_SMALLEST = 40


@dataclass(frozen=True)
class Depth:
    """One run of a layer in numbers.

    zeros     share of its numbers that are exactly zero
    silent    share of its channels that are zero everywhere
    sparsity  (1 − mean(|a|)² / mean(a²)) / (1 − 1/n) over all its numbers: 0 all alike, 1 a single one
              Source: Vinje & Gallant 2000, of |a| so that layers with signs have one too
    """

    layer: str
    kind: str
    zeros: float
    silent: float
    sparsity: float

    def to_dict(self) -> dict[str, Any]:
        return {name: round(v, 6) if isinstance(v, float) else v for name, v in vars(self).items()}


@dataclass(frozen=True, eq=False)
class ChannelMaps(Part):
    """All channels of one layer for one picture.

    values  (c, h, w) float32, raw and signed; a layer without places has h = w = 1
    layer, kind of the module; image_name of the picture
    """

    values: Tensor
    layer: str
    kind: str
    image_name: str
    notes: tuple[str, ...]
    record: Record

    def __len__(self) -> int:
        return len(self.values)

    def __repr__(self) -> str:
        return f"ChannelMaps({self.layer}: {'×'.join(map(str, self.values.shape))})"

    @property
    def activity(self) -> Tensor:
        """(c,) the mean size of each channel."""
        return self.values.abs().mean((1, 2))

    @property
    def silent(self) -> tuple[int, ...]:
        """The channels that are zero everywhere."""
        return tuple(int(i) for i in (self.values == 0).all(2).all(1).nonzero().flatten())

    @property
    def zeros(self) -> float:
        """The share of numbers that are exactly zero."""
        return float((self.values == 0).float().mean())

    @property
    def sparsity(self) -> float:
        """Of all numbers, 0 to 1; see `Depth`."""
        return sparsity(self.values)

    def order(self, by: str = "activity") -> tuple[int, ...]:
        """The channels as they are shown: the most active first, ties by number; or by number."""
        if by not in ("activity", "index"):
            raise RequestError(f"order by {shown(by)}; activity or index is needed")
        rank = self.activity.argsort(descending=True, stable=True) if by == "activity" else torch.arange(len(self))
        return tuple(rank.tolist())

    def tile(self, channel: int, *, scale: str = "shared") -> Image.Image:
        """A channel in grey: black is zero and white the scale; with signs mid-grey is zero, and black minus the scale.

        scale: "shared" the 99th percentile of the layer's sizes, "own" the largest of this channel.
        """
        if scale not in ("shared", "own"):
            raise RequestError(f"scale is {shown(scale)}; shared or own is needed")
        values = self.values[checks.whole("channel", channel, low=0, high=len(self) - 1)]
        top = self._top if scale == "shared" else float(values.abs().max())
        level = values / top if top > 0 else torch.zeros_like(values)
        return colours.image_of((0.5 + 0.5 * level if self._signed else level)[None].clamp(0, 1))

    def tiles(self, *, scale: str = "shared", order: str = "activity", columns: int | None = None) -> Image.Image:
        """All channels as grey tiles with their numbers, the most active first."""
        if columns is not None:
            checks.whole("columns", columns, low=1)
        side = next((side for most, side in _SIDES if len(self) <= most), _SMALLEST)
        each = [contact_sheet.Tile(colours.enlarged(self.tile(i, scale=scale), side), (str(i),)) for i in self.order(order)]
        return contact_sheet.contact_sheet(each, title=self._title(scale), columns=columns, tile=side)

    def image(self) -> Image.Image:
        """The tiles as they are saved."""
        return self.tiles()

    def array(self) -> Tensor:
        return self.values

    def to_dict(self) -> dict[str, Any]:
        said = {
            "image": self.image_name,
            "layer": self.layer,
            "kind": self.kind,
            "shape": list(self.values.shape),
            "zeros": round(self.zeros, 6),
            "sparsity": round(self.sparsity, 6),
            "silent": list(self.silent),
            "order": list(self.order()),
        }
        return said | ({"notes": list(self.notes)} if self.notes else {})

    def _repr_html_(self) -> str:
        return figure(self.image(), f"{self.layer} of {self.image_name}", self.notes)

    @cached_property
    def _top(self) -> float:
        return overlay.scale(self.values)

    @cached_property
    def _signed(self) -> bool:
        return overlay.signed(self.values)

    def _title(self, scale: str) -> str:
        low = f"-{self._top:.3g}" if self._signed else "0"
        said = f"{low} to {self._top:.3g}" if scale == "shared" else "each on its own scale"
        silent = f", {len(self.silent)} silent" if self.silent else ""
        # The name of the picture last: where the sheet is narrow, it is cut.
        return f"{self.model} · {self.layer}, {len(self)} channels{silent}, {said} · {Path(self.image_name).name}"


@shielded_methods
@dataclass(frozen=True, eq=False)
class Activations:
    """What `activations` gives.

    picture  (1, c, h, w) float32 in [0, 1], as the network was given it
    image    its name
    maps     one ChannelMaps per layer that was asked for
    depth    every layer with zeros in the order in which they ran, or every layer if none has any
    notes    sentences on what may mislead
    """

    picture: Tensor
    image: str
    maps: tuple[ChannelMaps, ...]
    depth: tuple[Depth, ...]
    notes: tuple[str, ...]
    record: Record

    def __len__(self) -> int:
        return len(self.maps)

    def __repr__(self) -> str:
        return f"Activations({shown(self.image)}: {shown(', '.join(one.layer for one in self.maps))})"

    def __iter__(self) -> Iterator[ChannelMaps]:
        return iter(self.maps)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray[Any, Any]:
        """Of the only layer that was asked for, (c, h, w)."""
        if len(self) > 1:
            raise RequestError(
                f"maps of {len(self)} layers are no one array; take one layer: np.asarray(a[{self.maps[0].layer!r}])"
            )
        return array_of(self.maps[0].values, dtype, copy)

    def __getitem__(self, layer: str | int) -> ChannelMaps:
        """Of a layer by its address, or by its position among those that were asked for."""
        if hasattr(layer, "__index__") and not isinstance(layer, bool):
            return self.maps[layer]
        found = next((one for one in self.maps if one.layer == layer), None)
        if found is None:
            raise UnknownNameError("layer", layer, [one.layer for one in self.maps], "give it to `activations`")
        return found

    def tiles(
        self, layer: str | None = None, *, scale: str = "shared", order: str = "activity", columns: int | None = None
    ) -> Image.Image:
        """All channels of a layer, by default the first asked for, as grey tiles."""
        one = self.maps[0] if layer is None else self[layer]
        return one.tiles(scale=scale, order=order, columns=columns)

    def sheet(self) -> Image.Image:
        """The tiles of the first layer."""
        return self.tiles()

    def plot(self, ax: Any = None, item: int = 0) -> Any:
        """Draw the tiles of a layer into Matplotlib's axes (default: new ones). Matplotlib must be installed."""
        one = self.maps[checks.whole("item", item, low=0, high=len(self) - 1)]
        return plotted(one.image(), one.layer, ax)

    def depth_chart(self) -> Image.Image:
        """The share of zeros of each layer, from the picture to the scores; where no layer has any, their sparsity."""
        by_zeros = any(one.zeros for one in self.depth)
        what = "share of zeros" if by_zeros else "sparsity (no layer has zeros)"
        rows = [(one.layer, one.zeros if by_zeros else one.sparsity, _silent_said(one)) for one in self.depth]
        return bars.chart(rows, title=f"{self.maps[0].model} · {what} along the depth, {Path(self.image).name}")

    def save(self, folder: str | Path) -> Path:
        """Write each layer as LAYER.png and LAYER.npy, depth.png and run.json into the folder; gives the last's path."""
        path = save(folder, "activations", self.maps, depth_of(self))
        if self.depth:
            files.write_png(path.parent / "depth.png", self.depth_chart())
        return path

    def _repr_html_(self) -> str:
        return "".join(figure(one.image(), one.layer, (*self.notes, *one.notes)) for one in self.maps)


def depth_of(found: Activations) -> dict[str, Any]:
    """What run.json says beside the layers."""
    said: dict[str, Any] = {"depth": [one.to_dict() for one in found.depth]}
    return said | ({"notes": list(found.notes)} if found.notes else {})


def sparsity(values: Tensor) -> float:
    """(1 − mean(|a|)² / mean(a²)) / (1 − 1/n); 0 where all are zero or there is but one. Source: Vinje & Gallant 2000.

    >>> sparsity(torch.ones(4)), sparsity(torch.tensor([0.0, 0.0, 0.0, 2.0]))
    (0.0, 1.0)
    """
    a = values.detach().abs().double().flatten()
    power = float((a**2).mean()) if len(a) else 0.0
    if len(a) < 2 or power == 0:
        return 0.0
    return min(1.0, max(0.0, (1 - float(a.mean()) ** 2 / power) / (1 - 1 / len(a))))


def _silent_said(one: Depth) -> str:
    return f"{one.silent:.0%} of channels silent" if one.silent >= 0.005 else ""
