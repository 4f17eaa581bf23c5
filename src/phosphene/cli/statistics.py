"""`phosphene statistics`: the spectrum and colours of one's own pictures, for the canvas of phases."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..errors import PictureError, shown

if TYPE_CHECKING:
    from torch import Tensor


def statistics(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Pictures of what the network sees; a few hundred or more.")],
    out: Annotated[Path, typer.Option("-o", "--out", metavar="FILE", help="The file to write.")] = Path(
        "statistics.safetensors"
    ),
) -> None:
    """Measure how strong each frequency is in pictures of yours, and how their colours go together.

    Example: phosphene statistics photos -o mine.safetensors
    """
    from ..pictures.statistics import measure

    if not folder.is_dir():
        raise PictureError(f"{shown(str(folder))} is no folder; one with pictures is needed")
    used: list[Path] = []
    measure(_pictures(folder, used)).save(out)
    typer.echo(f'{out}: of {len(used)} pictures; in a recipe: canvas = {{kind = "phase", magnitude = "{out}"}}')


def _pictures(folder: Path, used: list[Path]) -> Iterator[Tensor]:
    """Those that can be read; of the others is told."""
    from ..pictures.reading import read

    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        try:
            picture = read(path)
        except PictureError as error:
            typer.echo(f"note: left out: {error}", err=True)
            continue
        used.append(path)
        yield picture.expand(-1, 3, -1, -1)
