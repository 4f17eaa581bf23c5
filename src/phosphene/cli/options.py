"""Options that several commands take."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from .. import registry
from ..errors import RequestError, shown
from . import defaults

if TYPE_CHECKING:
    from ..network.network import Network

Model = Annotated[
    str,
    typer.Option(
        "-m",
        "--model",
        metavar="REF",
        help="demo:standard, demo:robust, torchvision:NAME, timm:NAME, hf:ORG/NAME, package.module:factory, "
        "path/file.py:factory, gap-head:FILE or model.pt2; "
        "then ?weights=FILE, ?weights=none, size=, mean=, std=, classes=FILE … joined by &; or a name in phosphene.toml. "
        "Default: PHOSPHENE_MODEL, or phosphene.toml's model.",
    ),
]
Out = Annotated[Path, typer.Option("-o", "--out", metavar="DIR", help="Folder for the pictures and run.json.")]
RecipeName = Annotated[
    str, typer.Option("--recipe", metavar="NAME", help="Settings by name, or a .toml file; auto fits the size.")
]
Steps = Annotated[int | None, typer.Option("--steps", metavar="N", help="Steps of the ascent, instead of the recipe's.")]
Size = Annotated[str | None, typer.Option("--size", metavar="PX", help="Side in pixels, or HEIGHTxWIDTH; the network's own.")]
Seed = Annotated[int, typer.Option("--seed", metavar="K", help="Of every random number.")]
Batch = Annotated[
    int | None, typer.Option("--batch", "--batch-size", metavar="N", help="Batch size (default: as many as fit).")
]
Animate = Annotated[
    str | None, typer.Option("--animate", metavar="KIND", help="Also how each picture formed: gif, webp, apng or mp4.")
]
Seeds = Annotated[
    int, typer.Option("--seeds", metavar="N", help="Pictures of each, of the seeds K, K + 1, …; see --set diversity.")
]
Starts = Annotated[
    int,
    typer.Option("--starts", metavar="N", help="Draw each from so many seeds; keep what holds best under random views."),
]
Judges = Annotated[
    list[str] | None,
    typer.Option("--judge", metavar="REF", help="A network that chooses among the starts of a class; may be repeated."),
]
Settings = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="KEY=VALUE",
        help="One setting of the recipe: lr=0.1, l2=0.01, blur=0 (takes it away), canvas=fourier, start=photo.jpg, "
        "diversity=5, diversity_at=LAYER; may be repeated.",
    ),
]
Like = Annotated[
    str | None,
    typer.Option(
        "--like", metavar="PHOTOS", help="Folder of photographs: the picture's features are to be distributed as theirs."
    ),
]
Transparent = Annotated[
    bool, typer.Option("--transparent", help="Also each picture with transparency where the network hardly looked.")
]
Device = Annotated[
    str | None, typer.Option("--device", metavar="NAME", help="cpu, cuda, cuda:1, mps; cuda where there is one.")
]
Precision = Annotated[
    str,
    typer.Option(
        "--precision",
        metavar="auto|full|half",
        help="half: bfloat16, which auto takes where the hardware computes it natively and pictures have 96 px or more.",
    ),
]
Compile = Annotated[
    str,
    typer.Option(
        "--compile", metavar="auto|on|off", help="torch.compile; auto takes it on a GPU where the work that is left repays it."
    ),
]
PictureRange = Annotated[
    str | None,
    typer.Option(
        "--range",
        metavar="LOW,HIGH",
        help="Of pictures of 16 or 32 bits and .npy: the numbers in the file that are black and white, as 0,4095.",
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def opened(model: str, device: str | None) -> Network:
    """The network, with what may mislead told on standard error."""
    import torch

    from ..network.load import load

    reference = defaults.read().reference(model)
    if reference != model:
        typer.echo(f"note: {model} is {reference}", err=True)
    net = load(reference, device=device or ("cuda" if torch.cuda.is_available() else "cpu"))
    for note in net.notes:
        typer.echo(f"note: {note}", err=True)
    return net


def registered(kind: str) -> str:
    """The names of a kind, joined by commas; imports none of them."""
    return ", ".join(registry.names(kind))


def range_of(text: str | None) -> tuple[float, float] | None:
    """
    >>> range_of("0,4095"), range_of(None)
    ((0.0, 4095.0), None)
    """
    if text is None:
        return None
    try:
        low, high = (float(number) for number in text.split(","))
    except ValueError:
        low = high = math.nan
    if not (text.isascii() and -math.inf < low < high < math.inf):
        raise RequestError(f"--range {shown(text)}; LOW,HIGH, as in 0,4095, is needed")
    return low, high


def size_of(text: str | None) -> tuple[int, int] | None:
    """
    >>> size_of("64"), size_of("64x96"), size_of(None)
    ((64, 64), (64, 96), None)
    """
    from .. import checks

    if text is None:
        return None
    sides = [side.strip() for side in text.lower().replace(",", "x").split("x")]
    if len(sides) > 2 or not all(re.fullmatch(r"-?[0-9]{1,9}", side) for side in sides):
        raise RequestError(f"--size {shown(text)}; pixels, as in 224, or HEIGHTxWIDTH, as in 192x256, are needed")
    numbers = [int(side) for side in sides]
    return checks.size((numbers[0], numbers[-1]), "--size")


def settings_of(settings: Sequence[str] | None, like: str | None) -> list[str]:
    """Those of --set, and --like as one more."""
    return [*(settings or ()), *(() if like is None else (f"like={like}",))]
