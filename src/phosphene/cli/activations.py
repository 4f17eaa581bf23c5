"""`phosphene activations`: what a photograph makes of every channel of some layers."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from ..errors import RequestError, shown
from . import options


def activations(
    photo: Annotated[Path, typer.Argument(metavar="PHOTO", help="A picture, of any size.")],
    model: options.Model,
    layers: Annotated[
        list[str] | None,
        typer.Option("--layer", metavar="L", help="An address; may be repeated. Of each size of map the last layer."),
    ] = None,
    scale: Annotated[
        str, typer.Option("--scale", metavar="HOW", help="shared: all channels of a layer on one scale; own: each on its own.")
    ] = "shared",
    order: Annotated[
        str, typer.Option("--order", metavar="HOW", help="activity: the most active channels first; index: by number.")
    ] = "activity",
    device: options.Device = None,
    out: options.Out = Path("out"),
) -> None:
    """Show activations: all channels of layers as grey tiles, and how sparse the layers are along the depth.

    Example: phosphene activations -m demo:standard photo.jpg --layer stage1.0 --layer stage3.0 -o out
    """
    told: dict[str, Any] = {"scale": _one_of("--scale", scale, "shared", "own")}
    told["order"] = _one_of("--order", order, "activity", "index")

    from ..pictures import files
    from ..pictures.reading import read_file
    from .photographs import photograph

    if not photo.is_file():
        read_file(photo)  # raises, before the network is opened
    net = options.opened(model, device)
    picture = photograph(net, photo)

    from ..inspection.activations import activations as verb
    from ..results.activations import depth_of
    from ..results.anatomy import PartFolder

    found = verb(net, picture, layers or None, image=str(photo))
    arguments = {"photo": str(photo), "layers": layers, **told}
    run = PartFolder(out, command="activations", model=found.record.model, device=str(net.device), arguments=arguments)
    run.more = depth_of(found)
    if found.depth:
        files.write_png(run.path / "depth.png", found.depth_chart())
        run.more["chart"] = "depth.png"
    for one in found.maps:
        run.add(one, image=one.tiles(**told))
    for note in (*found.notes, *(note for one in found.maps for note in one.notes)):
        typer.echo(f"note: {note}", err=True)
    chart = "depth.png " if found.depth else ""
    typer.echo(f"the channels of {', '.join(one.layer for one in found.maps)}, {chart}and run.json are in {out}")


def _one_of(option: str, given: str, *right: str) -> str:
    if given not in right:
        raise RequestError(f"{option} {shown(given)}; {' or '.join(right)} is needed")
    return given
