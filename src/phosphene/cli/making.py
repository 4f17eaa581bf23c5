"""What the commands that render share: progress, saving as it goes, and what is said at the end."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial, reduce
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from ..errors import Interrupted
from .resuming import GOES_ON, request_of, tell_resumed
from .stopping import whole

if TYPE_CHECKING:
    from rich.progress import Progress
    from torch import Tensor

    from ..network.network import Network
    from ..results.folder import RunFolder
    from ..results.kinds import Rendering


class Bar:
    """Tells a rich progress bar of every step."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._task = progress.add_task("rendering", total=None)

    def on_step(self, done: int, items: int, step: int, steps: int, pictures: Tensor, values: Tensor) -> None:
        if step == 1 and not self._progress.console.is_terminal:
            typer.echo(f"rendering {done + 1} to {done + len(pictures)} of {items}, {steps} steps", err=True)
        now = done * steps + step * len(pictures)
        text = f"rendering {done + len(pictures)} of {items}"
        self._progress.update(self._task, total=items * steps, completed=now, description=text)


def make(
    net: Network,
    objectives: Sequence[str],
    *,
    command: str,
    arguments: dict[str, Any],
    out: Path,
    recipe: str,
    steps: int | None,
    size: tuple[int, int] | None,
    settings: Sequence[str],
    seed: int,
    seeds: int,
    starts: int,
    judges: Sequence[Network],
    batch: int | None,
    animate: str | None,
    transparent: bool,
    precision: str,
    compile: str,
    columns: int | None = None,
) -> int:
    """Render, saving each batch as it is finished; gives the exit status.

    Ctrl-C keeps what is finished, and what was being rendered as far as it had come. The same request into the same folder goes
    on from there.
    """
    from ..objectives.spec import several
    from ..pictures.animation import check_kind
    from ..rendering.batches import LONGEST
    from ..rendering.observers import FRAMES
    from ..rendering.render import settle, stream_renderings
    from ..rendering.settings import changed
    from ..results.folder import RunFolder

    if animate is not None:
        check_kind(animate)
    wanted = list(dict.fromkeys(str(one) for text in objectives for one in several(text, _counter(net, size), net.index)))
    chosen = reduce(changed, settings, settle(net, recipe, size, steps=steps))
    frames = FRAMES if animate else 0
    model = net.identity()
    progress = progress_bar()
    parts = stream_renderings(
        net,
        wanted,
        chosen,
        size=size,
        seed=seed,
        seeds=seeds,
        starts=starts,
        judges=judges,
        batch=batch,
        frames=frames,
        precision=precision,  # type: ignore[arg-type]  # a word that is none is refused there
        compile=compile,  # type: ignore[arg-type]
        observers=[Bar(progress)],
        sha256=model["sha256"],
    )
    parts.seconds = LONGEST
    run = RunFolder(
        out,
        command=command,
        model=model,
        device=str(net.device),
        arguments=arguments,
        wanted=wanted,
        seeds=seeds,
        request=request_of(
            net,
            **parts.job.request,
            wanted=wanted,
            starts=starts,
            judges=[judge.identity() for judge in judges],
            animate=animate,
            transparent=transparent,
        ),
    )
    pictures = [(text, seed + k) for text in wanted for k in range(seeds)]
    parts.done = frozenset(n for n, picture in enumerate(pictures) if run.holds(*picture))
    parts.sizes = run.batches_before(len(pictures) * starts)
    tell_resumed(run, len(parts.done), len(pictures), "picture")

    def save(part: Rendering) -> Callable[[], object]:
        return partial(run.add, part, animate=animate, transparent=transparent, batches=list(parts.sizes))

    with progress, Saving() as saving:
        try:
            for part in parts:
                with whole():
                    saving.put(save(part))
                _tell_notes(part.items)
            saving.wait()
        except KeyboardInterrupt as stop:
            with whole():
                saving.wait()
                if isinstance(stop, Interrupted) and stop.partial is not None and len(stop.partial):
                    save(stop.partial)()
                run.finish(columns=columns)
            progress.stop()
            typer.echo(_interrupted(run, len(pictures)), err=True)
            return 1
    run.finish(columns=columns)
    where = f"{out}{'' if str(out).endswith('/') else '/'}"
    typer.echo(f"{_count(len(run), 'picture')}, contact_sheet.png and run.json are in {where}")
    return 0


class Saving:
    """Saves on a thread of its own while the next batch is drawn, one batch after another; what fails there is raised here."""

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(1)
        self._last: Future[object] | None = None

    def put(self, work: Callable[[], object]) -> None:
        """Begin, once what was put before is done."""
        self.wait()
        self._last = self._pool.submit(work)

    def wait(self) -> None:
        last, self._last = self._last, None
        if last is not None:
            last.result()

    def __enter__(self) -> Saving:
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown()


def progress_bar(counted: str = "steps") -> Progress:
    """On standard error, where that is a terminal. counted: what it counts."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    console = Console(stderr=True)
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn(counted),
        TimeRemainingColumn(),
    )
    return Progress(*columns, console=console, disable=not console.is_terminal, transient=True)


def _tell_notes(items: Sequence[Any]) -> None:
    for item in items:
        for note in item.notes:
            typer.echo(f"note: {item.objective}: {note}", err=True)


def _counter(net: Network, size: tuple[int, int] | None) -> Callable[[str], int]:
    """How many channels an address has."""
    return lambda address: net.channels(address, size)


def _interrupted(run: RunFolder, wanted: int) -> str:
    missing, unfinished = run.missing, len(run.more.get("unfinished", ()))
    few = ", ".join(missing[:5]) + (", …" if len(missing) > 5 else "")
    also = f" and {_count(unfinished, 'unfinished picture')}" if unfinished else ""
    return (
        f"interrupted: {len(run)} of {wanted} pictures are in {run.path}; missing {few} (run.json lists them{also}); {GOES_ON}"
    )


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"
