"""`phosphene examples`: which pictures of a data set excite the units of a layer."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..errors import Interrupted, RequestError
from . import options
from .photographs import as_option

if TYPE_CHECKING:
    from PIL.Image import Image
    from torch import Tensor

    from ..exemplars.examples import Examples
    from ..exemplars.patches import Box
    from ..exemplars.sheet import Beside, Rendered
    from ..network.network import Network
    from ..objectives.expression import Objective


def examples(
    data: Annotated[
        str, typer.Argument(metavar="DATA", help="A folder of pictures, a .csv or .parquet list of paths, or hf:NAME.")
    ],
    model: options.Model,
    layers: Annotated[
        list[str] | None,
        typer.Option("--layer", metavar="LAYER", help="All channels of a layer, or those of --channel; may be repeated."),
    ] = None,
    channels: Annotated[
        list[str] | None,
        typer.Option("--channel", metavar="K", help="A channel, or several as in 0-63; may be repeated. All."),
    ] = None,
    objectives: Annotated[
        list[str] | None,
        typer.Option("--objective", metavar="TEXT", help="Anything that `phosphene render` takes; may be repeated."),
    ] = None,
    top: Annotated[int, typer.Option("--top", metavar="N", help="Patches of each unit.")] = 9,
    lowest: Annotated[int, typer.Option("--lowest", metavar="N", help="Of the smallest values too, in run.json.")] = 0,
    again: Annotated[
        bool, typer.Option("--again", help="A picture may stand in a row with several patches; one of each otherwise.")
    ] = False,
    guided: Annotated[
        bool, typer.Option("--guided", help="Beside each patch what of it drives the unit, by guided backpropagation.")
    ] = False,
    rendered: Annotated[bool, typer.Option("--render", help="First in each row the picture that render makes of the unit.")] = (
        False
    ),
    batch: options.Batch = None,
    value_range: options.PictureRange = None,
    seed: options.Seed = 0,
    device: options.Device = None,
    out: options.Out = Path("out"),
) -> None:
    """Show the patches of a data set's pictures that excite units most; Ctrl-C, and the same line again, go on.

    Example: phosphene examples -m demo:standard photos --layer stage3.0 --channel 0-15 --top 9 --guided -o out
    """
    wanted = _wanted(layers, channels, objectives)
    black_white = options.range_of(value_range)

    from ..exemplars.sheet import rows, save
    from .making import progress_bar

    net = options.opened(model, device)
    arguments = {
        "data": data,
        "layers": layers,
        "channels": channels,
        "objectives": objectives,
        "top": top,
        "lowest": lowest,
        "again": again,
        "guided": guided,
        "render": rendered,
        "batch": batch,
        "seed": seed,
    } | ({"range": value_range} if value_range else {})
    settings: dict[str, Any] = {"top": top, "bottom": lowest, "one_per_picture": not again, "batch": batch}
    found = _scanned(net, data, wanted, out, range=black_white, **settings)
    for note in found.notes:
        typer.echo(f"note: {as_option(note)}", err=True)
    for refusal in found.refusals:
        typer.echo(f"phosphene: {refusal.reason}", err=True)
    title = f"{net.name.partition('?')[0].rpartition('/')[2]} on {found.seen:,} pictures of {Path(data).name or data}"
    about = {
        "command": "examples",
        "model": net.identity(),
        "device": str(net.device),
        "arguments": arguments,
    }
    with progress_bar("units") as progress:
        task = progress.add_task("cutting patches", total=len(found))
        made = rows(
            found,
            net.preprocess.taken,
            beside=_guided(net) if guided else None,
            rendered=_rendered(net, seed) if rendered else None,
        )
        save(found, out, made, title=title, about=about, on_row=lambda: progress.advance(task))
    typer.echo(f"{_count(found)}, contact_sheet.png and run.json are in {out}/")


def _wanted(layers: list[str] | None, channels: list[str] | None, objectives: list[str] | None) -> list[str]:
    from ..objectives.words import quoted

    if not layers and not objectives:
        raise RequestError("which units? give --layer LAYER (`phosphene layers` lists them) or --objective TEXT")
    if channels and not layers:
        raise RequestError(f"--channel {channels[0]} of which layer? give --layer LAYER")
    return [
        *(f"channel:{quoted(layer)}:{channel}" for layer in layers or () for channel in channels or ["*"]),
        *(objectives or ()),
    ]


def _scanned(net: Network, data: str, wanted: list[str], out: Path, **settings: Any) -> Examples:
    """The scan, with a bar; Ctrl-C keeps the checkpoint."""
    from ..exemplars.examples import examples as verb
    from .making import progress_bar

    progress = progress_bar("pictures")
    task = progress.add_task("scanning", total=None)
    if progress.disable:
        typer.echo(f"scanning {data}", err=True)
    seen: list[tuple[int, int | None]] = [(0, None)]

    def on_batch(done: int, total: int | None) -> None:
        seen[0] = (done, total)
        progress.update(task, completed=done, total=total)

    try:
        with progress:
            return verb(net, data, wanted, folder=out, on_batch=on_batch, **settings)
    except Interrupted:
        progress.stop()
        done, total = seen[0]
        of = "" if total is None else f" of {total:,}"
        typer.echo(f"interrupted: {done:,}{of} pictures are scanned; the same line goes on there", err=True)
        raise typer.Exit(1) from None


def _guided(net: Network) -> Beside:
    from ..attribution.explain import explain
    from ..pictures.colour import image_of
    from ..pictures.overlay import signed_colour

    def beside(cells: Sequence[tuple[Tensor, Objective, Box]]) -> list[Image]:
        images = []
        for picture, objective, (left, top, right, bottom) in cells:
            colour = explain(net, picture, objective, method="guided_backprop").colour
            assert colour is not None
            images.append(image_of(signed_colour(colour[0, :, top:bottom, left:right])))
        return images

    return beside


def _rendered(net: Network, seed: int) -> Rendered:
    from ..rendering.render import render

    def rendered(objectives: Sequence[str]) -> list[Image]:
        made = render(net, list(objectives), seed=seed, frames=0)
        return [made.image(i) for i in range(len(objectives))]

    return rendered


def _count(found: Examples) -> str:
    patches = int((found.indices >= 0).sum())
    return f"{patches:,} patches of {len(found):,} unit{'' if len(found) == 1 else 's'}"
