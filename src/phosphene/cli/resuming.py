"""What the commands that resume share: what makes two runs the same, and what is said."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import typer

if TYPE_CHECKING:
    from ..network.network import Network
    from ..results.listing import Listing

GOES_ON = "the same line goes on"


def request_of(net: Network, **settings: Any) -> dict[str, Any]:
    """All that results depend on, as JSON has it: the network, its code, Phosphene, and the command's own settings."""
    from ..network.running_code import code_sha256
    from ..results.record import phosphene_version

    return {
        "phosphene": phosphene_version(),
        "model": net.identity(),
        "code": code_sha256(net.module),
        "classes": net.classes,
        "preprocess": net.preprocess.to_dict(),
        **settings,
    }


def tell_resumed(run: Listing, done: int, wanted: int, noun: str) -> None:
    """Say on standard error what an earlier run left, if there was one."""
    if done:
        verb = "is" if done == 1 else "are"
        typer.echo(f"resumed: {done} of {wanted} {noun}s {verb} in {run.path} already, of the same request", err=True)
    elif run.replaces_unfinished:
        typer.echo(f"note: the unfinished run in {run.path} was of another request, and is not resumed", err=True)
