"""A chart of bars, drawn without a plotting library."""

from __future__ import annotations

from collections.abc import Sequence

from PIL import Image, ImageDraw, ImageFont

from ..errors import RequestError
from .contact_sheet import FAINT, INK, LABEL_SIZE, LINE, MARGIN, PAPER, TITLE_SIZE

_LENGTH = 420  # pixels of a bar of 1
_BAR, _TRACK = (70, 105, 160), (232, 234, 238)
_MOST = 900  # rows of one chart


def chart(rows: Sequence[tuple[str, float, str]], *, title: str = "") -> Image.Image:
    """One row for each (name, value in [0, 1], words behind it), from top to bottom."""
    if not rows:
        raise RequestError("a chart of no rows; at least one is needed")
    rows = rows[:_MOST]
    font = ImageFont.load_default(LABEL_SIZE)
    names = max(font.getlength(name) for name, _, _ in rows)
    words = max(font.getlength(f"{value:.0%}  {said}") for _, value, said in rows)
    head = LINE + MARGIN if title else 0
    left = MARGIN + int(names) + 12
    width = left + _LENGTH + 12 + int(words) + MARGIN
    heading = ImageFont.load_default(TITLE_SIZE)
    size = (max(width, int(heading.getlength(title)) + 2 * MARGIN), 2 * MARGIN + head + LINE * len(rows))
    sheet = Image.new("RGB", size, PAPER)
    draw = ImageDraw.Draw(sheet)
    draw.text((MARGIN, MARGIN - 2), title, INK, heading)
    for i, (name, value, said) in enumerate(rows):
        top = MARGIN + head + i * LINE
        draw.text((left - 12 - font.getlength(name), top), name, INK, font)
        draw.rectangle((left, top + 3, left + _LENGTH, top + LINE - 4), _TRACK)
        if value > 0:
            draw.rectangle((left, top + 3, left + max(1, round(value * _LENGTH)), top + LINE - 4), _BAR)
        draw.text((left + _LENGTH + 12, top), f"{value:.0%}  {said}", FAINT, font)
    return sheet
