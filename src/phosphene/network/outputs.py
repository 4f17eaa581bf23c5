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
_VIEWS = (
    "View",
    "Reshape",
    "Squeeze",
    "Unsqueeze",
    "ToCopy",
    "Clone",
    "TBackward",
    "Transpose",
    "Permute",
    "Slice",
    "Alias",
    "Clamp",
)
_BY_HAND = ("Mul", "Div", "Reciprocal", "Add", "Neg", "Pow")  # of 1 / (1 + exp(-x)), up to the exponential


def unpack(output: Any, pick: Pick | None, batch: int, classes: int | None = None) -> Tensor:
    """The raw scores (b, classes) in what the network returned, as float32 or float64.

    A tensor (b, classes) or (b,) as it is, also with trailing 1×1 axes, or (classes,) for a batch of one; the means over
    positions of maps of classes (b, classes, h, w); of a mapping or a
    model output the entry called logits, scores, out…; of a tuple or list the only tensor of scores, or the first of several
    of one width. Where several widths compete, the one with as many columns as there are `classes`, or
    the one that is computed from all the others. `pick` decides in the
    other cases.
    """
    try:
        found = pick(output) if pick else _only_scores(output, batch, classes)
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

    Read off the autograd nodes that made them, a sigmoid written 1 / (1 + exp(-x)) too; else off the numbers: rows that sum
    to 1, or whose exponentials do.
    """
    node, depth = scores.grad_fn, 0
    while node is not None and depth < 8:
        name = node.name()
        for word, kind in (("LogSoftmax", "log_softmax"), ("Softmax", "softmax"), ("Sigmoid", "sigmoid")):
            if name.startswith(word):
                return kind
        if not name.startswith(_VIEWS):
            break
        node, depth = node.next_functions[0][0], depth + 1
    numbers = scores.detach()
    return _ending_by_numbers(numbers) or ("sigmoid" if _sigmoid_by_hand(node, numbers) else None)


def _sigmoid_by_hand(node: Any, scores: Tensor) -> bool:
    """Whether scores in (0, 1) come from one over a sum with an exponential."""
    divided = added = False
    for _ in range(8):
        if node is None or not bool(((scores > 0) & (scores < 1)).all()):
            return False
        name = node.name()
        if name.startswith("Exp"):
            return divided and added
        if not name.startswith((*_BY_HAND, *_VIEWS)):
            return False
        added |= name.startswith("Add")
        divided |= name.startswith(("Div", "Reciprocal", "Pow"))
        node = next((parent for parent, _ in node.next_functions if parent is not None), None)
    return False


def reentrant(scores: Tensor) -> bool:
    """Whether the scores come through re-entrant checkpointing (`torch.utils.checkpoint(use_reentrant=True)`)."""
    left: list[Any] = [scores.grad_fn]
    met: set[Any] = {None}
    while left:
        node = left.pop()
        if node not in met:
            if node.name().startswith("CheckpointFunction"):
                return True
            met.add(node)
            left += [before for before, _ in node.next_functions]
    return False


def _ending_by_numbers(scores: Tensor) -> str | None:
    if scores.shape[1] < 2 or not torch.isfinite(scores).all():
        return None
    one = torch.ones((), dtype=scores.dtype, device=scores.device)
    if bool((scores >= 0).all()) and torch.allclose(scores.sum(1), one, atol=1e-3):
        return "softmax"
    if bool((scores <= 0).all()) and torch.allclose(scores.exp().sum(1), one, atol=1e-3):
        return "log_softmax"
    return None


def size_of_maps(output: Any, pick: Pick | None, batch: int, classes: int | None) -> tuple[int, int] | None:
    """(h, w) of the maps of classes whose means are the scores, as of a segmentation network; None where they are no means."""
    found = pick(output) if pick else _only_scores(output, batch, classes)
    h, w = found.shape[2:] if isinstance(found, Tensor) and found.ndim == 4 else (1, 1)
    return None if h * w == 1 else (h, w)


def rivals(output: Any, batch: int) -> list[Tensor]:
    """The tensors in a tuple, a list or a mapping that may each be the scores; none where a known key names them."""
    named: Any = output if isinstance(output, Mapping) else getattr(output, "_asdict", dict)()
    if isinstance(output, Tensor) or any(isinstance(named.get(key), Tensor) for key in SCORE_KEYS):
        return []
    values = list(output.values()) if isinstance(output, Mapping) else output
    if not isinstance(values, tuple | list):
        return []
    return [value for value in values if isinstance(value, Tensor) and _is_rows(value, batch)]


def _last(rows: list[Tensor]) -> Tensor | None:
    """The one of several tensors that is computed from all the others, as scores are from an embedding."""
    nodes = [row.grad_fn for row in rows]
    for row in rows if all(nodes) else []:
        seen, waiting = set(), [row.grad_fn]
        while waiting:
            node = waiting.pop()
            if node is not None and node not in seen:
                seen.add(node)
                waiting += [parent for parent, _ in node.next_functions]
        if all(node in seen for node in nodes):
            return row
    return None


def _is_rows(tensor: Tensor, batch: int) -> bool:
    return tensor.ndim >= 2 and tensor.shape[0] == batch and tensor.numel() == batch * tensor.shape[1] > 0


def _only_scores(output: Any, batch: int, classes: int | None) -> Tensor:
    if isinstance(output, Tensor):
        return output
    named: Any = output if isinstance(output, Mapping) else getattr(output, "_asdict", dict)()
    for key in SCORE_KEYS:
        if isinstance(named.get(key), Tensor):
            found: Tensor = named[key]
            return found
    rows = rivals(output, batch)
    widths = [row.shape[1] for row in rows]
    if rows and len(set(widths)) == 1 and (len(rows) == 1 or not isinstance(output, Mapping)):
        return rows[0]
    if widths.count(classes or 0) == 1:
        return rows[widths.index(classes or 0)]
    if classes is None and (last := _last(rows)) is not None:
        return last
    values = list(output.values()) if isinstance(output, Mapping) else output
    tensors = [value for value in values if isinstance(value, Tensor)] if isinstance(values, tuple | list) else []
    if len(tensors) == 1:
        return tensors[0]
    if batch == 1 and not rows:  # of a network that squeezes its batch of one away
        flat = [tensor for tensor in tensors if tensor.shape == (classes,)]
        if len(flat) == 1:
            return flat[0]
    raise OutputError(_needed(output))


def _as_rows(scores: Tensor, output: Any, batch: int) -> Tensor:
    if scores.is_quantized:
        scores = scores.dequantize()
    while scores.ndim > 2 and scores.shape[-1] == 1:
        scores = scores.squeeze(-1)
    if scores.ndim == 1 and scores.shape[0] == batch:
        scores = scores.unsqueeze(1)
    elif scores.ndim < 2 and batch == 1:  # `.squeeze()` takes a batch of one away too
        scores = scores.reshape(1, -1)
    if scores.ndim == 4 and scores.shape[0] == batch and scores.is_floating_point():  # maps of classes, as of segmentation
        scores = scores.mean((2, 3))
    if scores.ndim != 2 or scores.shape[0] != batch or scores.shape[1] == 0 or not scores.is_floating_point():
        raise OutputError(_needed(output))
    return scores if scores.dtype == torch.float64 else scores.float()


def _needed(output: Any) -> str:
    return (
        f"the network returned {kinds(output)}; one (b, classes) tensor is needed: "
        "pass Network(..., output=lambda o: ...) that picks it, or class names that fit one. See docs/errors/OutputError.md"
    )
