"""`phosphene statistics`: what one's own pictures have in common, by themselves or to the layers of a network."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..errors import PictureError, RequestError, shown
from . import options

if TYPE_CHECKING:
    from torch import Tensor

    from ..network.network import Network


def statistics(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Pictures of what the network sees; a few hundred or more.")],
    model: Annotated[
        str | None,
        typer.Option("-m", "--model", metavar="REF", help="Measure what this network's layers give for the pictures."),
    ] = None,
    layers: Annotated[
        list[str] | None,
        typer.Option("--layer", metavar="L", help="An address; may be repeated. Normalisation layers, else convolutions."),
    ] = None,
    device: options.Device = None,
    out: Annotated[Path, typer.Option("-o", "--out", metavar="FILE", help="The file to write.")] = Path(
        "statistics.safetensors"
    ),
) -> None:
    """Measure how strong each frequency is in pictures of yours, and how their colours go together.

    With -m measure instead what a network's layers give for them, for networks without batch norms: class models are then kept
    near to photographs. About 150 pictures are enough; labels are not needed.

    Example: phosphene statistics photos -o mine.safetensors

    Example: phosphene statistics photos -m timm:vit_tiny_patch16_224 -o vit.safetensors
    """
    if not folder.is_dir():
        raise PictureError(f"{shown(str(folder))} is no folder; one with pictures is needed")
    if model is None:
        if layers:
            raise RequestError("--layer is of a network; name it with -m")
        _of_pictures(folder, out)
    else:
        _of_layers(options.opened(model, device), model, layers or None, folder, out)


def _of_pictures(folder: Path, out: Path) -> None:
    from ..pictures.statistics import measure

    used: list[Path] = []
    measure(picture.expand(-1, 3, -1, -1) for picture in _pictures(folder, used)).save(out)
    typer.echo(f'{out}: of {len(used)} pictures; in a recipe: canvas = {{kind = "phase", magnitude = "{out}"}}')


def _of_layers(net: Network, model: str, layers: list[str] | None, folder: Path, out: Path) -> None:
    from ..inspection.statistics import statistics as verb

    used: list[Path] = []
    found = verb(net, _pictures(folder, used, net.preprocess.bands), layers)
    found.save(out)
    reference = f"{model}{'&' if '?' in model else '?'}statistics={str(out).replace('%', '%25').replace('&', '%26')}"
    typer.echo(f"{out}: {len(found.layers)} layers over {len(used)} pictures; -m '{reference}' uses them")


def _pictures(folder: Path, used: list[Path], channels: int | None = None) -> Iterator[Tensor]:
    """Those that can be read; of the others is told."""
    from ..pictures.converting import read
    from .making import progress_bar

    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    with progress_bar("pictures") as progress:
        for path in progress.track(paths, description="reading"):
            try:
                picture = read(path, channels=channels)
            except PictureError as error:
                typer.echo(f"note: left out: {error}", err=True)
                continue
            used.append(path)
            yield picture
