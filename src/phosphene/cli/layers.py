"""`phosphene layers`: the layers of a network, with their receptive fields."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import typer

from . import options

if TYPE_CHECKING:
    from ..network.layers import Layer


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

    print_table(("address", "kind", "shape", "runs", "sees", "stride", "offset", ""), (_row(layer) for layer in found))


def _row(layer: Layer) -> tuple[str, ...]:
    head = (layer.address, layer.kind, "×".join(map(str, layer.shape)), str(layer.calls))
    field = layer.receptive_field
    if field is None:
        return (*head, "–", "–", "–", "")
    said = "" if field.exact else "at most"
    return (*head, _pair(field.size, "×"), _pair(field.stride, "×"), _pair(field.offset, ", "), said)


def _pair(pair: tuple[int, int], between: str) -> str:
    return f"{pair[0]}{between}{pair[1]}"
