"""`phosphene filters`: the weights of layers as they are."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from . import options


def filters(
    model: options.Model,
    layers: Annotated[
        list[str] | None,
        typer.Option("--layer", metavar="L", help="A convolution or linear layer, or a block; may be repeated. The first."),
    ] = None,
    own_scale: Annotated[
        bool, typer.Option("--own-scale", help="Each filter on its own scale, where each is one tile; else all on one.")
    ] = False,
    device: options.Device = None,
    out: options.Out = Path("out"),
) -> None:
    """Show filters: of the first layer in true colours, deeper ones input by input, blue below zero and red above.

    Example: phosphene filters -m demo:standard --layer stem.0 --layer stage1.0.conv1 -o out
    """
    net = options.opened(model, device)

    from ..inspection.filters import filters as verb
    from ..results.anatomy import PartFolder

    asked: list[str | None] = [*dict.fromkeys(layers)] if layers else [None]
    found = [verb(net, layer) for layer in asked]
    run = PartFolder(
        out,
        command="filters",
        model=found[0].record.model,
        device=str(net.device),
        arguments={"layers": layers, "own_scale": own_scale},
    )
    for layer, one in zip(asked, found, strict=True):
        run.add(one, asked=layer, image=one.sheet(shared=not own_scale))
        for note in one.notes:
            typer.echo(f"note: {one.layer}: {note}", err=True)
    typer.echo(f"the filters of {', '.join(one.layer for one in found)} and run.json are in {out}")
