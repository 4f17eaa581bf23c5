"""From whatever a network returns to raw scores (b, classes)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from ..errors import OutputError

Pick = Callable[[Any], Tensor]
# Where scores are usually kept: transformers and torchvision's GoogLeNet; segmentation models; detection wrappers.
SCORE_KEYS = ("logits", "scores", "out", "output", "pred", "prediction")
_VIEWS = ("View", "Reshape", "Squeeze", "Unsqueeze", "ToCopy", "Clone", "TBackward", "Transpose", "Permute", "Slice", "Alias")


def unpack(output: Any, pick: Pick | None, batch: int) -> Tensor:
    """The raw scores (b, classes) in what the network returned, as float32 or float64.

    A tensor (b, classes) or (b,) as it is, also with trailing 1×1 axes; of a mapping or a model output the entry called
    logits, scores, out…; of a tuple or list the only or the first tensor of two axes. `pick` decides in the other cases.
    """
    try:
        found = pick(output) if pick else _only_scores(output)
    except OutputError:
        raise
    except Exception as error:
        if pick is None:
            raise
        raise OutputError(f"output= failed on {kinds(output)}: {error}") from error
    if not isinstance(found, Tensor):
        raise OutputError(f"output= gave {kinds(found)}; one (b, classes) tensor is needed")
    return _as_rows(found, output, batch)


def kinds(output: Any) -> str:
    """What came back, in words, for an error.

    >>> kinds({"a": torch.zeros(2, 3)})
    'dict(a: Tensor(2, 3))'
    """
    if isinstance(output, Tensor):
        return f"Tensor{tuple(output.shape)}"
    if isinstance(output, Mapping):
        inside = ", ".join(f"{key}: {kinds(value)}" for key, value in list(output.items())[:6])
        return f"{type(output).__name__}({inside})"
    if isinstance(output, tuple | list):
        return f"{type(output).__name__}({', '.join(kinds(value) for value in output[:6])})"
    return type(output).__name__


def ending(scores: Tensor) -> str | None:
    """ "softmax", "log_softmax" or "sigmoid" if the scores (b, classes) are no raw scores, else None.

    Read off the autograd node that made them; where there is no graph, off the numbers: rows that sum to 1.
    """
    node, depth = scores.grad_fn, 0
    while node is not None and depth < 8:
        name = node.name()
        for word, kind in (("LogSoftmax", "log_softmax"), ("Softmax", "softmax"), ("Sigmoid", "sigmoid")):
            if name.startswith(word):
                return kind
        if not name.startswith(_VIEWS):
            return None
        node, depth = node.next_functions[0][0], depth + 1
    return _ending_by_numbers(scores.detach()) if scores.grad_fn is None else None


def _ending_by_numbers(scores: Tensor) -> str | None:
    if scores.shape[1] < 2 or not torch.isfinite(scores).all():
        return None
    one = torch.ones((), dtype=scores.dtype, device=scores.device)
    if bool((scores >= 0).all()) and torch.allclose(scores.sum(1), one, atol=1e-3):
        return "softmax"
    if bool((scores <= 0).all()) and torch.allclose(scores.exp().sum(1), one, atol=1e-3):
        return "log_softmax"
    return None


def _only_scores(output: Any) -> Tensor:
    if isinstance(output, Tensor):
        return output
    named: Any = output if isinstance(output, Mapping) else getattr(output, "_asdict", dict)()
    for key in SCORE_KEYS:
        if isinstance(named.get(key), Tensor):
            found: Tensor = named[key]
            return found
    values = list(output.values()) if isinstance(output, Mapping) else output
    if isinstance(values, tuple | list):
        tensors = [value for value in values if isinstance(value, Tensor)]
        rows = [value for value in tensors if value.ndim == 2]
        if len(tensors) == 1 or (rows and not isinstance(output, Mapping)):
            return (rows or tensors)[0]
        if len(rows) == 1:
            return rows[0]
    raise OutputError(_needed(output))


def _as_rows(scores: Tensor, output: Any, batch: int) -> Tensor:
    while scores.ndim > 2 and scores.shape[-1] == 1:
        scores = scores.squeeze(-1)
    if scores.ndim == 1 and scores.shape[0] == batch:
        scores = scores.unsqueeze(1)
    if scores.ndim != 2 or scores.shape[0] != batch or scores.shape[1] == 0 or not scores.is_floating_point():
        raise OutputError(_needed(output))
    return scores if scores.dtype == torch.float64 else scores.float()


def _needed(output: Any) -> str:
    return (
        f"the network returned {kinds(output)}; one (b, classes) tensor is needed: "
        "pass Network(..., output=lambda o: ...) that picks it. See docs/errors/OutputError.md"
    )
