"""A labelled sheet of pictures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from PIL import Image, ImageDraw, ImageFont

from ..errors import RequestError
from .colour import enlarged
from .tiles import columns_for

TILE = 160  # pixels of the shorter side at least; smaller pictures are enlarged by whole factors
MARGIN, GAP, LINE = 16, 14, 19
PAPER, INK, FAINT = (255, 255, 255), (28, 28, 30), (110, 110, 116)
TITLE_SIZE, LABEL_SIZE = 18, 14
LONGEST_TITLE = 480  # pixels that a title may widen a narrow sheet to
LARGEST_SIDE = 20_000  # of a sheet, in pixels: beyond it viewers give up; the tiles are made smaller


@dataclass(frozen=True)
class Tile:
    """A picture with lines of text under it, the first darker than the others."""

    image: Image.Image
    lines: tuple[str, ...] = ()


def contact_sheet(
    tiles: Sequence[Tile], *, title: str = "", columns: int | None = None, tile: int = TILE, standing: bool = False
) -> Image.Image:
    """The tiles row by row on white, each with its lines, under a title. Labels that do not fit are cut with an ellipsis.

    standing: pictures lower than the others stand on their lines, instead of beginning where the others begin
    """
    if not tiles:
        raise RequestError("a contact sheet of no pictures; at least one is needed")
    images = [enlarged(t.image.convert("RGB"), tile) for t in tiles]
    width, height = max(i.width for i in images), max(i.height for i in images)
    lines = max(len(t.lines) for t in tiles)
    columns = columns or columns_for(len(tiles), height + lines * LINE, width)
    rows = -(-len(tiles) // columns)
    cell = (width + GAP, height + lines * LINE + 4 + GAP)
    head = LINE + MARGIN if title else 0
    titled = int(ImageFont.load_default(TITLE_SIZE).getlength(title)) + 1 if title else 0
    size = (2 * MARGIN + max(columns * cell[0] - GAP, min(titled, LONGEST_TITLE)), 2 * MARGIN + head + rows * cell[1] - GAP)
    if max(size) > LARGEST_SIDE and tile > 16:
        return contact_sheet(tiles, title=title, columns=columns, tile=tile // 2, standing=standing)
    sheet = Image.new("RGB", size, PAPER)
    draw = ImageDraw.Draw(sheet)
    if title:
        _write(draw, (MARGIN, MARGIN - 2), title, TITLE_SIZE, INK, size[0] - 2 * MARGIN)
    for i, (image, one) in enumerate(zip(images, tiles, strict=True)):
        left, top = MARGIN + (i % columns) * cell[0], MARGIN + head + (i // columns) * cell[1]
        sheet.paste(image, (left, top + (height - image.height if standing else 0)))
        for row, text in enumerate(one.lines):
            place = (left, top + height + 4 + row * LINE)
            _write(draw, place, text, LABEL_SIZE, INK if row == 0 else FAINT, width)
    return sheet


def _write(
    draw: ImageDraw.ImageDraw, place: tuple[int, int], text: str, size: int, ink: tuple[int, int, int], room: int
) -> None:
    font, text = ImageFont.load_default(size), " ".join(text.split())
    if draw.textlength(text, font) > room:
        while text and draw.textlength(text + "…", font) > room:
            text = text[:-1]
        text = text.rstrip() + "…"
    draw.text(place, text, ink, font)
