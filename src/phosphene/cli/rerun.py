"""`phosphene rerun`: makes a picture again from the Record that its file carries."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from . import options


def rerun(
    picture: Annotated[Path, typer.Argument(metavar="PICTURE.png", help="A PNG that Phosphene wrote.")],
    model: Annotated[
        str | None,
        typer.Option("-m", "--model", metavar="REF", help="The network, where the record names code or files: not trusted."),
    ] = None,
    obey: Annotated[
        bool, typer.Option("--obey", help="Read the files that the record names, as a picture to start from.")
    ] = False,
    trust: Annotated[bool, typer.Option("--trust", hidden=True, help="The old name of --obey.")] = False,
    costly: Annotated[
        bool, typer.Option("--costly", help="Render also what would take hours, or more memory than is free.")
    ] = False,
    device: options.Device = None,
    out: options.Out = Path("rerun"),
) -> None:
    """Make a picture again, with all that were rendered together with it, and compare it pixel by pixel.

    Example: phosphene rerun out/cat.png -o again
    """
    net = options.opened(model, device) if model else None

    from ..rendering.rerun import rerun as verb
    from ..results.folder import RunFolder
    from .making import Bar, progress_bar

    with progress_bar() as progress:
        again = verb(picture, net, trust=obey or trust, costly=costly, observers=(Bar(progress),))
    record = again.rendering.records[again.position]
    run = RunFolder(
        out,
        command="rerun",
        model=record.model,
        device=record.environment["device"],
        arguments={"picture": str(picture)},
    )
    paths = run.add(again.rendering)
    run.finish()
    typer.echo(_verdict(again.identical, again.difference, str(paths[again.position])))
    for change in again.changed:
        typer.echo(f"note: {change}", err=True)
    raise typer.Exit(0 if again.identical or again.changed else 1)


def _verdict(identical: bool, difference: int, where: str) -> str:
    if identical:
        return f"identical, pixel for pixel: {where}"
    return f"not identical: up to {difference} of 255 grey levels apart: {where}"
