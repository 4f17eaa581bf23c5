"""`phosphene explain`: what in photographs drives an objective."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..errors import PictureError, RequestError
from . import options
from .photographs import asked_of, files_in, none_of, readable, tell_notes
from .trust import Trusting

if TYPE_CHECKING:
    from torch import Tensor

    from ..network.network import Network
    from ..objectives.expression import Objective
    from ..results.heatmap import Heatmap
    from ..results.map_folder import MapFolder
    from ..results.method import Method

AT_ONCE = 16  # pictures that are read before they are explained and saved together


def explain(
    photos: Annotated[list[Path], typer.Argument(metavar="PHOTO...", help="Pictures of any size, and folders of them.")],
    model: options.Model,
    classes: Annotated[
        list[str] | None,
        typer.Option("-c", "--class", metavar="CLASS", help="By name or index; may be repeated. Each picture's likeliest."),
    ] = None,
    objectives: Annotated[
        list[str] | None,
        typer.Option(
            "--objective",
            metavar="TEXT",
            help="Anything that `phosphene render` takes: 'logit:cat - logit:dog' tells why the one and not the other, "
            "channel:LAYER:K what a hidden unit sees; may be repeated.",
        ),
    ] = None,
    methods: Annotated[
        list[str] | None,
        typer.Option(
            "--method",
            metavar="NAME",
            help="saliency, gradient, gradient_x_input, guided_backprop, deconvnet, smoothgrad, vargrad, integrated_gradients, "
            "occlusion, rise, captum:NAME; may be repeated, to see them side by side. saliency.",
        ),
    ] = None,
    samples: Annotated[
        int | None, typer.Option("--samples", metavar="N", help="Noisy copies, steps of the way or masks; the method's own.")
    ] = None,
    chunk: Annotated[
        int | None, typer.Option("--chunk", metavar="N", help="Pictures that go through the network at once; as many as fit.")
    ] = None,
    contour: Annotated[bool, typer.Option("--contour", help="Also each picture with lines of equal value.")] = False,
    trust: Annotated[
        bool, typer.Option("--trust", help="Also measure how far the first maps can be trusted, a random map beside them.")
    ] = False,
    value_range: options.PictureRange = None,
    seed: options.Seed = 0,
    device: options.Device = None,
    out: options.Out = Path("out"),
) -> None:
    """Explain: show which pixels of photographs drive a class or any other objective.

    Example: phosphene explain -m demo:robust photo.png --method saliency --method guided_backprop -o out
    """
    if classes and objectives:
        raise RequestError("of what? give -c CLASS or --objective TEXT, not both")
    names = list(dict.fromkeys(methods or ["saliency"]))
    found = named_methods(names, samples)
    black_white = options.range_of(value_range)
    paths = files_in(photos, out)
    net = options.opened(model, device)

    from ..results.map_folder import MapFolder

    told = {
        "photos": [str(path) for path in photos],
        "classes": classes,
        "objectives": objectives,
        "methods": names,
        "samples": samples,
        "chunk": chunk,
        "contour": contour,
        "trust": trust,
        "seed": seed,
    } | ({"range": value_range} if value_range else {})
    asking = _Asking(net, found, asked_of(net, classes, objectives), seed, chunk, black_white)

    def folder() -> MapFolder:
        return MapFolder(
            out,
            command="explain",
            model=net.identity(),
            device=str(net.device),
            arguments=told,
            wanted=[str(path) for path in paths],
            contour=contour,
        )

    trusting = Trusting(net, found, seed, chunk) if trust else None
    raise typer.Exit(_explained(asking, paths, folder, trusting))


@dataclass(frozen=True)
class _Asking:
    """What is asked of every picture. objectives: none for each picture's likeliest class."""

    net: Network
    methods: list[Method]
    objectives: list[Objective]
    seed: int
    chunk: int | None
    range: tuple[float, float] | None = None

    def of(self, photos: dict[str, Tensor]) -> list[Heatmap]:
        """A Heatmap per method: the maps of each objective of the first picture, then of the second …"""
        import torch

        from ..attribution.explain import explain as verb

        times = max(1, len(self.objectives))
        pictures = torch.cat(list(photos.values())).repeat_interleave(times, 0)
        images = [name for name in photos for _ in range(times)]
        # One for all would do with one objective; a list says the same whatever the number of pictures.
        objectives = self.objectives * len(photos) or None
        settings: dict[str, Any] = {"images": images, "seed": self.seed, "chunk": self.chunk}
        return [verb(self.net, pictures, objectives, method=method, **settings) for method in self.methods]


def named_methods(names: list[str], samples: int | None) -> list[Method]:
    """Those of these names; `samples` is of those that have any."""
    from ..results.method import Sampled, find_method

    found = [find_method(name) for name in names]
    if samples is None:
        return found
    if not any(isinstance(method, Sampled) for method in found):
        raise RequestError(f"--samples {samples}; {', '.join(names)} take{'s' if len(names) == 1 else ''} none")
    return [find_method(method, samples) if isinstance(method, Sampled) else method for method in found]


def _explained(asking: _Asking, paths: list[Path], folder: Callable[[], MapFolder], trusting: Trusting | None) -> int:
    """Explain picture after picture; gives the exit status. One that cannot be read is named, and the others are done.

    The folder is made when there is something to save. Ctrl-C keeps what is saved and says what is not.
    """
    from .making import progress_bar
    from .stopping import whole

    run: MapFolder | None = None
    refused: dict[str, str] = {}
    with progress_bar() as progress:
        task = progress.add_task("explaining", total=len(paths))
        try:
            for photos in _read(asking, paths, refused):
                heatmaps = asking.of(photos)
                with whole():
                    run = run or folder()
                    run.add(heatmaps)
                progress.advance(task, len(photos))
                tell_notes(heatmaps)
                if trusting is not None:
                    trusting.add(heatmaps, progress)
        except KeyboardInterrupt:
            if run is None:
                raise
            progress.stop()
            _finish(run, refused, trusting)
            typer.echo(_interrupted(run), err=True)
            return 1
    if run is None:
        raise PictureError(none_of(refused, "explained"))
    _finish(run, refused, trusting)
    typer.echo(f"{_maps(run)}, contact_sheet.png and run.json are in {run.path}/")
    return 1 if refused else 0


def _read(asking: _Asking, paths: list[Path], refused: dict[str, str]) -> Iterator[dict[str, Tensor]]:
    """Fitted pictures (1, c, h, w) by their names, some at once; why others are not there is put into `refused`."""
    some: dict[str, Tensor] = {}
    for name, _, picture in readable(asking.net, paths, refused, asking.range):
        some[name] = picture
        if len(some) == AT_ONCE:
            yield some
            some = {}
    if some:
        yield some


def _finish(run: MapFolder, refused: dict[str, str], trusting: Trusting | None) -> None:
    if trusting is not None and trusting.said is not None:
        run.tell("trust", trusting.said.to_dict())
        trusting.show()
    for name, reason in refused.items():
        run.failed(name, reason)
        typer.echo(f"phosphene: {reason}", err=True)
    run.finish()


def _interrupted(run: MapFolder) -> str:
    few = ", ".join(run.missing[:5]) + (", …" if len(run.missing) > 5 else "")
    return f"interrupted: {run.path} holds {_maps(run)}; missing are those of {few} (run.json lists them)"


def _maps(run: MapFolder) -> str:
    return f"{len(run)} map{'' if len(run) == 1 else 's'}"
