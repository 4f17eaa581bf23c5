"""What the commands that look at photographs share: which files, what is asked of them, and the loop over them."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Generic, TypeVar

import typer

from ..errors import PictureError, RequestError, shown
from .class_model import told_name
from .resuming import GOES_ON, tell_resumed

if TYPE_CHECKING:
    from rich.progress import Progress
    from torch import Tensor

    from ..network.network import Network
    from ..objectives.expression import Objective
    from ..results.heatmap import Heatmap
    from ..results.map_folder import MapFolder

Folder = TypeVar("Folder", bound="MapFolder")
Answer = TypeVar("Answer")


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
    from ..pictures.files import is_sheet
    from ..pictures.reading import recognised

    if sheets := [path for path in files if is_sheet(path)]:
        typer.echo(f"note: {sheets[0]} is a sheet that Phosphene made and was passed over; name it to read it", err=True)
    files = [path for path in files if path not in sheets]
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
    asked += [one for text in objectives or () for one in several(text, net.channels, net.index)]
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


@dataclass(frozen=True, eq=False)
class Photo:
    """A photograph (1, c, h, w) as it was read, and fitted to the network's size."""

    whole: Tensor
    fitted: Tensor


@dataclass(frozen=True)
class Asking(ABC, Generic[Folder, Answer]):
    """What a command asks of photographs, and saves. objectives: none for each photograph's top-1 class."""

    doing: ClassVar[str]
    done: ClassVar[str]
    net: Network
    objectives: list[Objective]
    range: tuple[float, float] | None

    @property
    def at_once(self) -> int:
        """How many photographs are read before they are asked about and saved together."""
        return 1

    @property
    def items(self) -> int:
        """How many items run.json lists of each photograph."""
        return max(1, len(self.objectives))

    @abstractmethod
    def folder(self) -> Folder:
        """Open the folder, which is made if need be."""

    @abstractmethod
    def of(self, photos: Mapping[str, Photo]) -> Answer: ...

    @abstractmethod
    def save(self, run: Folder, answer: Answer) -> object: ...

    @abstractmethod
    def tell(self, answer: Answer) -> None:
        """Print what may mislead."""

    @abstractmethod
    def count(self, run: Folder) -> str:
        """How many results the folder holds, in words."""

    def resume(self, run: Folder, photos: Mapping[str, Photo]) -> bool:
        """Whether an earlier run left all that is asked of these photographs."""
        return run.resume({name: photo.fitted for name, photo in photos.items()}, self.items)

    def measure(self, answer: Answer, progress: Progress) -> None:
        """Further work on what has been saved."""

    def finish(self, run: Folder) -> None:
        """Print and save what all photographs give together."""

    def run(self, paths: list[Path], out: Path) -> int:
        """Ask of photograph after photograph; gives the exit status. One that cannot be read is named, and the others are done.

        The folder is made when there is something to save. Ctrl-C keeps what is saved and prints what is missing; the same
        request into the same folder goes on from there.
        """
        from .making import progress_bar
        from .stopping import whole

        run = self.folder() if (out / "run.json").is_file() else None
        if run is not None:
            tell_resumed(run, len(paths) - len(run.missing), len(paths), "photograph")
        refused: dict[str, str] = {}
        with progress_bar("photographs") as progress:
            task = progress.add_task(self.doing, total=len(paths))
            try:
                for photos in self._groups(paths, refused):
                    if run is None or not self.resume(run, photos):
                        answer = self.of(photos)
                        with whole():
                            run = self.folder() if run is None else run  # not `or`: one of no items is false
                            self.save(run, answer)
                        self.tell(answer)
                        self.measure(answer, progress)
                    progress.advance(task, len(photos))
            except KeyboardInterrupt:
                if run is None or not len(run):
                    raise
                with whole():
                    progress.stop()
                    self._finish(run, refused)
                    few = ", ".join(run.missing[:5]) + (", …" if len(run.missing) > 5 else "")
                    holds = f"{run.path} holds {self.count(run)}; missing are those of {few} (run.json lists them)"
                    typer.echo(f"interrupted: {holds}; {GOES_ON}", err=True)
                return 1
        if run is None or not len(run):
            raise PictureError(none_of(refused, self.done))
        self._finish(run, refused)
        typer.echo(f"{self.count(run)}, contact_sheet.png and run.json are in {run.path}/")
        return 1 if refused else 0

    def _groups(self, paths: list[Path], refused: dict[str, str]) -> Iterator[dict[str, Photo]]:
        """Photographs by their names, some at once; why others are not there is put into `refused`."""
        some: dict[str, Photo] = {}
        for name, photo, picture in readable(self.net, paths, refused, self.range):
            some[name] = Photo(photo, picture)
            if len(some) == self.at_once:
                yield some
                some = {}
        if some:
            yield some

    def _finish(self, run: Folder, refused: dict[str, str]) -> None:
        self.finish(run)
        for name, reason in refused.items():
            run.failed(name, reason)
            typer.echo(f"phosphene: {reason}", err=True)
        run.finish()
