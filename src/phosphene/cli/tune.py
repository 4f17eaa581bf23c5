"""`phosphene tune`: a recipe for the network at hand."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..errors import Interrupted, RequestError
from . import options

if TYPE_CHECKING:
    from ..evaluation import Trial, Tuning


def tune(
    model: options.Model,
    classes: Annotated[
        list[str] | None,
        typer.Option("-c", "--class", metavar="CLASS", help="A class, by name or index; may be repeated."),
    ] = None,
    every: Annotated[bool, typer.Option("--all", help="All classes.")] = False,
    judges: Annotated[
        list[str] | None,
        typer.Option(
            "-j",
            "--judge",
            metavar="REF",
            help="A network that takes no part in the drawing; may be repeated. Without one the network judges itself.",
        ),
    ] = None,
    trials: Annotated[int, typer.Option("--trials", metavar="N", help="Recipes to try, those of before included.")] = 25,
    recipe: Annotated[
        str, typer.Option("--recipe", metavar="BASE", help="Where to begin: a name or a .toml file; auto fits the size.")
    ] = "auto",
    size: options.Size = None,
    seed: options.Seed = 0,
    device: options.Device = None,
    as_json: options.Json = False,
    out: Annotated[
        Path, typer.Option("-o", "--out", metavar="DIR", help="Folder for recipe.toml, tune.db and run.json.")
    ] = Path("out"),
) -> None:
    """Search for the recipe whose class models other networks recognise best; Ctrl-C, and the same line again, go on.

    Example: phosphene tune -m demo:standard --all -j demo:robust --trials 25 -o tuned
    """
    if every == bool(classes):
        raise RequestError("which classes? give -c CLASS, once or several times, or --all")
    sides = options.size_of(size)

    from ..evaluation import tune as verb
    from ..evaluation.study import check_extra
    from .making import Bar, progress_bar

    check_extra()
    net = options.opened(model, device)
    networks = [options.opened(judge, device) for judge in judges or ()]
    given = list(range(len(net.classes))) if every else list(classes or ())
    about = {
        "model": net.identity(),
        "judges": [judge.identity() for judge in networks],
        "device": str(net.device),
        "arguments": {
            "classes": None if every else classes,
            "all": every,
            "trials": trials,
            "recipe": recipe,
            "size": size,
            "seed": seed,
        },
    }
    started, status = time.monotonic(), 0
    progress = progress_bar()
    try:
        with progress:
            found = verb(
                net,
                given,
                networks,
                trials=trials,
                folder=out,
                base=recipe,
                size=sides,
                seed=seed,
                on_trial=_teller(trials),
                observers=[] if progress.disable else [Bar(progress)],
            )
    except Interrupted as stop:
        if stop.partial is None:
            raise
        found, status = stop.partial, 1
    _save(found, out, about | {"seconds": round(time.monotonic() - started, 3)})
    _tell(found, out, as_json)
    if status:
        typer.echo(f"interrupted: {len(found.trials)} of {trials} trials are in {out}; the same line goes on", err=True)
    raise typer.Exit(status)


def _teller(trials: int) -> Callable[[Trial], None]:
    def tell(trial: Trial) -> None:
        typer.echo(
            f"trial {trial.number + 1} of {trials}: mean ln p {trial.recognisability:.2f}, top-1 {trial.top1:.0%}, "
            f"{trial.seconds:.2g} s a picture",
            err=True,
        )

    return tell


def _save(found: Tuning, out: Path, about: dict[str, Any]) -> None:
    """recipe.toml, the best; a recipe for every trial of the front; run.json with all trials."""
    from ..pictures import files
    from ..results.record import phosphene_version

    files.write_text(out / "recipe.toml", found.best.recipe.to_toml())
    for trial in found.front:
        files.write_text(out / _file(trial), trial.recipe.to_toml())
    said = {"phosphene": phosphene_version(), "command": "tune", **about, **found.to_dict()}
    files.write_text(out / "run.json", json.dumps(said, indent=1, ensure_ascii=False, allow_nan=False))


def _tell(found: Tuning, out: Path, as_json: bool) -> None:
    for note in found.notes:
        typer.echo(f"note: {note}", err=True)
    if as_json:
        typer.echo(json.dumps(found.to_dict(), indent=1, ensure_ascii=False))
        return

    from .tables import print_table

    print_table(
        ("trial", "mean ln p", "top-1", "s a picture", "recipe", "settings"),
        (_row(trial, trial is found.best) for trial in found.front),
    )
    typer.echo(f"* chosen: {out / 'recipe.toml'}; the base recipe's mean ln p is {found.base.recognisability:.2f}")


def _row(trial: Trial, chosen: bool) -> tuple[str, ...]:
    settings = ", ".join(f"{name} {value:g}" for name, value in trial.changes.items())
    numbers = (f"{trial.recognisability:.2f}", f"{trial.top1:.0%}", f"{trial.seconds:.2g}")
    return (f"{trial.number}{' *' if chosen else ''}", *numbers, _file(trial), settings or "the base recipe's")


def _file(trial: Trial) -> str:
    return f"trial-{trial.number}.toml"
