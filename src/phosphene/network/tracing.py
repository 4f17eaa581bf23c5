"""Follows receptive fields through the ATen operations of one real forward pass.

What ran is what counts: functional, reused and in-place layers, 'same' padding computed on the fly, branches. An operation
without a rule here (attention, resampling, a transposed convolution) makes what follows unknown, never wrong.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from .receptive import Axis, Field, Pair, ReceptiveField


class Call:
    """One operation as the rules see it: its arguments, and the shapes and fields its tensors had before it ran."""

    def __init__(self, tracer: Tracer, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        self.args, self.kwargs, self.pixels = args, kwargs, tracer.pixels
        self.tensors = {id(t): t for t in tensors_in(args)}
        self.shapes = {key: tuple(t.shape) for key, t in self.tensors.items()}
        self.fields = {key: tracer.field(t) for key, t in self.tensors.items() if tracer.follows(t)}

    def arg(self, place: int, default: Any = None) -> Any:
        return self.args[place] if len(self.args) > place else default

    @property
    def field(self) -> Field | None:
        """The field of the first argument."""
        return self.fields.get(id(self.args[0]))

    @property
    def shape(self) -> tuple[int, ...]:
        return self.shapes[id(self.args[0])]


class Tracer(TorchDispatchMode):
    """While active, knows the field of every tensor that comes from `inputs` (b, c, h, w), or (b, h, w, c)."""

    def __init__(self, inputs: Tensor, channels_last: bool = False) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # not annotated in torch
        h, w = inputs.shape[1:3] if channels_last else inputs.shape[2:4]
        self.pixels: Pair = (int(h), int(w))
        # The tensors are kept, so that an id stays its own.
        self._followed: dict[int, tuple[Tensor, Field | None]] = {}
        self._follow(inputs, None if channels_last else Field(Axis(0, 1, 1, (0, int(h))), Axis(0, 1, 1, (0, int(w)))))

    def of(self, tensor: Tensor) -> ReceptiveField | None:
        """The field of a tensor's units; None if the arithmetic did not reach it."""
        field = self.field(tensor)
        return field.public(self.pixels) if field else None

    def follows(self, tensor: Tensor) -> bool:
        return id(tensor) in self._followed

    def field(self, tensor: Tensor) -> Field | None:
        return self._followed[id(tensor)][1] if self.follows(tensor) else None

    def _written_through(self, view: Tensor, base: Tensor) -> Field | None:
        """The field of a tensor that was written into through a view; None unless that was of some channels at all places."""
        new, old = self.field(view), self.field(base)
        same = view.ndim == base.ndim == 4 and view.shape[2:] == base.shape[2:] and view.stride()[2:] == base.stride()[2:]
        return old.joined(new) if new and old and same else None

    def _follow(self, tensor: Tensor, field: Field | None) -> None:
        self._followed[id(tensor)] = (tensor, field)

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        call = Call(self, args, kwargs or {})
        out = func(*args, **(kwargs or {}))
        if call.fields:
            rule = _RULES.get(func.overloadpacket.__name__.rstrip("_"))
            outs = [t for t in (out if isinstance(out, tuple | list) else (out,)) if isinstance(t, Tensor)]
            field = rule(call, outs[0]) if rule and outs else None
            for tensor in outs:
                self._follow(tensor, field)
                if func.overloadpacket.__name__.endswith("_") and tensor._base is not None:
                    self._follow(tensor._base, self._written_through(tensor, tensor._base))
        return out


_Rule = Callable[[Call, Tensor], Field | None]


def _pointwise(call: Call, out: Tensor) -> Field | None:
    """Each unit reads the units at its place; a gate (b, c, 1, 1) is the same for all places."""
    joined: Field | None = None
    for key, field in call.fields.items():
        if field is None:
            return None
        shape = call.shapes[key]
        if len(call.fields) == 1 and shape == tuple(out.shape):
            return field
        if len(shape) == 4 and out.ndim == 4:
            field = field.broadcast((shape[2], shape[3]), (out.shape[2], out.shape[3]))
        joined = field if joined is None else joined.joined(field)
        if joined is None:
            return None
    return joined


def _convolution(call: Call, out: Tensor) -> Field | None:
    if call.field is None or out.ndim != 4 or len(call.fields) > 1:  # weights that are made of the picture
        return None
    if call.arg(6, False):  # transposed
        return None
    kernel, stride, padding, dilation = (_pair(call.args[i]) for i in (1, 3, 4, 5))
    return call.field.windowed(kernel, stride, padding, dilation, _units(out))


def _max_pool(call: Call, out: Tensor) -> Field | None:
    kernel = _pair(call.args[1])
    if call.field is None or out.ndim != 4:
        return None
    return call.field.windowed(kernel, _pair(call.arg(2)) or kernel, _pair(call.arg(3, 0)), _pair(call.arg(4, 1)), _units(out))


def _avg_pool(call: Call, out: Tensor) -> Field | None:
    kernel = _pair(call.args[1])
    if call.field is None or out.ndim != 4:
        return None
    return call.field.windowed(kernel, _pair(call.arg(2)) or kernel, _pair(call.arg(3, 0)), (1, 1), _units(out))


def _adaptive_pool(call: Call, out: Tensor) -> Field | None:
    if call.field is None or out.ndim != 4:
        return None
    (h, w), (rows, columns) = call.shape[2:], out.shape[2:]
    if h % rows or w % columns:
        return None  # uneven bins: size and stride differ from unit to unit
    bins = (h // rows, w // columns)
    return call.field.windowed(bins, bins, (0, 0), (1, 1), _units(out))


def _pad(call: Call, out: Tensor) -> Field | None:
    sides = [*call.args[1], 0, 0, 0, 0]  # left, right, top, bottom, …
    if call.field is None or any(sides[4:]):
        return None
    return call.field.windowed((1, 1), (1, 1), (sides[2], sides[0]), (1, 1), _units(out))


def _slice(call: Call, out: Tensor) -> Field | None:
    """Some channels, or rows or columns from a first one on, each so many."""
    if call.field is None or len(call.shape) != 4:
        return None
    dim = call.arg(1, 0) % 4
    if dim < 2:
        return call.field
    first, step = call.arg(2) or 0, call.arg(4, 1)
    first = max(first + call.shape[dim], 0) if first < 0 else first
    starts, steps = ((first, 0), (step, 1)) if dim == 2 else ((0, first), (1, step))
    return call.field.windowed((1, 1), steps, (-starts[0], -starts[1]), (1, 1), _units(out)) if out.numel() else None


def _copy(call: Call, out: Tensor) -> Field | None:
    """Every place is overwritten with what is at that place of another tensor."""
    source = call.args[1]
    return call.fields.get(id(source)) if call.shapes[id(source)][-2:] == tuple(out.shape[-2:]) else None


def _mean(call: Call, out: Tensor) -> Field | None:
    if call.field is None or len(call.shape) != 4:
        return None
    dims = {d % 4 for d in call.arg(1) or range(4)}
    if dims >= {2, 3}:
        return call.field.pooled((call.shape[2], call.shape[3]))
    return call.field if dims == {1} and out.ndim == 4 else None


def _cat(call: Call, out: Tensor) -> Field | None:
    dim = call.arg(1, 0) % out.ndim
    return _pointwise(call, out) if dim == 1 and len(call.fields) == len(call.tensors) else None


def _split(call: Call, out: Tensor) -> Field | None:
    return call.field if out.shape[2:] == call.shape[2:] else None


def _over_places(call: Call, out: Tensor) -> Field | None:
    """Group, instance and layer norm over places: every unit reads every place."""
    if call.field is None or out.ndim != 4:
        return None
    whole = call.field.pooled((out.shape[2], out.shape[3]))
    return Field(whole.y.clipped(), whole.x.clipped())


def _same(call: Call, out: Tensor) -> Field | None:
    return call.field


def _batch_norm(call: Call, out: Tensor) -> Field | None:
    """With the statistics of training a number at each place; with those of the batch (or instance) of all places."""
    return _over_places(call, out) if call.arg(5, False) else call.field


def _reshape(call: Call, out: Tensor) -> Field | None:
    field, old, new = call.field, call.shape, tuple(out.shape)
    if field is None or old == new:
        return field
    if len(old) == 4 and len(new) == 2:
        whole = field.pooled((old[2], old[3]))
        return Field(whole.y, whole.x, mixed=old[2:] != (1, 1))
    if len(old) >= 4 and len(new) >= 4 and old[0] == new[0] and old[-2:] == new[-2:]:
        return field  # channels regrouped (a channel shuffle)
    return field if len(old) == 2 and new[2:] == (1, 1) and not field.mixed else None


def _transpose(call: Call, out: Tensor) -> Field | None:
    dims = {d % out.ndim for d in call.args[1:3]}
    return call.field if max(dims) < out.ndim - 2 else None


def _linear(call: Call, out: Tensor) -> Field | None:
    if len(call.fields) != 1 or out.ndim != 2:
        return None
    (field,) = call.fields.values()
    return Field(field.y, field.x) if field else None


_PLACEWISE = """
relu hardtanh clamp clamp_min clamp_max threshold leaky_relu elu gelu silu mish hardswish hardsigmoid sigmoid tanh softplus
_prelu_kernel prelu celu selu add sub rsub mul div neg pow sqrt rsqrt exp abs sign maximum minimum clone detach alias _to_copy
""".split()
_RULES: dict[str, _Rule] = {
    **dict.fromkeys(_PLACEWISE, _pointwise),
    **dict.fromkeys(("batch_norm", "native_batch_norm", "cudnn_batch_norm"), _batch_norm),
    "_native_batch_norm_legit_no_training": _same,
    **dict.fromkeys(("max_pool2d", "max_pool2d_with_indices"), _max_pool),
    **dict.fromkeys(("adaptive_avg_pool2d", "_adaptive_avg_pool2d", "adaptive_max_pool2d"), _adaptive_pool),
    **dict.fromkeys(("constant_pad_nd", "reflection_pad2d", "replication_pad2d"), _pad),
    **dict.fromkeys(("split", "chunk", "split_with_sizes"), _split),
    **dict.fromkeys(("native_group_norm", "native_layer_norm"), _over_places),
    **dict.fromkeys(("view", "_unsafe_view", "reshape", "flatten", "squeeze", "_reshape_alias"), _reshape),
    **dict.fromkeys(("addmm", "mm", "linear"), _linear),
    "convolution": _convolution,
    "transpose": _transpose,
    "slice": _slice,
    "copy": _copy,
    "avg_pool2d": _avg_pool,
    "mean": _mean,
    "cat": _cat,
}


def _pair(value: Any) -> Pair:
    """What ATen gives for a pair: an int, a list of one or two; a weight stands for its kernel."""
    if isinstance(value, Tensor):
        return int(value.shape[2]), int(value.shape[3])
    sides = [value, value] if isinstance(value, int) else list(value or ())
    return (int(sides[0]), int(sides[-1])) if sides else ()  # type: ignore[return-value]  # empty: "as the kernel"


def _units(out: Tensor) -> Pair:
    return int(out.shape[2]), int(out.shape[3])


def tensors_in(values: Iterable[Any]) -> list[Tensor]:
    """The tensors among arguments or results, also one list deep (`cat`)."""
    found: list[Tensor] = []
    for value in values:
        if isinstance(value, Tensor):
            found.append(value)
        elif isinstance(value, list | tuple):
            found.extend(t for t in value if isinstance(t, Tensor))
    return found
