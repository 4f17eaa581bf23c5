"""What the commands that look at photographs share: which files, what is asked of them, and those that cannot be read."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from ..errors import PictureError, RequestError, shown
from .class_model import told_name

if TYPE_CHECKING:
    from torch import Tensor

    from ..network.network import Network
    from ..objectives.expression import Objective
    from ..results.heatmap import Heatmap


def files_in(photos: Sequence[Path], out: Path) -> list[Path]:
    """The files, and those in the folders: none that is hidden, none that lies where we write."""
    found: list[Path] = []
    for place in photos:
        if not place.is_dir():
            found.append(place)
            continue
        files = [
            path for path in sorted(place.rglob("*")) if path.is_file() and not _skipped(path.relative_to(place), place, out)
        ]
        if not files:
            raise RequestError(f"folder {shown(str(place))} holds no files; pictures are needed in it")
        found += _pictures(files)
    return list(dict.fromkeys(found))


def _pictures(files: list[Path]) -> list[Path]:
    """Those that are pictures, the others named; all of them where none is, whose errors then say why."""
    from ..pictures.reading import recognised

    kept = [path for path in files if recognised(path)]
    for path in files if kept else ():
        if path not in kept:
            typer.echo(f"note: {path} is no picture and was passed over", err=True)
    return kept or files


def _skipped(inside: Path, place: Path, out: Path) -> bool:
    if any(part.startswith(".") for part in inside.parts):
        return True
    written, root = out.resolve(), place.resolve()
    return written != root and (root / inside).is_relative_to(written)


def asked_of(net: Network, classes: Sequence[str] | None, objectives: Sequence[str] | None = None) -> list[Objective]:
    """The objectives, found to be inside the network before any picture is read."""
    from ..objectives.spec import several
    from ..objectives.units import logit
    from ..results.question import Question

    asked = [logit(told_name(net.classes, net.index(name))) for name in classes or ()]
    asked += [one for text in objectives or () for one in several(text, net.channels)]
    if asked:
        Question.of(net, net.preprocess.mean_picture(), asked)
    return list(dict.fromkeys(asked))


def photograph(net: Network, path: str | Path, range: tuple[float, float] | None = None, *, told: bool = True) -> Tensor:
    """The picture in a file, of the network's bands where they are not one or three; `told`: print what may mislead."""
    from ..pictures.reading import quiet, read_file

    notes: list[str] = []
    with quiet():
        picture = read_file(path, range=range, channels=net.preprocess.bands, notes=notes)
    for note in notes if told else ():
        typer.echo(f"note: {as_option(note)}", err=True)
    return picture


def as_option(note: str) -> str:
    """A note with the option of the command line for the argument of Python.

    >>> as_option("range=(0, 4095) makes it bright")
    '--range 0,4095 makes it bright'
    """
    return re.sub(r"range=\((\S+), (\S+)\)", r"--range \1,\2", note)


def readable(
    net: Network, paths: Sequence[Path], refused: dict[str, str], range: tuple[float, float] | None = None
) -> Iterator[tuple[str, Tensor, Tensor]]:
    """Name, photograph and fitted picture (1, c, h, w) of each that can be read; why others cannot is put into `refused`."""
    from ..results.question import fitted

    for path in paths:
        try:
            photo = photograph(net, path, range)
            yield str(path), photo, fitted(net, photo)
        except PictureError as error:
            refused[str(path)] = str(error)
        except RequestError as error:
            refused[str(path)] = f"picture {shown(str(path))}: {error}"


def none_of(refused: dict[str, str], done: str) -> str:
    first = next(iter(refused.values()))
    return first if len(refused) == 1 else f"none of {len(refused)} pictures can be {done}; the first: {first}"


def tell_notes(heatmaps: Sequence[Heatmap]) -> None:
    for heatmap in heatmaps:
        for item in heatmap.items:
            for note in item.notes:
                typer.echo(f"note: {item.image}, {item.method} of {item.objective}: {note}", err=True)
