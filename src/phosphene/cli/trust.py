"""`phosphene evaluate trust`, and the table that `phosphene explain --trust` prints: how far maps can be trusted."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..errors import Interrupted, PictureError
from . import options
from .photographs import asked_of, files_in, none_of, readable

if TYPE_CHECKING:
    from rich.progress import Progress

    from ..evaluation.trust import Trust
    from ..network.network import Network
    from ..results.heatmap import Heatmap
    from ..results.method import Method

MOST = 16  # maps of each method that `explain --trust` measures; `evaluate trust` measures all


def trust(
    photos: Annotated[list[Path], typer.Argument(metavar="PHOTO...", help="Pictures of any size, and folders of them.")],
    model: options.Model,
    methods: Annotated[
        list[str] | None,
        typer.Option("--method", metavar="NAME", help="What `phosphene explain` takes; may be repeated. saliency, grad_cam."),
    ] = None,
    classes: Annotated[
        list[str] | None,
        typer.Option("-c", "--class", metavar="CLASS", help="By name or index; may be repeated. Each picture's likeliest."),
    ] = None,
    samples: Annotated[
        int | None, typer.Option("--samples", metavar="N", help="Noisy copies, steps of the way or masks; the method's own.")
    ] = None,
    stages: Annotated[
        int, typer.Option("--stages", metavar="N", help="Of random weights, each costs every map once more; 0 leaves them.")
    ] = 3,
    chunk: Annotated[
        int | None,
        typer.Option("--chunk", "--batch", "--batch-size", metavar="N", help="Batch size (default: as many as fit)."),
    ] = None,
    seed: options.Seed = 0,
    device: options.Device = None,
    as_json: options.Json = False,
) -> None:
    """Tell how far maps can be trusted: deletion, insertion, drop, ROAD, random weights, and a random map beside them.

    Example: phosphene evaluate trust -m demo:robust photo.png --method saliency --method cam
    """
    from .explain import named_methods

    found = named_methods(list(dict.fromkeys(methods or ["saliency", "grad_cam"])), samples)
    paths = files_in(photos, Path(os.devnull))  # nothing is written
    net = options.opened(model, device)
    asked = [str(one) for one in asked_of(net, classes)] or None
    refused: dict[str, str] = {}
    said, stopped = _measured(net, found, paths, asked, refused, stages, seed, chunk)
    for reason in refused.values():
        typer.echo(f"phosphene: {reason}", err=True)
    if said is None:
        if stopped:
            raise KeyboardInterrupt
        raise PictureError(none_of(refused, "explained"))
    if as_json:
        typer.echo(json.dumps(said.to_dict(), indent=1, ensure_ascii=False, allow_nan=False))
    else:
        print_trust(said)
    if stopped:
        typer.echo(f"phosphene: interrupted: {len(said.images)} of {len(paths) * len(asked or [1])} are told", err=True)
    raise typer.Exit(1 if refused or stopped else 0)


def _measured(
    net: Network,
    methods: list[Method],
    paths: list[Path],
    asked: list[str] | None,
    refused: dict[str, str],
    stages: int,
    seed: int,
    chunk: int | None,
) -> tuple[Trust | None, bool]:
    """What could be measured, and whether Ctrl-C came before the end."""
    from ..evaluation.trust import trust as verb
    from .making import progress_bar

    said: Trust | None = None
    each = len(asked or [1]) * (1 + len(methods))
    with progress_bar("maps") as progress:
        task = progress.add_task("measuring", total=len(paths) * each)
        try:
            for p, (name, _, picture) in enumerate(readable(net, paths, refused)):
                settings: dict[str, Any] = {"images": [name], "seed": seed, "chunk": chunk, "stages": stages}

                def told(done: int, total: int, before: int = p * each) -> None:
                    progress.update(task, completed=before + done)

                new = verb(net, picture, asked, methods=methods, on_step=told, **settings)
                said = new if said is None else said.joined(new)
        except Interrupted as stopped:
            part = stopped.partial
            return (part if said is None else said if part is None else said.joined(part)), True
        except KeyboardInterrupt:
            return said, True
    return said, False


class Trusting:
    """Measures maps as they are made, no more than MOST of each method, and keeps the sum."""

    def __init__(self, net: Network, methods: Sequence[Method], seed: int, chunk: int | None) -> None:
        self._net, self._methods, self._seed, self._chunk = net, list(methods), seed, chunk
        self.said: Trust | None = None
        self.left_out = 0

    @property
    def room(self) -> int:
        """How many more maps of each method are to be measured."""
        return MOST - (len(self.said.images) if self.said else 0)

    def add(self, heatmaps: Sequence[Heatmap], progress: Progress) -> None:
        """One Heatmap per method, of the same pictures and objectives. What Ctrl-C leaves is kept."""
        from ..evaluation.trust import trust as verb

        room = self.room
        self.left_out += max(0, len(heatmaps[0]) - room)
        if room <= 0:
            return
        some = [_first(heatmap, room) for heatmap in heatmaps]
        items = some[0].items
        task = progress.add_task("measuring trust", total=None)
        settings: dict[str, Any] = {"images": [item.image for item in items], "seed": self._seed, "chunk": self._chunk}

        def told(done: int, total: int) -> None:
            progress.update(task, completed=done, total=total)

        try:
            asked = [item.objective for item in items]
            self._keep(verb(self._net, some[0].pictures, asked, methods=self._methods, heatmaps=some, on_step=told, **settings))
        except Interrupted as stopped:
            if stopped.partial is not None:
                self._keep(stopped.partial)
            raise
        finally:
            progress.remove_task(task)

    def show(self) -> None:
        if self.said is not None:
            print_trust(self.said)
        if self.left_out:
            typer.echo(f"{self.left_out} more maps a method are not measured; `phosphene evaluate trust` measures all")

    def _keep(self, new: Trust) -> None:
        self.said = new if self.said is None else self.said.joined(new)


def _first(heatmap: Heatmap, count: int) -> Heatmap:
    values, pictures, items = heatmap.values[:count], heatmap.pictures[:count], heatmap.items[:count]
    return replace(heatmap, values=values, pictures=pictures, items=items, colour=None)


def print_trust(said: Trust) -> None:
    """The methods, best first, and sentences on what was found."""
    from .tables import print_table

    table = said.table()
    print_table(table.heads, table.rows, title=table.title)
    for text in table.notes:
        typer.echo(text)
