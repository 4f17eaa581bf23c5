"""`phosphene evaluate boxes`: how well ways to locate agree with boxes that people drew."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..errors import PictureError, RequestError, UnknownNameError, shown
from . import options
from .photographs import photograph

if TYPE_CHECKING:
    from ..evaluation.localised import BoxTable, Case
    from ..network.network import Network
    from ..pictures.boxlist import Boxed

HEADS = ("way", "class known", "top-1 error", "top-5 error", "MaxBoxAcc", "at", "MaxBoxAccV2", "pointing")


def boxes(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Pictures.")],
    model: options.Model,
    table: Annotated[
        Path | None,
        typer.Option("--boxes", metavar="CSV", help="file,class,left,top,right,bottom, one row a box; DIR/boxes.csv."),
    ] = None,
    maps: Annotated[
        list[str] | None,
        typer.Option("--map", metavar="NAME", help="Also boxes of this map; what `explain --method` takes; may be repeated."),
    ] = None,
    limit: Annotated[int | None, typer.Option("--limit", metavar="N", help="The first N pictures alone.")] = None,
    chunk: Annotated[
        int | None,
        typer.Option("--chunk", "--batch", "--batch-size", metavar="N", help="Batch size (default: as many as fit)."),
    ] = None,
    value_range: options.PictureRange = None,
    device: options.Device = None,
    as_json: options.Json = False,
) -> None:
    """Compare ways to locate, and two guesses without looking, with true boxes.

    Example: phosphene evaluate boxes photos -m demo:robust --boxes photos/boxes.csv
    """
    from .. import checks
    from ..pictures.boxlist import read_boxes

    if not folder.is_dir():
        raise RequestError(f"{shown(str(folder))} is no folder; one with pictures is needed")
    if limit is not None:
        checks.whole("--limit", limit, low=1)
    black_white = options.range_of(value_range)
    listed, refused = read_boxes(table or folder / "boxes.csv", folder)

    from ..evaluation.localised import WAYS, Locating, localised
    from ..localisation.graphcut import check_extra
    from .making import progress_bar

    check_extra()
    ways = (*WAYS, *(Locating(f"{name}, {way}", name, way) for name in maps or () for way in ("threshold", "consensus")))
    net = options.opened(model, device)
    chosen = _labelled(net, listed, refused)[:limit]
    with progress_bar() as progress:
        task = progress.add_task("locating", total=len(chosen))
        try:
            cases = _cases(net, chosen, refused, black_white)
            found = localised(net, cases, ways, chunk=chunk, each=lambda case: progress.advance(task))
        except RequestError as error:
            if not refused:
                raise
            raise PictureError(f"nothing of {shown(str(folder))} can be located; the first: {refused[0]}") from error
    for reason in refused:
        typer.echo(f"phosphene: {reason}", err=True)
    _print(found, as_json)
    raise typer.Exit(1 if refused else 0)


def _labelled(net: Network, listed: Sequence[Boxed], refused: list[str]) -> list[tuple[Boxed, int]]:
    """The entries whose class the network knows, with its index."""
    chosen = []
    for entry in listed:
        try:
            chosen.append((entry, net.index(entry.label)))
        except (UnknownNameError, RequestError) as error:
            refused.append(f"{shown(entry.name)}: {error}")
    return chosen


def _cases(
    net: Network, chosen: Sequence[tuple[Boxed, int]], refused: list[str], range: tuple[float, float] | None
) -> Iterator[Case]:
    import torch

    from ..evaluation.localised import Case

    for entry, label in chosen:
        try:
            photo = photograph(net, entry.path, range)
        except PictureError as error:
            refused.append(str(error))
            continue
        yield Case(entry.name, photo, label, torch.tensor(entry.boxes))


def _print(found: BoxTable, as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps(found.to_dict(), indent=1, ensure_ascii=False))
        return

    from .tables import print_table

    rows = [
        (
            row.name,
            *(f"{share:.1%}" for share in (row.class_known, row.top1, row.top5, row.max_box_acc)),
            f"{row.threshold:.2f}",
            *(f"{share:.1%}" for share in (row.max_box_acc_v2, row.pointing)),
        )
        for row in found.rows
    ]
    print_table(HEADS, rows)
    typer.echo(
        f"{found.count} pictures, of which {found.top1:.1%} are classified right, {found.top5:.1%} by one of five guesses"
    )
