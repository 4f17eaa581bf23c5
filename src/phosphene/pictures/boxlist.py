"""A table of boxes that anyone may have written: `file,class,left,top,right,bottom`, one row a box."""

from __future__ import annotations

import csv
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from ..errors import RequestError, first_line, shown

COLUMNS = ("file", "class", "left", "top", "right", "bottom")
LARGEST_BYTES = 64 << 20
LARGEST_SIDE = 1e6  # pixels; a number beyond it is a mistake


@dataclass(frozen=True)
class Boxed:
    """A picture and the boxes (left, top, right, bottom) of one class in it, in its pixels, right and bottom outside."""

    path: Path
    name: str
    label: str
    boxes: tuple[tuple[float, float, float, float], ...]


def read_boxes(table: Path, folder: Path) -> tuple[list[Boxed], list[str]]:
    """What the rows say, one entry per file and class in their order, and a sentence for each row that cannot be taken.

    Files are paths inside the folder: one that leads out of it, also by a link, is no file. RequestError for what is no table.
    """
    found: dict[tuple[str, str], list[tuple[float, float, float, float]]] = {}
    refused: list[str] = []
    root = folder.resolve()
    for number, row in _rows(table):
        try:
            name, label, box = _taken(row, root)
            found.setdefault((name, label), []).append(box)
        except ValueError as error:
            refused.append(f"{shown(str(table))}, row {number}: {error}")
    entries = [Boxed(folder / name, name, label, tuple(boxes)) for (name, label), boxes in found.items()]
    return entries, refused


def _rows(table: Path) -> Iterator[tuple[int, dict[str, str | None]]]:
    try:
        if not table.is_file():
            raise RequestError(f"{shown(str(table))} is not there; a CSV file with {','.join(COLUMNS)} is needed")
        if table.stat().st_size > LARGEST_BYTES:
            raise RequestError(f"{shown(str(table))} has over {LARGEST_BYTES >> 20} MiB")
        with table.open(encoding="utf-8-sig", newline="") as lines:
            reader = csv.DictReader(lines, strict=True)
            missing = [name for name in COLUMNS if name not in (reader.fieldnames or ())]
            if missing:
                raise RequestError(f"{shown(str(table))} has no column {missing[0]}; {','.join(COLUMNS)} are needed")
            for row in reader:
                yield reader.line_num, {name: row[name] for name in COLUMNS}
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise RequestError(f"{shown(str(table))} cannot be read as a table: {first_line(error)}") from error


def _taken(row: dict[str, str | None], root: Path) -> tuple[str, str, tuple[float, float, float, float]]:
    """The file, the class and the box of a row; ValueError with what is wrong."""
    name, label = (row["file"] or "").strip(), (row["class"] or "").strip()
    if not name or not label:
        raise ValueError("file or class is empty")
    if "\0" in name or Path(name).is_absolute() or not (root / name).resolve().is_relative_to(root):
        raise ValueError(f"file {shown(name)} leads out of the folder")
    left, top, right, bottom = (_number(side, row[side]) for side in COLUMNS[2:])
    if right <= left or bottom <= top:
        raise ValueError(f"box {left:g},{top:g},{right:g},{bottom:g} is empty; left < right and top < bottom are needed")
    return name, label, (left, top, right, bottom)


def _number(name: str, text: str | None) -> float:
    try:
        number = float(text or "")
    except ValueError:
        number = math.nan
    if not abs(number) <= LARGEST_SIDE:
        raise ValueError(f"{name} is {shown(text)}; pixels are needed")
    return number
