"""`phosphene gap-head`: a network with a head of global average pooling, for class activation maps of classes of one's own."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..errors import PictureError, RequestError, shown
from .options import Device, Model, Seed, opened
from .photographs import photograph

if TYPE_CHECKING:
    from torch import Tensor

    from ..cams.surgery import GapHead
    from ..network.network import Network


def gap_head(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Pictures, in one folder per class, whose name it is.")],
    model: Model,
    layer: Annotated[
        str | None, typer.Option("--layer", metavar="ADDRESS", help="What is pooled; the last layer with places.")
    ] = None,
    penalty: Annotated[
        float | None, typer.Option("--penalty", metavar="X", help="On large weights; more for fewer pictures. 0.001.")
    ] = None,
    seed: Seed = 0,
    out: Annotated[Path, typer.Option("-o", "--out", metavar="FILE", help="The .safetensors file to write.")] = Path(
        "gap-head.safetensors"
    ),
    device: Device = None,
) -> None:
    """Give a network global average pooling and one linear layer, trained on pictures of yours; nothing else is trained.

    A fifth of each class is kept apart, to tell how good the head is. Open it as -m gap-head:FILE.

    Example: phosphene gap-head photos -m torchvision:vgg16 -o mine.safetensors
    """
    from ..cams.surgery import PENALTY
    from ..cams.surgery import gap_head as verb

    if out.suffix != ".safetensors":
        raise RequestError(f"{shown(str(out))}: a file that ends in .safetensors is needed")
    classes = _classes(folder)
    net = opened(model, device)
    given = _pictures(net, folder, classes)
    made = verb(net, given, classes, layer=layer, penalty=PENALTY if penalty is None else penalty, seed=seed)
    made.save(out)
    typer.echo(_told(made, out))


def _classes(folder: Path) -> list[str]:
    if not folder.is_dir():
        raise PictureError(f"{shown(str(folder))} is no folder; one with a folder of pictures per class is needed")
    found = sorted(path.name for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))
    if len(found) < 2:
        raise PictureError(f"{shown(str(folder))} holds {len(found)} folders; one per class, and two or more, are needed")
    return found


def _pictures(net: Network, folder: Path, classes: list[str]) -> Iterator[tuple[Tensor, int]]:
    """Those that can be read, with the index of their class; of the others is told."""
    for index, name in enumerate(classes):
        for path in sorted(path for path in (folder / name).rglob("*") if path.is_file()):
            try:
                yield photograph(net, path), index
            except PictureError as error:
                typer.echo(f"note: left out: {error}", err=True)


def _told(made: GapHead, out: Path) -> str:
    learned, apart = made.counts
    held = "" if made.held_out is None else f", {made.held_out:.0%} of {apart} that were kept apart"
    right = f"right on {made.learned:.0%} of {learned} pictures it learned from{held}"
    return f"{out}: {len(made.net.classes)} classes on {made.layer}; {right}; -m gap-head:{out} opens it"
