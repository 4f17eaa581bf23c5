"""`phosphene locate`: where in photographs a class is, as boxes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..errors import PictureError
from . import options
from .photographs import asked_of, files_in, none_of, readable

if TYPE_CHECKING:
    from torch import Tensor

    from ..localisation.folder import BoxFolder
    from ..localisation.locate import Way
    from ..localisation.located import Located
    from ..network.network import Network
    from ..objectives.expression import Objective
    from ..results.method import Method


def locate(
    photos: Annotated[list[Path], typer.Argument(metavar="PHOTO...", help="Pictures of any size, and folders of them.")],
    model: options.Model,
    classes: Annotated[
        list[str] | None,
        typer.Option("-c", "--class", metavar="CLASS", help="By name or index; may be repeated. Each picture's likeliest."),
    ] = None,
    map_name: Annotated[
        str, typer.Option("--map", metavar="NAME", help="What `phosphene explain --method` takes: where the class is seen.")
    ] = "fine_cam",
    method: Annotated[
        str, typer.Option("--method", metavar="NAME", help="consensus; threshold; graphcut, which also sees colours and edges.")
    ] = "consensus",
    threshold: Annotated[
        str, typer.Option("--threshold", metavar="T", help="A share of the map's maximum, as 0.2; otsu or mean.")
    ] = "otsu",
    most: Annotated[
        int, typer.Option("--most", metavar="N", help="Boxes of each class, where it is seen at several places.")
    ] = 1,
    masks: Annotated[bool, typer.Option("--masks", help="Also each mask as a picture in black and white.")] = False,
    chunk: Annotated[
        int | None, typer.Option("--chunk", metavar="N", help="Pictures that go through the network at once; as many as fit.")
    ] = None,
    value_range: options.PictureRange = None,
    seed: options.Seed = 0,
    device: options.Device = None,
    out: options.Out = Path("out"),
) -> None:
    """Locate: draw boxes about what photographs show of a class.

    Example: phosphene locate -m demo:robust photo.png -c cat -o out
    """
    from ..localisation.locate import check
    from ..results.method import find_method

    level = level_of(threshold)
    way = check(method, level, most)
    found = find_method(map_name)
    black_white = options.range_of(value_range)
    paths = files_in(photos, out)
    net = options.opened(model, device)

    from ..localisation.folder import BoxFolder

    told = {
        "photos": [str(path) for path in photos],
        "classes": classes,
        "map": map_name,
        "method": method,
        "threshold": level,
        "most": most,
        "masks": masks,
        "chunk": chunk,
        "seed": seed,
    } | ({"range": value_range} if value_range else {})
    asking = _Asking(net, found, asked_of(net, classes), way, level, most, seed, chunk, black_white)

    def folder() -> BoxFolder:
        return BoxFolder(
            out,
            command="locate",
            model=net.identity(),
            device=str(net.device),
            arguments=told,
            wanted=[str(path) for path in paths],
        )

    raise typer.Exit(_located(asking, paths, folder, masks))


def level_of(text: str) -> float | str:
    """A number if it is one, else a word.

    >>> level_of("0.2"), level_of("otsu")
    (0.2, 'otsu')
    """
    try:
        return float(text)
    except ValueError:
        return text


@dataclass(frozen=True)
class _Asking:
    """What is asked of every picture. objectives: none for its likeliest class."""

    net: Network
    map: Method
    objectives: list[Objective]
    method: Way
    threshold: float | str
    most: int
    seed: int
    chunk: int | None
    range: tuple[float, float] | None = None

    def of(self, name: str, photo: Tensor, fitted: Tensor) -> Located:
        """One photograph (1, c, h, w), and what the network sees of it."""
        from ..localisation.locate import locate as verb
        from ..results.method import answer
        from ..results.question import Question

        question = Question.of(self.net, fitted, self.objectives or None, images=[name], seed=self.seed, chunk=self.chunk)
        heatmap = answer(question, self.map, "locate")
        return verb(heatmap, self.method, picture=photo, threshold=self.threshold, most=self.most)


def _located(asking: _Asking, paths: list[Path], folder: Callable[[], BoxFolder], masks: bool) -> int:
    """Picture after picture; gives the exit status. One that cannot be read is named, and the others are done.

    The folder is made when there is something to save. Ctrl-C keeps what is saved and says what is not.
    """
    from .making import progress_bar
    from .stopping import whole

    run: BoxFolder | None = None
    refused: dict[str, str] = {}
    with progress_bar() as progress:
        task = progress.add_task("locating", total=len(paths))
        try:
            for name, photo, fitted in readable(asking.net, paths, refused, asking.range):
                located = asking.of(name, photo, fitted)
                with whole():
                    run = run or folder()
                    run.put(located, masks=masks)
                progress.advance(task)
                _tell(located)
        except KeyboardInterrupt:
            if run is None:
                raise
            progress.stop()
            _finish(run, refused)
            few = ", ".join(run.missing[:5]) + (", …" if len(run.missing) > 5 else "")
            typer.echo(
                f"interrupted: {run.path} holds {_count(run)}; missing are those of {few} (run.json lists them)", err=True
            )
            return 1
    if run is None:
        raise PictureError(none_of(refused, "located"))
    _finish(run, refused)
    typer.echo(f"{_count(run)}, contact_sheet.png and run.json are in {run.path}/")
    return 1 if refused else 0


def _finish(run: BoxFolder, refused: dict[str, str]) -> None:
    for name, reason in refused.items():
        run.failed(name, reason)
        typer.echo(f"phosphene: {reason}", err=True)
    run.finish()


def _tell(located: Located) -> None:
    for i, item in enumerate(located.heatmap.items):
        for note in located.notes(i):
            typer.echo(f"note: {item.image}, {item.objective}: {note}", err=True)


def _count(run: BoxFolder) -> str:
    return f"{len(run)} picture{'' if len(run) == 1 else 's'} with boxes"
