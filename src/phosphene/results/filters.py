"""Filters: the weights of one layer, raw and signed, and how they are shown."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from .. import checks
from ..ambient import shielded_methods
from ..pictures import colour as colours
from ..pictures import colourmap, contact_sheet, overlay, tiles
from ..pictures.notebook import figure
from .anatomy import Part, save
from .record import Record

DEAD = 1e-3  # of the largest norm in the layer: what is smaller adds nothing that a map would show
ALIKE = 0.999  # cosine from which on two filters are one
_MOST_WORK = 2e12  # multiplications that looking for duplicates may take: some seconds
_NAMED = 12  # filters that a note names; all are in the result
_SIDE = 48  # pixels of a tile at least
_MATRIX, _TITLE = 1200, 720  # pixels: of the longer side of a matrix about; of the width that the title needs


@shielded_methods
@dataclass(frozen=True, eq=False)
class Filters(Part):
    """What `filters` gives.

    values      (k, c, kh, kw) float32, raw and signed; of a first layer in picture space (`colour`), c the picture's channels,
                else c the input channels of a group
    layer, kind of the module they are of
    groups      in how many the inputs are divided: filter i reads the inputs of group i·groups/k alone
    dead        filters whose norm is under a thousandth of the largest
    duplicates  filters of one group that are alike up to a factor (cosine ≥ 0.999), in groups of two or more
    notes       sentences on dead ones, duplicates and on what was chosen
    """

    values: Tensor
    layer: str
    kind: str
    groups: int
    colour: bool
    dead: tuple[int, ...]
    duplicates: tuple[tuple[int, ...], ...]
    notes: tuple[str, ...]
    record: Record

    def __len__(self) -> int:
        return len(self.values)

    def __repr__(self) -> str:
        k, c, h, w = self.values.shape
        return f"Filters({self.layer}: {k} of {c}×{h}×{w})"

    def scale(self, item: int | None = None) -> float:
        """The size of weight that is shown as full colour: the 99th percentile of the layer's, or the largest of one filter.

        A few filters that are many times larger than the others, as batch norm leaves them, would make all others blank.
        """
        if item is None:
            return self._top
        return float(self.values[self._place(item)].abs().max())

    def tile(self, item: int, *, shared: bool = True) -> Image.Image:
        """One filter: a picture about mid-grey in true colours, or its input channels side by side, blue below zero, red above.

        shared: on one scale with all others of the layer, else each on its own.
        """
        top = self._top if shared else self.scale(item)
        values = self.values[self._place(item)]
        level = values / top if top > 0 else torch.zeros_like(values)
        if self._true:
            return colours.enlarged(colours.image_of(0.5 + 0.5 * level), _SIDE)
        signed = torch.stack([_diverging(one) for one in level])
        return colours.enlarged(colours.image_of(tiles.grid(signed, gap=_gap(values.shape[-2:]))), _SIDE)

    def matrix(self) -> Image.Image:
        """All on one picture and one scale: rows are filters, columns the input channels of a group; blue below zero, red
        above. A pixel each where kernels are 1×1."""
        k, c, h, w = self.values.shape
        gap = _gap((h, w))
        top = self._top
        level = self.values / top if top > 0 else torch.zeros_like(self.values)
        coloured = _diverging(level.permute(0, 2, 1, 3).reshape(k * h, c * w)).view(3, k, h, c, w)
        sheet = torch.ones(3, k, h + gap, c, w + gap)
        sheet[:, :, :h, :, :w] = coloured
        flat = sheet.reshape(3, k * (h + gap), c * (w + gap))
        return colours.image_of(flat[:, : k * (h + gap) - gap, : c * (w + gap) - gap])

    def sheet(self, *, shared: bool = True) -> Image.Image:
        """Every filter with its number where each is one tile; the matrix where filters read many channels."""
        top = f"-{self._top:.3g} to {self._top:.3g}" if shared else "each on its own scale"
        k, c = self.values.shape[:2]
        title = f"{self.model} · {self.layer}, {k} filters, {top}"
        if self._true or c == 1:
            side = _SIDE if k > 64 else 2 * _SIDE
            each = [contact_sheet.Tile(self.tile(i, shared=shared), (self._label(i),)) for i in range(k)]
            return contact_sheet.contact_sheet(each, title=title, tile=side)
        of = f", of a group of {c}" if self.groups > 1 else ""
        words = (f"rows: filters 0 to {k - 1}; columns: input channels 0 to {c - 1}{of}",)
        return contact_sheet.contact_sheet([contact_sheet.Tile(self._large_matrix(), words)], title=title, columns=1, tile=1)

    def image(self) -> Image.Image:
        """The sheet as it is saved."""
        return self.sheet()

    def array(self) -> Tensor:
        return self.values

    def save(self, folder: str | Path) -> Path:
        """Write the sheet as LAYER.png, the raw numbers as LAYER.npy, and run.json into the folder; gives the last's path."""
        return save(folder, "filters", (self,))

    def to_dict(self) -> dict[str, Any]:
        said = {
            "layer": self.layer,
            "kind": self.kind,
            "shape": list(self.values.shape),
            "groups": self.groups,
            "colour": self.colour,
            "scale": self._top,
            "dead": list(self.dead),
            "duplicates": [list(group) for group in self.duplicates],
        }
        return said | ({"notes": list(self.notes)} if self.notes else {})

    def _repr_html_(self) -> str:
        return figure(self.image(), f"filters of {self.layer}", self.notes)

    @cached_property
    def _top(self) -> float:
        return overlay.scale(self.values)

    @property
    def _true(self) -> bool:
        """Whether a filter is a picture that a screen can show."""
        return self.colour and self.values.shape[1] in (1, 3)

    def _place(self, item: int) -> int:
        return checks.whole("item", item, low=0, high=len(self) - 1)

    def _label(self, i: int) -> str:
        return f"{i} dead" if i in self.dead else str(i)

    def _large_matrix(self) -> Image.Image:
        image = self.matrix()
        factor = max(1, _MATRIX // max(image.size))
        large = image.resize((image.width * factor, image.height * factor), Image.Resampling.NEAREST)
        sheet = Image.new("RGB", (max(large.width, _TITLE), large.height), contact_sheet.PAPER)  # as wide as the words need
        sheet.paste(large)
        return sheet


def parted(values: Tensor, groups: int) -> tuple[tuple[int, ...], tuple[tuple[int, ...], ...], tuple[str, ...]]:
    """The dead filters, those that are alike, and notes on both; values (k, …), filter i of group i·groups/k."""
    flat = values.detach().flatten(1).double()
    norms = flat.norm(dim=1)
    top = float(norms.max()) if len(norms) else 0.0
    dead = tuple(int(i) for i in (norms <= DEAD * top).nonzero().flatten())
    said = [f"{_count(len(dead), 'dead filter')} of {len(flat)}: {_named(dead)}"] if dead else []
    if len(flat) ** 2 / groups * flat.shape[1] > _MOST_WORK:
        return dead, (), (*said, "duplicates were not looked for: the layer is too large")
    alike = _alike(flat, norms, set(dead), groups) if flat.shape[1] > 1 else ()
    if alike:
        groups_said = "; ".join(" = ".join(map(str, group[:_NAMED])) for group in alike[:_NAMED])
        said.append(
            f"{_count(sum(len(group) - 1 for group in alike), 'duplicate filter')}: "
            f"{groups_said}{' …' if len(alike) > _NAMED else ''}"
        )
    return dead, alike, tuple(said)


def _alike(flat: Tensor, norms: Tensor, dead: set[int], groups: int) -> tuple[tuple[int, ...], ...]:
    """Groups of filters with a cosine ≥ ALIKE to the first of each, which read the same inputs."""
    unit = flat / norms.clamp(min=torch.finfo(torch.double).tiny)[:, None]
    size = len(flat) // groups
    found: list[tuple[int, ...]] = []
    for start in range(0, len(flat), size):
        near = (unit[start : start + size].float() @ unit[start : start + size].float().T) >= ALIKE
        taken = {i - start for i in dead if start <= i < start + size}
        for i in near.triu(1).any(1).nonzero().flatten().tolist():
            same = [j for j in near[i].nonzero().flatten().tolist() if j >= i and j not in taken]
            if i not in taken and len(same) > 1:
                found.append(tuple(start + j for j in same))
                taken.update(same)
    return tuple(found)


def _diverging(level: Tensor) -> Tensor:
    """(h, w) in [−1, 1] -> (3, h, w)."""
    return colourmap.applied(0.5 + 0.5 * level, colourmap.diverging())


def _gap(kernel: Any) -> int:
    return 0 if tuple(kernel) == (1, 1) else 1


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def _named(indices: tuple[int, ...]) -> str:
    return ", ".join(map(str, indices[:_NAMED])) + (", …" if len(indices) > _NAMED else "")
