"""`phosphene dream`: DeepDream of photographs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..errors import RequestError, shown
from . import options
from .photographs import photograph

if TYPE_CHECKING:
    from torch import Tensor

    from ..network.network import Network
    from ..results.dreamt import DreamFolder


def dream(
    photos: Annotated[list[Path], typer.Argument(metavar="PHOTO...", help="Pictures, of any size.")],
    model: options.Model,
    layers: Annotated[
        list[str] | None,
        typer.Option("--layer", metavar="L", help="A layer, whose sum of squares grows; may be repeated."),
    ] = None,
    objective: Annotated[
        str | None,
        typer.Option("--objective", metavar="TEXT", help="Instead of --layer, as for `phosphene render`: channel:LAYER:K."),
    ] = None,
    octaves: Annotated[int | None, typer.Option("--octaves", metavar="N", help="Sizes at which is dreamt; 4.")] = None,
    octave_scale: Annotated[
        float | None, typer.Option("--octave-scale", metavar="X", help="From one size to the next; 1.4.")
    ] = None,
    steps: Annotated[int | None, typer.Option("--steps", metavar="N", help="At each octave; 10.")] = None,
    strength: Annotated[
        float | None, typer.Option("--strength", metavar="X", help="How far a step moves a pixel in the mean, of 1; 0.0059.")
    ] = None,
    jitter: Annotated[
        int | None, typer.Option("--jitter", metavar="PX", help="How far the picture is rolled at most before a step; 32.")
    ] = None,
    tile: Annotated[
        int | None,
        typer.Option("--tile", metavar="PX", help="Side of what the network is given at once; 512, or its own size if larger."),
    ] = None,
    detail: Annotated[
        float | None, typer.Option("--detail", metavar="X", help="Share of the photograph's detail that comes back; 1.")
    ] = None,
    guide: Annotated[
        Path | None, typer.Option("--guide", metavar="PICTURE", help="A picture to whose features each place is drawn.")
    ] = None,
    zoom: Annotated[
        int | None, typer.Option("--zoom", metavar="N", help="Frames, each dreamt from the middle of the last, enlarged.")
    ] = None,
    zoom_factor: Annotated[float | None, typer.Option("--zoom-factor", metavar="X", help="From frame to frame; 1.04.")] = None,
    size: Annotated[
        int | None, typer.Option("--size", metavar="PX", help="Shrink photographs to this longest side first; their own.")
    ] = None,
    value_range: options.PictureRange = None,
    seed: options.Seed = 0,
    animate: Annotated[
        str | None, typer.Option("--animate", metavar="KIND", help="Of --zoom, the frames: gif, webp, apng or mp4.")
    ] = None,
    device: options.Device = None,
    out: options.Out = Path("out"),
) -> None:
    """Dream: change photographs so that what a layer sees in them grows. Their size is kept.

    Example: phosphene dream -m demo:robust photo.jpg --layer stage3.0 --octaves 3 -o out
    """
    text = _objective(layers, objective)
    black_white = options.range_of(value_range)
    _check(size, zoom, animate)
    net = options.opened(model, device)
    for path in photos:  # all that can be refused before the first photograph has taken its time
        photograph(net, path, black_white, told=False)
    leading = photograph(net, guide, black_white) if guide else None
    asked = {
        "octaves": octaves,
        "octave_scale": octave_scale,
        "steps": steps,
        "strength": strength,
        "jitter": jitter,
        "tile": tile,
        "detail": detail,
        "zoom": zoom,
        "zoom_factor": zoom_factor,
        "seed": seed,
    }
    names = list(dict.fromkeys(str(path) for path in photos))
    told = {"guide": None if guide is None else str(guide), "size": size, "animate": animate}
    told |= {"range": value_range} if value_range else {}

    from ..objectives.spec import coerce
    from ..results.dreamt import DreamFolder
    from .resuming import request_of, tell_resumed

    request = {"objective": str(coerce(text, net.index).inlined()), **asked, **told}
    run = DreamFolder(
        out,
        command="dream",
        model=net.identity(),
        device=str(net.device),
        arguments={"photos": names, "objective": text, **asked, **told},
        wanted=names,
        request=request_of(net, photographs=[*photos, *([guide] if guide else [])], **request),
    )
    tell_resumed(run, len(names) - len(run.missing), len(names), "picture")
    settings = {name: value for name, value in asked.items() if value is not None} | {"guide": leading}

    def read(name: str) -> Tensor:
        return _shrunk(photograph(net, name, black_white), size)

    raise typer.Exit(_dreamt(net, run, text, read, animate=animate, settings=settings))


def _objective(layers: list[str] | None, objective: str | None) -> str:
    from ..objectives.units import layer

    if bool(layers) == bool(objective):
        raise RequestError("of what? give --layer L, once or several times, or --objective TEXT")
    if objective:
        return objective
    first, *others = (layer(address, "squares") for address in layers or ())
    return str(sum(others, first))


def _check(size: int | None, zoom: int | None, animate: str | None) -> None:
    from .. import checks
    from ..pictures.animation import check_kind

    if animate is not None:
        check_kind(animate)
        if (zoom or 1) < 2:
            raise RequestError(f"--animate {shown(animate)} without frames; --zoom N with 2 or more makes them")
    if size is not None:
        checks.whole("--size", size, low=1, high=checks.LARGEST_SIDE)


def _dreamt(
    net: Network,
    run: DreamFolder,
    objective: str,
    read: Callable[[str], Tensor],
    *,
    animate: str | None,
    settings: dict[str, Any],
) -> int:
    """Dream of each photograph and save it; gives the exit status. Ctrl-C keeps what there is and says what is not."""
    from ..rendering.dream import dream as verb
    from .making import Bar, progress_bar
    from .stopping import whole

    with progress_bar() as progress:
        for name in run.missing:
            try:
                made = verb(net, read(name), objective, observers=(Bar(progress),), **settings)
                with whole():
                    run.add_dream(made, name, animate=animate)
            except KeyboardInterrupt as stop:
                with whole():
                    progress.stop()
                    typer.echo(_interrupted(run, stop, name, animate), err=True)
                return 1
            for note in made.notes:
                typer.echo(f"note: {name}: {note}", err=True)
    run.finish()
    typer.echo(f"{len(run)} picture{'' if len(run) == 1 else 's'} and run.json are in {run.path}")
    return 0


def _interrupted(run: DreamFolder, stop: BaseException, name: str, animate: str | None) -> str:
    """Save what was begun; gives the message."""
    from .resuming import GOES_ON

    begun = getattr(stop, "partial", None)
    unfinished = ""
    if begun is not None and len(begun.history):
        saved = run.add_dream(begun, name, animate=animate)
        unfinished = f"{saved.name} is what there was of {name}, {begun.notes[0]}; "
    run.finish()
    few = ", ".join(run.missing[:5]) + (", …" if len(run.missing) > 5 else "")
    finished = f"{len(run.wanted) - len(run.missing)} of {len(run.wanted)} pictures are finished in {run.path}"
    return f"interrupted: {finished}; {unfinished}missing {few} (run.json lists them); {GOES_ON}"


def _shrunk(photo: Tensor, size: int | None) -> Tensor:
    from ..rendering.octaves import within

    return photo if size is None else within(photo, size)
