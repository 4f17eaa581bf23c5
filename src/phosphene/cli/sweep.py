"""`phosphene sweep`: one objective under a grid of settings, on one sheet."""

from __future__ import annotations

from functools import reduce
from pathlib import Path
from typing import Annotated, Any

import typer

from ..errors import RequestError, shown
from . import options

MOST = 400  # pictures of one sweep


def sweep(
    objective: Annotated[str, typer.Argument(metavar="OBJECTIVE", help="As for `phosphene render`: logit:cat.")],
    model: options.Model,
    vary: Annotated[
        list[str],
        typer.Option("--vary", metavar="KEY=V,V…", help="A setting and its values; may be repeated. 0 takes a part away."),
    ],
    recipe: options.RecipeName = "auto",
    steps: options.Steps = None,
    fixed: options.Settings = None,
    size: options.Size = None,
    seed: options.Seed = 0,
    device: options.Device = None,
    out: options.Out = Path("out"),
) -> None:
    """Draw one objective under every combination of settings, with the numbers under each picture.

    Example: phosphene sweep logit:horse -m demo:robust --vary l2=0,0.05 --vary blur=0,0.5,1 -o sweep
    """
    settings = dict(_setting(text) for text in vary)
    if len(settings) < len(vary):
        raise RequestError("one setting is varied twice; give all its values at once")
    sides = options.size_of(size)
    net = options.opened(model, device)

    from ..rendering.render import settle, stream_renderings
    from ..rendering.settings import changed, grid
    from ..results.folder import RunFolder
    from .making import Bar, progress_bar
    from .stopping import whole

    base = reduce(changed, fixed or (), settle(net, recipe, sides, steps=steps))
    combinations = list(grid(base, settings))
    if len(combinations) > MOST:
        raise RequestError(f"{len(combinations)} combinations; up to {MOST} are drawn at once")
    arguments = {
        "objective": objective,
        "vary": vary,
        "recipe": recipe,
        "steps": steps,
        "settings": fixed,
        "size": size,
        "seed": seed,
    }
    model_said = net.identity()
    columns = len(next(reversed(settings.values())))
    with progress_bar() as progress:
        about: dict[str, Any] = {"size": sides, "seed": seed, "frames": 0, "sha256": model_said["sha256"]}
        about["observers"] = [Bar(progress)]
        # All are checked before the first is drawn.
        streams = [(words, stream_renderings(net, objective, one, **about)) for words, one in combinations]
        run = RunFolder(out, command="sweep", model=model_said, device=str(net.device), arguments=arguments)
        try:
            for words, parts in streams:
                for part in parts:
                    with whole():
                        run.add(part, words=words)
        except KeyboardInterrupt:
            run.finish(columns=columns)
            progress.stop()
            typer.echo(f"interrupted: {len(run)} of {len(combinations)} pictures are in {out}", err=True)
            raise typer.Exit(1) from None
    run.finish(columns=columns)
    typer.echo(f"{len(combinations)} pictures, contact_sheet.png and run.json are in {out}")


def _setting(text: str) -> tuple[str, list[float]]:
    """
    >>> _setting("l2=0,1e-3")
    ('l2', [0.0, 0.001])
    """
    key, _, values = text.partition("=")
    try:
        return key.strip(), [float(value) for value in values.split(",")]
    except ValueError:
        raise RequestError(f"--vary {shown(text)}; KEY=NUMBER,NUMBER… is needed, as in l2=0,0.001") from None
