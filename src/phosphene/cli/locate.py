"""`phosphene locate`: where in photographs a class is, as boxes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from . import options
from .photographs import Asking, Photo, asked_of, files_in
from .resuming import request_of

if TYPE_CHECKING:
    from ..localisation.folder import BoxFolder
    from ..localisation.locate import Way
    from ..localisation.located import Located
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
        str,
        typer.Option(
            "--method",
            metavar="NAME",
            help="consensus, graphcut (these two also see colours and edges; extra opencv), thresholds, threshold; "
            "auto: consensus where OpenCV is, else thresholds.",
        ),
    ] = "auto",
    threshold: Annotated[
        str, typer.Option("--threshold", metavar="T", help="A share of the map's maximum, as 0.2; otsu or mean.")
    ] = "otsu",
    most: Annotated[
        int, typer.Option("--most", metavar="N", help="Boxes of each class, where it is seen at several places.")
    ] = 1,
    masks: Annotated[bool, typer.Option("--masks", help="Also each mask as a picture in black and white.")] = False,
    chunk: Annotated[
        int | None,
        typer.Option("--chunk", "--batch", "--batch-size", metavar="N", help="Batch size (default: as many as fit)."),
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
    asked = asked_of(net, classes)

    from ..localisation.folder import BoxFolder

    told = {
        "photos": [str(path) for path in photos],
        "classes": classes,
        "map": map_name,
        "method": way,
        "threshold": level,
        "most": most,
        "masks": masks,
        "chunk": chunk,
        "seed": seed,
    } | ({"range": value_range} if value_range else {})
    request = request_of(net, photographs=paths, **told | {"photos": None})
    about: dict[str, Any] = {
        "command": "locate",
        "model": net.identity(),
        "device": str(net.device),
        "arguments": told,
        "wanted": [str(path) for path in paths],
        "request": request | {"objectives": [str(one.inlined()) for one in asked]},
    }
    asking = _Asking(net, asked, black_white, found, way, level, most, seed, chunk, masks, lambda: BoxFolder(out, **about))
    raise typer.Exit(asking.run(paths, out))


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
class _Asking(Asking["BoxFolder", "Located"]):
    doing = "locating"
    done = "located"
    map: Method
    method: Way
    threshold: float | str
    most: int
    seed: int
    chunk: int | None
    masks: bool
    open: Callable[[], BoxFolder]

    def folder(self) -> BoxFolder:
        return self.open()

    def of(self, photos: Mapping[str, Photo]) -> Located:
        from ..localisation.locate import locate as verb
        from ..results.method import answer
        from ..results.question import Question

        ((name, photo),) = photos.items()
        settings: dict[str, Any] = {"images": [name], "seed": self.seed, "chunk": self.chunk}
        heatmap = answer(Question.of(self.net, photo.fitted, self.objectives or None, **settings), self.map, "locate")
        return verb(heatmap, self.method, picture=photo.whole, threshold=self.threshold, most=self.most)

    def save(self, run: BoxFolder, answer: Located) -> object:
        return run.put(answer, masks=self.masks)

    def tell(self, answer: Located) -> None:
        for i, item in enumerate(answer.heatmap.items):
            for note in answer.notes(i):
                typer.echo(f"note: {item.image}, {item.objective}: {note}", err=True)

    def count(self, run: BoxFolder) -> str:
        return f"{len(run)} picture{'' if len(run) == 1 else 's'} with boxes"
