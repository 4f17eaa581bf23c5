"""Follows the end of a network: from maps through global average pooling and linear layers to scores.

What ran is what counts, as in `tracing`: a functional rectifier before the pooling, a 1×1 convolution as classifier, batch norm
after it, class maps that are pooled last. Where anything else comes between pooling and scores, there is no such head.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode


@dataclass(frozen=True, eq=False)
class Head:
    """scores = weight · (scale · Σ over places of maps) + bias + rest.

    given   the tensor that is pooled, (b, …); version: of its values, when it was read
    axes    for each axis of the pooled tensor the axis of `given` that it is
    weight  (classes, k), None: each map is a class's own;  bias (classes,) or None; in float64 on the CPU
    rest    (b, classes) or None: what other tokens of the same layer, as the class token, add for each picture
    """

    given: Tensor
    version: int
    axes: tuple[int, ...]
    pooled: frozenset[int]
    scale: float = 1.0
    weight: Tensor | None = None
    bias: Tensor | None = None
    rest: Tensor | None = None

    @property
    def channel(self) -> int:
        (left,) = set(range(1, self.given.ndim)) - self.pooled
        return left

    @property
    def complete(self) -> bool:
        """Whether all places are pooled: one axis of channels is left."""
        return len(self.pooled) == self.given.ndim - 2

    @property
    def whole(self) -> bool:
        return self.complete and self.given._version == self.version

    def then(self, weight: Tensor | None, bias: Tensor | None) -> Head:
        """After a further affine layer; weight (out, in), (out,) for one factor per number, or None."""
        w, b, rest = self.weight, self.bias, self.rest
        if weight is not None and weight.ndim < 2:
            k = self.given.shape[self.channel] if w is None else len(w)
            weight = torch.diag(weight.cpu().double().expand(k))
        if weight is not None:
            weight = weight.cpu().double()
            w, b = weight if w is None else weight @ w, None if b is None else weight @ b
            rest = None if rest is None else rest @ weight.mT
        if bias is not None:
            bias = bias.cpu().double()
            b = bias if b is None else b + bias
        return replace(self, weight=w, bias=b, rest=rest)


class HeadTracer(TorchDispatchMode):
    """While active, knows of every pooled tensor and what linear layers make of it."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # not annotated in torch
        self._followed: dict[int, tuple[Tensor, Head]] = {}  # the tensors are kept, so that an id stays its own

    def of(self, scores: Tensor) -> Head | None:
        """The head that made the scores; None if they came about in another way."""
        head = self.head(scores)
        return head if head is not None and head.whole else None

    def head(self, tensor: Any) -> Head | None:
        return self._followed[id(tensor)][1] if id(tensor) in self._followed else None

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        out = func(*args, **(kwargs or {}))
        first = out[0] if isinstance(out, tuple | list) and out else out
        if isinstance(first, Tensor):
            rule = _RULES.get(func.overloadpacket.__name__.rstrip("_"))
            head = rule(self, args, kwargs or {}, first) if rule else None
            if head is not None:
                self._followed[id(first)] = (first, head)
            else:
                self._followed.pop(id(first), None)  # written over
        return out


_Rule = Callable[[HeadTracer, tuple[Any, ...], dict[str, Any], Tensor], Head | None]


def _mean(tracer: HeadTracer, args: tuple[Any, ...], kwargs: dict[str, Any], out: Tensor) -> Head | None:
    return _pooled(tracer, args, out, average=True)


def _sum(tracer: HeadTracer, args: tuple[Any, ...], kwargs: dict[str, Any], out: Tensor) -> Head | None:
    return _pooled(tracer, args, out, average=False)


def _pooled(tracer: HeadTracer, args: tuple[Any, ...], out: Tensor, average: bool) -> Head | None:
    """Of all places, or of one axis of them after another."""
    given: Tensor = args[0]
    if given.ndim not in (3, 4) and tracer.head(given) is None:
        return None
    head = tracer.head(given) or Head(given, given._version, tuple(range(given.ndim)), frozenset())
    dims = {d % given.ndim for d in (args[1] if len(args) > 1 and args[1] else range(given.ndim))}
    axes = {head.axes[d] for d in dims}
    if head.weight is not None or 0 in axes or axes & head.pooled or len(head.pooled | axes) > head.given.ndim - 2:
        return None
    count = 1
    for d in dims:
        count *= given.shape[d]
    kept = head.axes if out.ndim == given.ndim else tuple(a for d, a in enumerate(head.axes) if d not in dims)
    return replace(head, axes=kept, pooled=head.pooled | axes, scale=head.scale / count if average else head.scale)


def _adaptive(tracer: HeadTracer, args: tuple[Any, ...], kwargs: dict[str, Any], out: Tensor) -> Head | None:
    """To one place."""
    given: Tensor = args[0]
    if given.ndim != 4 or tuple(out.shape[2:]) != (1, 1):
        return None
    return Head(given, given._version, (0, 1, 2, 3), frozenset({2, 3}), 1 / (given.shape[2] * given.shape[3]))


def _window(tracer: HeadTracer, args: tuple[Any, ...], kwargs: dict[str, Any], out: Tensor) -> Head | None:
    """A window that covers the map; in ceil mode a larger one is cut to the map before the mean is taken."""
    sides, padding, divisor = tuple(args[1]), args[3] if len(args) > 3 else (), args[6] if len(args) > 6 else None
    h, w = tuple(args[0].shape[2:]) if args[0].ndim == 4 else (0, 0)
    if args[0].ndim != 4 or sides[0] < h or sides[-1] < w or any(padding) or divisor:
        return None
    return _adaptive(tracer, args, kwargs, out)


def _same(tracer: HeadTracer, args: tuple[Any, ...], kwargs: dict[str, Any], out: Tensor) -> Head | None:
    """The same numbers, in the same order, in another shape; the axis of pictures stays the first."""
    head = tracer.head(args[0])
    if head is None or not head.complete or out.numel() != args[0].numel() or out.shape[:1] != args[0].shape[:1]:
        return None
    return head


def _linear(tracer: HeadTracer, args: tuple[Any, ...], kwargs: dict[str, Any], out: Tensor) -> Head | None:
    bias, given, weight = args[:3] if len(args) > 2 else (None, *args[:2])
    head = tracer.head(given)
    if head is None or not head.complete or given.ndim != 2 or kwargs:  # a factor other than 1
        return None
    return head.then(weight.detach().mT, None if bias is None else bias.detach())


def _convolution(tracer: HeadTracer, args: tuple[Any, ...], kwargs: dict[str, Any], out: Tensor) -> Head | None:
    """1×1, of one place."""
    head, weight = tracer.head(args[0]), args[1]
    if head is None or not head.complete or tuple(weight.shape[2:]) != (1, 1) or args[6] or args[8] != 1 or any(args[4]):
        return None
    return head.then(weight.detach().flatten(1), None if args[2] is None else args[2].detach())


def _batch_norm(tracer: HeadTracer, args: tuple[Any, ...], kwargs: dict[str, Any], out: Tensor) -> Head | None:
    """With the statistics of training."""
    head = tracer.head(args[0])
    without_flag = len(args) == 7  # the form that never trains
    if head is None or not head.complete or not (without_flag or args[5] is False):
        return None
    weight, bias, mean, variance = (None if t is None else t.detach().cpu().double() for t in args[1:5])
    factor = (variance + args[-1 if without_flag else 7]).rsqrt() * (1 if weight is None else weight)
    return head.then(factor, -factor * mean + (0 if bias is None else bias))


def _scaled(tracer: HeadTracer, args: tuple[Any, ...], kwargs: dict[str, Any], out: Tensor) -> Head | None:
    """Times or divided by one number, or one per channel."""
    head, factor = tracer.head(args[0]), _constant(tracer, args[1], out)
    if head is None or not head.complete or factor is None:
        return None
    return head.then(factor, None)


def _divided(tracer: HeadTracer, args: tuple[Any, ...], kwargs: dict[str, Any], out: Tensor) -> Head | None:
    factor = _constant(tracer, args[1], out)
    return None if factor is None or kwargs else _scaled(tracer, (args[0], 1 / factor), {}, out)


def _shifted(tracer: HeadTracer, args: tuple[Any, ...], kwargs: dict[str, Any], out: Tensor) -> Head | None:
    first, second = tracer.head(args[0]), tracer.head(args[1])
    if first is not None and second is not None:
        return _sum_of(first, second, float(kwargs.get("alpha", 1)))
    head, shift = first, _constant(tracer, args[1], out)
    if head is None or not head.complete or shift is None or kwargs:
        return None
    return head.then(None, shift.expand(out.shape[1]))


def _subtracted(tracer: HeadTracer, args: tuple[Any, ...], kwargs: dict[str, Any], out: Tensor) -> Head | None:
    first, second = tracer.head(args[0]), tracer.head(args[1])
    if first is not None and second is not None:
        return _sum_of(first, second, -float(kwargs.get("alpha", 1)))
    shift = _constant(tracer, args[1], out)
    return None if shift is None or kwargs else _shifted(tracer, (args[0], -shift), {}, out)


def _sum_of(first: Head, second: Head, factor: float) -> Head | None:
    """first + factor · second, two heads of the same maps: affine in them too."""
    same = first.given is second.given and first.version == second.version and first.pooled == second.pooled
    if not same or not first.complete:
        return None
    identity = torch.eye(first.given.shape[first.channel], dtype=torch.float64)
    left, right = (identity if head.weight is None else head.weight for head in (first, second))
    if left.shape != right.shape:
        return None  # broadcast
    biases = [b * f for b, f in ((first.bias, 1.0), (second.bias, factor)) if b is not None]
    bias = sum(biases[1:], biases[0]) if biases else None
    rests = [r * f for r, f in ((first.rest, 1.0), (second.rest, factor)) if r is not None]
    rest = sum(rests[1:], rests[0]) if rests else None
    return replace(first, weight=left + right * (factor * second.scale / first.scale), bias=bias, rest=rest)


def _joined(tracer: HeadTracer, args: tuple[Any, ...], kwargs: dict[str, Any], out: Tensor) -> Head | None:
    """Pooled tokens beside single ones of the same layer, such as the class token."""
    parts, axis = args[0], args[1] if len(args) > 1 else kwargs.get("dim", 0)
    heads = [(i, head) for i, part in enumerate(parts) if (head := tracer.head(part)) is not None]
    if out.ndim != 2 or axis % 2 != 1 or len(heads) != 1 or heads[0][1].given.ndim != 3 or not heads[0][1].complete:
        return None
    ((place, head),) = heads
    if any(not _other_token(part, head.given) for i, part in enumerate(parts) if i != place):
        return None
    widths = [part.shape[1] for part in parts]
    before, own = sum(widths[:place]), widths[place]
    spread = torch.zeros(out.shape[1], own, dtype=torch.float64)
    spread[before : before + own] = torch.eye(own, dtype=torch.float64)
    rest = out.detach().cpu().double().clone()
    rest[:, before : before + own] = 0
    joined = head.then(spread, None)
    return replace(joined, rest=rest if joined.rest is None else joined.rest + rest)


def _other_token(part: Tensor, pooled: Tensor) -> bool:
    """Whether `part` (b, k) is one token of the tensor of which `pooled` (b, n, k) is a slice, and none of the slice's."""
    row = pooled.stride(1)
    if part.ndim != 2 or part.untyped_storage().data_ptr() != pooled.untyped_storage().data_ptr() or not row:
        return False
    steps, apart = divmod(int(part.storage_offset()) - int(pooled.storage_offset()), row)
    return apart == 0 and part.stride() == (pooled.stride(0), pooled.stride(2)) and not 0 <= steps < pooled.shape[1]


def _constant(tracer: HeadTracer, value: Any, out: Tensor) -> Tensor | None:
    """A number, or one per channel: nothing that can depend on the picture, which has a row per picture."""
    number = value.detach() if isinstance(value, Tensor) else torch.as_tensor(value, dtype=torch.float64)
    if (
        tracer.head(value) is not None
        or out.ndim != 2
        or number.ndim > 1
        or (number.ndim == 1 and len(number) not in (1, out.shape[1]))
    ):
        return None
    return number.cpu().double()


_RULES: dict[str, _Rule] = {
    "mean": _mean,
    "sum": _sum,
    "avg_pool2d": _window,
    **dict.fromkeys(("adaptive_avg_pool2d", "_adaptive_avg_pool2d"), _adaptive),
    "convolution": _convolution,
    "mul": _scaled,
    "div": _divided,
    "add": _shifted,
    "sub": _subtracted,
    "cat": _joined,
    **dict.fromkeys(("addmm", "mm"), _linear),
    **dict.fromkeys(
        ("native_batch_norm", "batch_norm", "cudnn_batch_norm", "_native_batch_norm_legit_no_training"), _batch_norm
    ),
    **dict.fromkeys(
        "view _unsafe_view reshape _reshape_alias flatten squeeze unsqueeze select slice clone detach alias _to_copy "
        "as_strided".split(),  # as_strided of one place alone, when channels are last
        _same,
    ),
}
