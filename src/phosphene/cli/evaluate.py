"""`phosphene evaluate`: numbers that say how far pictures can be trusted."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..errors import RequestError, first_line, shown
from . import options
from .photographs import photograph

if TYPE_CHECKING:
    from torch import Tensor

    from ..network.network import Network

evaluate = typer.Typer(help="Numbers that say how far pictures can be trusted.", no_args_is_help=True)


@evaluate.command(no_args_is_help=True)
def recognisability(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="What `phosphene class-model` wrote.")],
    judges: Annotated[
        list[str], typer.Option("-j", "--judge", metavar="REF", help="A network that took no part; may be repeated.")
    ],
    real: Annotated[
        Path | None, typer.Option("--real", metavar="DIR", help="Real pictures, of which the nearest to each is told.")
    ] = None,
    value_range: options.PictureRange = None,
    device: options.Device = None,
    as_json: options.Json = False,
) -> None:
    """Tell how networks that took no part classify class models.

    Example: phosphene evaluate recognisability out -j demo:standard
    """
    black_white = options.range_of(value_range)
    pictures, classes = _class_models(folder)
    networks = [options.opened(judge, device) for judge in judges]

    from ..evaluation import recognisability as verb

    names = _files(real) if real else []
    photos = _photos(names, networks[0], black_white) if real else None
    found = verb(pictures, classes, networks, real=photos)
    if as_json:
        typer.echo(json.dumps(found.to_dict(), indent=1, ensure_ascii=False))
        return

    from .tables import print_table

    rows = []
    for i, name in enumerate(classes):
        for judgement in found.judgements:
            row = (name, judgement.judge, str(int(judgement.ranks[i])), f"{float(judgement.probabilities[i]):.2f}")
            near = names[int(found.nearest[i])].name if found.nearest is not None else ""
            rows.append(
                (*row, f"{float(judgement.scores[i]):.1f}", judgement.chosen[i], f"{float(found.spectrum[i]):.2f}", near)
            )
    print_table(("class", "judge", "rank", "p", "score", "first choice", "spectrum", "nearest" if real else ""), rows)
    for judgement in found.judgements:
        typer.echo(f"{judgement.judge}: top-1 {judgement.top(1):.0%}, top-5 {judgement.top(5):.0%} of {len(classes)}")


def _class_models(folder: Path) -> tuple[Tensor, list[str]]:
    import torch

    from ..pictures.converting import read

    try:
        items: list[dict[str, Any]] = json.loads((folder / "run.json").read_text("utf-8"))["items"]
        wanted = [(folder / Path(item["file"]).name, _class_of(item)) for item in items if item.get("class") is not None]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise RequestError(
            f"{shown(str(folder))} holds no run.json of class models ({first_line(error)}); `phosphene class-model` writes one"
        ) from error
    if not wanted:
        raise RequestError(f"{shown(str(folder))} holds no class models; `phosphene class-model -o` writes them")
    return torch.cat([read(path) for path, _ in wanted]), [name for _, name in wanted]


def _class_of(item: dict[str, Any]) -> str:
    """The class as the objective has it: an index where two classes share the name."""
    from ..objectives.spec import parse
    from ..objectives.units import ClassUnit

    only = parse(item["objective"], files=False).only
    if not isinstance(only, ClassUnit):
        raise ValueError(f"{shown(item['objective'])} is no class")
    return str(only.target)


def _files(folder: Path) -> list[Path]:
    if not folder.is_dir():
        raise RequestError(f"--real {shown(str(folder))} is no folder; one with pictures is needed")
    return sorted(path for path in folder.iterdir() if path.is_file())


def _photos(paths: list[Path], judge: Network, range: tuple[float, float] | None) -> Tensor:
    import torch

    if not paths:
        raise RequestError("--real names an empty folder; pictures are needed in it")
    return torch.cat([judge.preprocess.fit(photograph(judge, path, range)) for path in paths])
