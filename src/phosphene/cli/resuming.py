"""What the commands that resume share: what makes two runs the same, and what is said."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

if TYPE_CHECKING:
    from ..network.network import Network
    from ..results.listing import Listing

GOES_ON = "the same line goes on"


def request_of(net: Network, *, photographs: Iterable[Path] = (), **settings: Any) -> dict[str, Any]:
    """Everything that results depend on, as JSON: the network, its code, photographs' contents, the command's settings."""
    from ..network.running_code import code_sha256
    from ..results.record import phosphene_version

    return {
        "phosphene": phosphene_version(),
        "model": net.identity(),
        "code": code_sha256(net.module),
        "device": str(net.device),
        "classes": net.classes,
        "preprocess": net.preprocess.to_dict(),
        "photographs": [(str(path), _sha256(path)) for path in photographs],
        **settings,
    }


def _sha256(path: Path) -> str | None:
    from ..pictures import files

    try:
        return files.sha256(path)
    except (OSError, ValueError):  # it is refused when it is read
        return None


def tell_resumed(run: Listing, done: int, wanted: int, noun: str) -> None:
    """Print what an earlier run left, if this one is to go on from there or replaces it."""
    if run.replaces_unfinished:
        typer.echo(f"note: the unfinished run in {run.path} was of another request, and is not resumed", err=True)
    if run.kept:
        typer.echo(f"note: the earlier run in {run.path} is kept; its run.json becomes {run.kept}", err=True)
    elif 0 < done < wanted:
        verb = "is" if done == 1 else "are"
        typer.echo(f"resumed: {done} of {wanted} {noun}s {verb} in {run.path} already, of the same request", err=True)
