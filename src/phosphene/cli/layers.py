"""`phosphene layers`: the layers of a network, with their receptive fields."""

from __future__ import annotations

import json

import typer

from . import options


def layers(
    model: options.Model,
    size: options.Size = None,
    as_json: options.Json = False,
    device: options.Device = None,
) -> None:
    """List the layers: address, kind, shape of what they give, receptive field (size, stride, offset in pixels, y before x).

    Example: phosphene layers -m demo:standard
    """
    sides = options.size_of(size)
    found = options.opened(model, device).layers(sides)
    if as_json:
        typer.echo(json.dumps([layer.to_dict() for layer in found], indent=1))
        return

    from .tables import print_table

    table = found.table()
    print_table(table.heads, table.rows)
