"""Programs saved by torch.export (.pt2)."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import torch

from ...errors import ModelError, first_line, shown
from ..opened import Opened


def open_export(path: str) -> Opened:
    """The program with its module names back, so that addresses are those of the network it was made from.

    The shape of its example input tells channels and size; a batch size that was fixed on export is kept to.
    """
    if not os.path.isfile(path):
        raise ModelError(f"{shown(path)} is not there; a .pt2 file from torch.export.save is needed")
    try:
        program = torch.export.load(path)
        module = torch.export.unflatten(program)
    except Exception as error:  # whatever a broken archive makes the reader raise
        raise ModelError(f"{Path(path).name} is not a whole torch.export program: {first_line(error)}") from error
    shape = _input_shape(program)
    fixed = shape[0] if isinstance(shape[0], int) else None
    if not all(isinstance(side, int) for side in shape[1:]):
        return Opened(module, {"channels": shape[1]} if isinstance(shape[1], int) else None, batch=fixed)
    return Opened(
        module,
        {"size": (shape[2], shape[3]), "channels": shape[1]},
        batch=fixed,
        notes=("an export does not tell its preprocessing: pictures in [0, 1] go in, unless mean= and std= say otherwise",),
    )


def _input_shape(program: Any) -> tuple[Any, ...]:
    names = set(program.graph_signature.user_inputs)
    shapes = [tuple(n.meta["val"].shape) for n in program.graph.nodes if n.op == "placeholder" and n.name in names]
    if len(shapes) != 1 or len(shapes[0]) != 4:
        raise ModelError(f"the program takes inputs {shapes}; one batch of pictures (b, c, h, w) is needed")
    return shapes[0]
