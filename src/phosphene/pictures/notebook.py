"""A picture with its notes as a notebook shows it."""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Sequence

from PIL import Image


def figure(image: Image.Image, title: str, notes: Sequence[str] = ()) -> str:
    """HTML that holds the picture itself; title and notes are text, whatever they hold."""
    memory = io.BytesIO()
    image.save(memory, "PNG")
    data = base64.b64encode(memory.getvalue()).decode()
    said = "".join(f"<li>{html.escape(note)}</li>" for note in notes)
    picture = f'<img alt="{html.escape(title)}" style="max-width:100%" src="data:image/png;base64,{data}">'
    return f"<figure>{picture}{f'<ul>{said}</ul>' if said else ''}</figure>"
