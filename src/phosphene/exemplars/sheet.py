"""Sheets and folders of patches: rows are units, columns the patches that excite them most."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from ..objectives.expression import Objective
from ..pictures import contact_sheet, files
from ..pictures.colour import image_of
from ..results.record import phosphene_version
from .examples import Examples
from .patches import Box

TILE = 112  # pixels of a side of a tile
ROWS = 32  # units of one sheet; more make further sheets
GROUND = (236, 236, 238)  # around a patch that is not square, since borders cut it
MAKING = 8  # units that are read at once
# What the network saw (1, c, h, w), the one unit, its window -> what belongs beside the patch, of the window's size.
Beside = Callable[[Sequence[tuple[Tensor, Objective, Box]]], Sequence[Image.Image]]
Rendered = Callable[[Sequence[str]], Sequence[Image.Image]]  # objectives -> their pictures


@dataclass(frozen=True)
class Row:
    """One unit: rank, patch and what is beside it, best first; rendered: the unit's own picture."""

    unit: int
    cells: tuple[tuple[int, Image.Image, Image.Image | None], ...]
    rendered: Image.Image | None = None


def rows(
    found: Examples, fit: Callable[[Tensor], Tensor], *, beside: Beside | None = None, rendered: Rendered | None = None
) -> Iterator[Row]:
    """The rows of a sheet, some at a time. fit: `net.preprocess.taken`."""
    for start in range(0, len(found), MAKING):
        units = range(start, min(start + MAKING, len(found)))
        cells: dict[tuple[int, int], tuple[Image.Image, Image.Image | None]] = {}
        for unit, rank, original, patch in found.each(units):
            other = None
            if beside is not None:
                left, top, right, bottom = found.windows[unit, rank].tolist()
                (other,) = beside([(fit(original), found.unit_at(unit, rank), (left, top, right, bottom))])
            cells[unit, rank] = (image_of(patch), other)
        own = rendered([found.objectives[unit] for unit in units]) if rendered else [None] * len(units)
        for unit, picture in zip(units, own, strict=True):
            yield Row(
                unit, tuple((rank, *cell) for (row, rank), cell in sorted(cells.items(), key=_place) if row == unit), picture
            )


def _place(cell: tuple[tuple[int, int], object]) -> tuple[int, int]:
    return cell[0]


def sheet(found: Examples, some: Sequence[Row], title: str) -> Image.Image:
    """Rows are units, columns patches, best first, each over its value and its label; at the left the unit's own facts."""
    columns = 1 + any(row.rendered is not None for row in some) + found.values.shape[1]
    wide = any(beside is not None for row in some for _, _, beside in row.cells)
    tiles = [tile for row in some for tile in _tiles(found, row, columns, wide)]
    return contact_sheet.contact_sheet(tiles, title=title, columns=columns, tile=TILE)


def _tiles(found: Examples, row: Row, columns: int, wide: bool) -> list[contact_sheet.Tile]:
    width = 2 * TILE + 2 if wide else TILE
    blank = Image.new("RGB", (width, TILE), contact_sheet.PAPER)
    tiles = [contact_sheet.Tile(_headed(found, row.unit, blank.copy()))]
    if row.rendered is not None:
        own = blank.copy()
        own.paste(_fitted(row.rendered, (TILE, TILE)), (0, 0))
        tiles.append(contact_sheet.Tile(own, ("rendered",)))
    for rank, patch, beside in row.cells:
        image = _fitted(patch, (TILE, TILE))
        if wide:
            both = blank.copy()
            both.paste(image, (0, 0))
            if beside is not None:
                # Of the patch's proportions: fitting to the network's size may have changed them.
                both.paste(_fitted(beside.resize(patch.size), (TILE, TILE)), (TILE + 2, 0))
            image = both
        label = found.entries[int(found.indices[row.unit, rank])].label
        value = f"{float(found.values[row.unit, rank]):.3g}"
        tiles.append(contact_sheet.Tile(image, (value,) if label is None else (value, str(label))))
    return [*tiles, *[contact_sheet.Tile(blank)] * (columns - len(tiles))]


def _headed(found: Examples, unit: int, ground: Image.Image) -> Image.Image:
    draw, y = ImageDraw.Draw(ground), 2
    for i, line in enumerate(_facts(found, unit)):
        font = ImageFont.load_default(contact_sheet.LABEL_SIZE if i == 0 else 12)
        while draw.textlength(line, font) > ground.width and len(line) > 1:
            line = f"…{line.removeprefix('…')[1:]}"  # the end of an address tells most
        draw.text((0, y), line, contact_sheet.FAINT if i else contact_sheet.INK, font)
        y += contact_sheet.LINE
    return ground


def _facts(found: Examples, unit: int) -> list[str]:
    stats, text = found.stats, found.objectives[unit]
    kind, _, rest = text.partition(":")
    address, _, number = rest.rpartition(":")
    names = [f"channel {number}", address] if kind == "channel" else [rest or text, kind]
    numbers = [f"mean {float(stats.mean[unit]):.3g}", f"spread {float(stats.spread[unit]):.3g}"]
    return [*names, *numbers, "never above 0" if bool(stats.dead[unit]) else f"{float(stats.sparsity[unit]):.0%} not above 0"]


def _fitted(image: Image.Image, size: tuple[int, int]) -> Image.Image:
    """The whole image in a tile, in its own proportions."""
    scale = min(size[0] / image.width, size[1] / image.height)
    inside = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
    kind = Image.Resampling.LANCZOS if scale < 1 else Image.Resampling.BICUBIC
    tile = Image.new("RGB", size, GROUND)
    tile.paste(image.convert("RGB").resize(inside, kind), ((size[0] - inside[0]) // 2, (size[1] - inside[1]) // 2))
    return tile


def save(
    found: Examples,
    out: str | Path,
    made: Iterator[Row],
    *,
    title: str,
    about: Mapping[str, Any],
    on_row: Callable[[], None] = lambda: None,
) -> Path:
    """Write patches/UNIT/RANK.png, contact sheets of 32 units each, and run.json; gives the path of the latter.

    about: command, model, device and arguments, for run.json
    """
    place, started = files.folder(out), time.monotonic()
    items: list[dict[str, Any]] = []
    page: list[Row] = []
    for row in made:
        items.append(_written(found, place, row))
        page.append(row)
        if len(page) == ROWS or row.unit == len(found) - 1:
            number = -(-len(items) // ROWS)
            name = "contact_sheet.png" if number == 1 else f"contact_sheet-{number}.png"
            files.write_sheet(place / name, sheet(found, page, title))
            page = []
        on_row()
    said = {
        "phosphene": phosphene_version(),
        **about,
        "seconds": round(time.monotonic() - started, 3),
        "data": {"name": found.data.name, "pictures": found.seen, "refused": found.refused},
        "refusals": [{"index": one.index, "image": one.name, "reason": one.reason} for one in found.refusals],
        "notes": list(found.notes),
        "items": items,
    }
    return files.write_text(place / "run.json", json.dumps(said, indent=1, ensure_ascii=False, allow_nan=False))


def _written(found: Examples, place: Path, row: Row) -> dict[str, Any]:
    said = found.row(row.unit)
    folder = files.folder(place / "patches" / f"{row.unit:05d}-{files.slug(found.objectives[row.unit])}")
    for rank, patch, beside in row.cells:
        told = said["patches"][rank]
        told["file"] = str(files.write_png(folder / f"{rank + 1}.png", patch).relative_to(place))
        if beside is not None:
            told["beside"] = str(files.write_png(folder / f"{rank + 1}.guided.png", beside).relative_to(place))
    if row.rendered is not None:
        said["rendered"] = str(files.write_png(folder / "rendered.png", row.rendered).relative_to(place))
    return said
