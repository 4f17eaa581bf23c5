"""`phosphene explain`: what in photographs drives an objective."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..errors import RequestError
from . import options
from .photographs import Asking, Photo, asked_of, files_in, tell_notes
from .resuming import request_of
from .trust import Trusting

if TYPE_CHECKING:
    from rich.progress import Progress

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
            help=f"{options.registered('methods')}; captum:NAME for Captum's; may be repeated, to see them side by side "
            "(default: saliency).",
        ),
    ] = None,
    samples: Annotated[
        int | None, typer.Option("--samples", metavar="N", help="Noisy copies, steps of the way or masks; the method's own.")
    ] = None,
    chunk: Annotated[
        int | None,
        typer.Option("--chunk", "--batch", "--batch-size", metavar="N", help="Batch size (default: as many as fit)."),
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
    asked = asked_of(net, classes, objectives)

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
    request = request_of(net, photographs=paths, **told | {"photos": None})
    about: dict[str, Any] = {
        "command": "explain",
        "model": net.identity(),
        "device": str(net.device),
        "arguments": told,
        "wanted": [str(path) for path in paths],
        "request": request | {"objectives": [str(one.inlined()) for one in asked]},
        "contour": contour,
    }
    trusting = Trusting(net, found, seed, chunk) if trust else None
    asking = _Asking(net, asked, black_white, found, seed, chunk, lambda: MapFolder(out, **about), trusting)
    raise typer.Exit(asking.run(paths, out))


@dataclass(frozen=True)
class _Asking(Asking["MapFolder", "list[Heatmap]"]):
    """Maps by several methods. The answer is a Heatmap per method: the maps of each objective of the first photograph, then
    of the second …"""

    doing = "explaining"
    done = "explained"
    methods: list[Method]
    seed: int
    chunk: int | None
    open: Callable[[], MapFolder]
    trusting: Trusting | None

    @property
    def at_once(self) -> int:
        return AT_ONCE

    @property
    def items(self) -> int:
        return super().items * len(self.methods)

    def folder(self) -> MapFolder:
        return self.open()

    def of(self, photos: Mapping[str, Photo]) -> list[Heatmap]:
        import torch

        from ..attribution.explain import explain as verb

        times = max(1, len(self.objectives))
        pictures = torch.cat([photo.fitted for photo in photos.values()]).repeat_interleave(times, 0)
        images = [name for name in photos for _ in range(times)]
        # One for all would do with one objective; a list says the same whatever the number of pictures.
        objectives = self.objectives * len(photos) or None
        settings: dict[str, Any] = {"images": images, "seed": self.seed, "chunk": self.chunk}
        return [verb(self.net, pictures, objectives, method=method, **settings) for method in self.methods]

    def save(self, run: MapFolder, answer: list[Heatmap]) -> object:
        return run.add(answer)

    def tell(self, answer: list[Heatmap]) -> None:
        tell_notes(answer)

    def count(self, run: MapFolder) -> str:
        return f"{len(run)} map{'' if len(run) == 1 else 's'}"

    def resume(self, run: MapFolder, photos: Mapping[str, Photo]) -> bool:
        if self.trusting is None:
            return super().resume(run, photos)
        if self.trusting.room:  # these maps are measured, and so made again
            run.drop(photos)
            return False
        resumed = super().resume(run, photos)
        self.trusting.left_out += resumed * len(photos) * super().items
        return resumed

    def measure(self, answer: list[Heatmap], progress: Progress) -> None:
        if self.trusting is not None:
            self.trusting.add(answer, progress)

    def finish(self, run: MapFolder) -> None:
        if self.trusting is not None and self.trusting.said is not None:
            run.tell("trust", self.trusting.said.to_dict())
            self.trusting.show()


def named_methods(names: list[str], samples: int | None) -> list[Method]:
    """Those of these names; `samples` is of those that have any."""
    from ..results.method import Sampled, find_method

    found = [find_method(name) for name in names]
    if samples is None:
        return found
    if not any(isinstance(method, Sampled) for method in found):
        raise RequestError(f"--samples {samples}; {', '.join(names)} take{'s' if len(names) == 1 else ''} none")
    return [find_method(method, samples) if isinstance(method, Sampled) else method for method in found]
