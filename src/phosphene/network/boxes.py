"""Follows, through the ATen operations of one forward pass, the box of pixels on which every single number depends.

Beside the storage of every tensor that comes from the picture lies one of the same places, with four numbers each: how far its
box reaches up, down, left and right. Views then need no rule, whatever they permute, cut or shift; what moves numbers is run on
the reaches themselves; what mixes numbers takes the largest reach. Slower than `tracing` but not tied to a layout. An operation
without a rule makes what follows unknown, never wrong.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.multiprocessing.reductions import StorageWeakRef
from torch.nn import functional as F
from torch.utils._python_dispatch import TorchDispatchMode, _disable_current_modes

from .grid import Grid
from .receptive import ReceptiveField, of_windows
from .tracing import tensors_in

# A reach is counted from the opposite border, so that it is at least 1: 0 is "depends on no pixel".
_UNKNOWN = math.inf
_CLEAN_EVERY = 64  # operations between two looks for storages that are gone


class Call:
    """One operation: its arguments by name, and the reaches (4, …) of those that come from the picture."""

    def __init__(
        self, func: Any, args: Sequence[Any], kwargs: dict[str, Any], reaches: Callable[[Tensor], Tensor | None]
    ) -> None:
        self.func = func
        names = [argument.name for argument in func._schema.arguments]
        self.args: dict[str, Any] = {**dict(zip(names, args, strict=False)), **kwargs}
        self.reaches = reaches

    def reach(self, name: str) -> Tensor | None:
        value = self.args.get(name)
        return self.reaches(value) if isinstance(value, Tensor) else None

    @property
    def first(self) -> Tensor:
        """The reaches of the first argument; of nothing, where it is no part of the picture."""
        value = next(iter(self.args.values()))
        found = self.reaches(value)
        return value.new_zeros((4, *value.shape), dtype=torch.float32) if found is None else found

    def others(self, *names: str) -> bool:
        """Whether another argument than these comes from the picture."""
        rest = [value for name, value in self.args.items() if name not in names]
        return any(self.reaches(t) is not None for t in tensors_in(rest))


class BoxTracer(TorchDispatchMode):
    """While active, knows the box of every number that comes from `inputs` (b, c, h, w), or (b, h, w, c)."""

    def __init__(self, inputs: Tensor, channels_last: bool = False) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # not annotated in torch
        self.pixels = (
            (int(inputs.shape[1]), int(inputs.shape[2])) if channels_last else (int(inputs.shape[2]), int(inputs.shape[3]))
        )
        self._known: dict[int, tuple[StorageWeakRef, int, Tensor]] = {}
        self._done = 0
        self._written: dict[int, int] = {}  # storage: operations done when it was last written
        self._fields: dict[Any, ReceptiveField | None] = {}
        h, w = self.pixels
        y, x = torch.arange(h, dtype=torch.float32), torch.arange(w, dtype=torch.float32)
        grid = torch.stack(
            [(h - y)[:, None].expand(h, w), (y + 1)[:, None].expand(h, w), (w - x).expand(h, w), (x + 1).expand(h, w)]
        )
        grid = grid.to(inputs.device)
        self._write(inputs, grid[:, None, :, :, None] if channels_last else grid[:, None, None])

    def reaches(self, tensor: Tensor) -> Tensor | None:
        """(4, …) up, down, left, right of each number; None if it does not come from the picture."""
        storage = tensor.untyped_storage()
        found = self._known.get(storage._cdata)
        if found is None or found[0].expired():
            return None
        _, itemsize, flat = found
        if itemsize != tensor.element_size():  # the same bytes as numbers of another kind
            return flat.new_full((4, *tensor.shape), _UNKNOWN)
        return flat.as_strided((4, *tensor.shape), (flat.shape[1], *tensor.stride()), tensor.storage_offset())

    def of(self, tensor: Tensor, grid: Grid) -> ReceptiveField | None:
        """The field of a layer's units; None where it is unknown, or the layer sees nothing of the picture."""
        reaches, storage = self.reaches(tensor), tensor.untyped_storage()
        if reaches is None:
            return None
        # A block gives what its last part gave: the same numbers, not written into since.
        key = (storage._cdata, self._written.get(storage._cdata), tensor.storage_offset(), tensor.shape, tensor.stride(), grid)
        if key not in self._fields:
            self._fields[key] = self._field(reaches, grid)
        return self._fields[key]

    def _field(self, reaches: Tensor, grid: Grid) -> ReceptiveField | None:
        with _disable_current_modes():
            maps = torch.stack([grid.maps(one).flatten(0, 1).amax(0) for one in reaches])  # (4, h, w)
            if not bool(torch.isfinite(maps).all()) or not bool(maps.any()):
                return None
            down, across = maps[:2].amax(2).long().tolist(), maps[2:].amax(1).long().tolist()
            alike = bool(
                (maps[:2] == maps[:2].amax(2, keepdim=True)).all() and (maps[2:] == maps[2:].amax(1, keepdim=True)).all()
            )
        rows, columns = (
            [(n - before, after) if after else (0, 0) for before, after in zip(*pairs, strict=True)]
            for n, pairs in zip(self.pixels, (down, across), strict=True)
        )
        return of_windows(rows, columns, self.pixels, alike)

    def _write(self, tensor: Tensor, reaches: Tensor) -> None:
        storage = tensor.untyped_storage()
        found = self._known.get(storage._cdata)
        self._written[storage._cdata] = self._done
        if found is None or found[0].expired():
            size = storage.nbytes() // tensor.element_size()
            whole = tensor.numel() == size and tensor.is_contiguous()
            flat = reaches.new_empty((4, size)) if whole else reaches.new_zeros((4, size))
            self._known[storage._cdata] = (StorageWeakRef(storage), tensor.element_size(), flat)
        held = self.reaches(tensor)
        assert held is not None
        held.copy_(reaches.expand_as(held))

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        given = tensors_in([*args, *kwargs.values()])
        followed = [t for t in given if self.reaches(t) is not None]
        call = Call(func, args, kwargs, self.reaches) if followed else None
        # What is written into is read by the rule afterwards, as it was before: its reaches are still the old ones.
        out = func(*args, **kwargs)
        if call is not None:
            self._follow(call, out)
        self._done += 1
        if self._done % _CLEAN_EVERY == 0:
            self._known = {key: held for key, held in self._known.items() if not held[0].expired()}
        return out

    def _follow(self, call: Call, out: Any) -> None:
        outs = [t for t in tensors_in([out]) if t.layout == torch.strided and t.numel()]
        changes = call.func._schema.is_mutable
        if not changes:
            outs = [t for t in outs if self.reaches(t) is None]  # the others are views
        name = call.func.overloadpacket.__name__
        if not outs or name in _NOTHING:
            return
        name = name.rstrip("_") if changes else name
        rule = _RULES.get(name) or (_pointwise if torch.Tag.pointwise in call.func.tags else None)
        try:
            found = rule(call, outs[0]) if rule else None
        except (
            RuntimeError,
            TypeError,
            IndexError,
            ValueError,
            KeyError,
        ):  # a form of the operation that its rule does not know
            found = None
        for tensor in outs:
            if found is None or (rule not in _FOR_EACH and tensor is not outs[0] and tensor.shape != outs[0].shape):
                self._write(tensor, torch.full((), _UNKNOWN, device=tensor.device).expand(4, *tensor.shape))
            else:
                self._write(tensor, _fitted(found, tensor))


_Rule = Callable[[Call, Tensor], Tensor | None]


def _fitted(reaches: Tensor, out: Tensor) -> Tensor:
    """Reaches of the shape of what came out; of other results of the operation (statistics) the largest."""
    shape = (4, *out.shape)
    try:
        return reaches.expand(shape)
    except RuntimeError:
        return reaches.flatten(1).amax(1).view(4, *[1] * out.ndim).expand(shape)


def _joined(parts: Sequence[Tensor], ndim: int) -> Tensor:
    """The largest reaches of several, broadcast as torch does."""
    joined: Tensor | None = None
    for part in parts:
        part = part.reshape(4, *[1] * (ndim - part.ndim + 1), *part.shape[1:])
        joined = part if joined is None else torch.maximum(joined, part)
    assert joined is not None
    return joined


def _pointwise(call: Call, out: Tensor) -> Tensor | None:
    parts = [reach for t in tensors_in([*call.args.values()]) if (reach := call.reaches(t)) is not None]
    return _joined(parts, out.ndim)


def _copied(call: Call, out: Tensor) -> Tensor | None:
    found = call.reach("src")
    return out.new_zeros((4, *[1] * out.ndim), dtype=torch.float32) if found is None else _joined([found], out.ndim)


def _zeroed(call: Call, out: Tensor) -> Tensor | None:
    found = call.reach("value")
    return out.new_zeros((4, *[1] * out.ndim), dtype=torch.float32) if found is None else _joined([found], out.ndim)


def _moved(call: Call, out: Tensor) -> Tensor | None:
    """What only moves numbers moves their reaches: it is run on them; numbers that are no part of the picture reach nowhere."""

    def of(value: Any, i: int) -> Any:
        if isinstance(value, list | tuple):
            return [of(one, i) for one in value]
        if not isinstance(value, Tensor):
            return value
        found = call.reaches(value)
        if found is not None:
            if not value.is_floating_point():
                raise ValueError("places that are computed from the picture")
            return found[i].clone()
        return torch.zeros_like(value, dtype=torch.float32) if value.is_floating_point() else value

    if call.args.get("accumulate"):
        return None
    kwargs = {a.name for a in call.func._schema.arguments if a.kwarg_only} - {"dtype"}
    found = []
    for i in range(4):
        args = {name: 0.0 if name == "value" and not isinstance(v, Tensor) else of(v, i) for name, v in call.args.items()}
        plain = [v for name, v in args.items() if name not in kwargs and name != "dtype"]
        found.append(call.func(*plain, **{name: v for name, v in args.items() if name in kwargs}))
    return torch.stack(found)


def _dims(call: Call, ndim: int) -> list[int]:
    dims = call.args.get("dim")
    if dims is None or dims == []:
        dims = range(ndim)
    return [d % ndim + 1 for d in ([dims] if isinstance(dims, int) else dims)]


def _reduced(call: Call, out: Tensor) -> Tensor | None:
    reaches = call.first
    found = reaches.amax(_dims(call, reaches.ndim - 1), keepdim=True) if reaches.ndim > 1 else reaches
    return found.reshape(4, *out.shape)


def _spread(call: Call, out: Tensor) -> Tensor | None:
    """Each number depends on all along some axes (softmax, a running sum), and what comes out has the same shape."""
    reaches = call.first
    return reaches.amax(_dims(call, reaches.ndim - 1), keepdim=True)


def _layer_norm(call: Call, out: Tensor) -> Tensor | None:
    reaches = call.first
    return reaches.amax([*range(-len(call.args["normalized_shape"]), 0)], keepdim=True)


def _group_norm(call: Call, out: Tensor) -> Tensor | None:
    reaches, groups = call.first, call.args["group"]
    grouped = reaches.reshape(4, out.shape[0], groups, -1).amax(3, keepdim=True)
    return grouped.expand(4, out.shape[0], groups, out[0].numel() // groups).reshape(4, *out.shape)


def _batch_norm(call: Call, out: Tensor) -> Tensor | None:
    reaches = call.first
    if call.others("input"):
        return None
    whole = call.args.get("training", call.args.get("use_input_stats", False)) or call.args.get("running_mean", 0) is None
    return reaches.amax([d + 1 for d in range(out.ndim) if d != 1], keepdim=True) if whole else reaches


def _several(value: Any, n: int, default: Sequence[int]) -> list[int]:
    sides = list(default) if value is None or value == [] else [value] if isinstance(value, int) else [int(v) for v in value]
    return sides * n if len(sides) == 1 else sides


_MAXIMA: tuple[Callable[..., Tensor], ...] = (F.max_pool1d, F.max_pool2d, F.max_pool3d)
_ADAPTIVE: tuple[Callable[..., Any], ...] = (F.adaptive_max_pool1d, F.adaptive_max_pool2d, F.adaptive_max_pool3d)


def _convolution(call: Call, out: Tensor) -> Tensor | None:
    a, n = call.args, out.ndim - 2
    groups, kernel, reaches = a["groups"], list(a["weight"].shape[2:]), call.first
    stride, padding, dilation = (_several(a[name], n, [0]) for name in ("stride", "padding", "dilation"))
    x = reaches.unflatten(2, (groups, -1)).amax(3).flatten(0, 1)
    if a["transposed"]:
        gaps = x.new_zeros((*x.shape[:2], *[(s - 1) * t + 1 for s, t in zip(x.shape[2:], stride, strict=True)]))
        gaps[(..., *[slice(None, None, t) for t in stride])] = x
        more = _several(a["output_padding"], n, [0])
        sides = [(d * (k - 1) - p, d * (k - 1) - p + m) for k, p, d, m in zip(kernel, padding, dilation, more, strict=True)]
        x, stride = F.pad(gaps, [side for pair in reversed(sides) for side in pair]), [1] * n
    else:
        x = F.pad(x, [p for p in reversed(padding) for _ in range(2)])
    x = _MAXIMA[n - 1](x, kernel, stride, 0, dilation).unflatten(0, (4, -1))
    x = x.repeat_interleave(out.shape[1] // groups, 2)
    made = [call.reach(name) for name in ("weight", "bias")]  # of weights that are computed from the picture
    return _joined([x, *(m.flatten(1).amax(1).view(4, *[1] * out.ndim) for m in made if m is not None)], out.ndim)


def _pool(call: Call, out: Tensor) -> Tensor | None:
    a = call.args
    n = int(call.func.overloadpacket.__name__.split("pool")[1][0])
    kernel = _several(a["kernel_size"], n, [0])
    x = call.first
    lead = x.shape[: x.ndim - n]
    x = _MAXIMA[n - 1](
        x.reshape(-1, 1, *x.shape[-n:]),
        kernel,
        _several(a.get("stride"), n, kernel),
        _several(a.get("padding"), n, [0]),
        _several(a.get("dilation"), n, [1]),
        ceil_mode=bool(a.get("ceil_mode", False)),
    )
    return x.clamp_min(0).reshape(*lead, *x.shape[-n:])


def _adaptive_pool(call: Call, out: Tensor) -> Tensor | None:
    n = int(call.func.overloadpacket.__name__.split("pool")[1][0])
    x = call.first
    found: Tensor = _ADAPTIVE[n - 1](x.reshape(-1, 1, *x.shape[-n:]), tuple(out.shape[-n:]))
    return found.reshape(4, *out.shape)


def _resampled(call: Call, out: Tensor) -> Tensor | None:
    """Linear and cubic resampling: along each axis what one number gives is found by resampling an axis of ones and zeros."""
    a, x = call.args, call.first
    for axis, scale in ((2, "scales_h"), (3, "scales_w")):
        before, after = x.shape[axis + 1], out.shape[axis]
        eye = torch.eye(before, device=out.device)[None, :, :, None]
        weights = call.func(eye, [after, 1], a["align_corners"], a.get(scale), None)[0, :, :, 0].T  # (after, before)
        taps = (weights != 0).sum(1).amax()
        read = weights.abs().topk(int(taps), 1)
        places = torch.where(read.values > 0, read.indices, read.indices[:, :1])
        x = x.index_select(axis + 1, places.flatten()).unflatten(axis + 1, places.shape).amax(axis + 2)
    return x


def _product(call: Call, out: Tensor) -> Tensor | None:
    """Matrix products, also batched, with what is added."""
    values = [v for v in call.args.values() if isinstance(v, Tensor)]
    added, (left, right) = values[:-2], values[-2:]
    parts = [call.reaches(t) for t in added]
    one, other = call.reaches(left), call.reaches(right)
    if one is not None:
        found = one.amax(-1)
        parts.append(found if right.ndim == 1 else found.unsqueeze(-1))
    if other is not None:
        found = other.amax(1 if other.ndim == 2 else -2)
        parts.append(found if right.ndim == 1 else found.unsqueeze(-2))
    return _joined([part for part in parts if part is not None], out.ndim)


def _linear(call: Call, out: Tensor) -> Tensor | None:
    return None if call.others("input") else call.first.amax(-1, keepdim=True)


def _attention(call: Call, out: Tensor) -> Tensor | None:
    parts = []
    if (query := call.reach("query")) is not None:
        parts.append(query.amax(-1, keepdim=True))
    if (key := call.reach("key")) is not None:
        parts.append(key.amax((-2, -1), keepdim=True))
    if (value := call.reach("value")) is not None:
        parts.append(value.amax(-2, keepdim=True))
    for name in ("attn_mask", "attn_bias"):
        if (mask := call.reach(name)) is not None:
            parts.append(mask.amax(-1, keepdim=True))
    found = _joined(parts, out.ndim)
    return found if found.shape[2] in (1, out.shape[1]) else None


def _gated(call: Call, out: Tensor) -> Tensor | None:
    one, other = call.first.chunk(2, call.args.get("dim", -1) % out.ndim + 1)
    return torch.maximum(one, other)


def _same(call: Call, out: Tensor) -> Tensor | None:
    return call.first


_NOTHING = frozenset(
    "zeros_like ones_like full_like empty_like rand_like randn_like new_zeros new_ones new_full new_empty "
    "new_empty_strided bernoulli as_strided_ squeeze_ unsqueeze_ transpose_ t_".split()
)
_POINTWISE = """
masked_fill hardswish _prelu_kernel prelu hardtanh hardsigmoid leaky_relu elu softplus threshold log_sigmoid_forward clamp
where add sub mul div rsub maximum minimum isnan fmod remainder silu mish bitwise_not _to_copy
""".split()
_MOVES = """
cat stack index index_select flip roll clone repeat gather pixel_shuffle pixel_unshuffle channel_shuffle im2col
reflection_pad1d reflection_pad2d reflection_pad3d replication_pad1d replication_pad2d replication_pad3d constant_pad_nd
upsample_nearest1d upsample_nearest2d upsample_nearest3d _upsample_nearest_exact1d _upsample_nearest_exact2d
_upsample_nearest_exact3d index_put index_copy slice_scatter select_scatter tril triu rot90 take reshape _reshape_copy
native_channel_shuffle split_with_sizes_copy index_fill
""".split()
_REDUCTIONS = (
    "sum mean amax amin var std var_mean std_mean logsumexp prod any all linalg_vector_norm norm max min argmax argmin".split()
)
_ATTENTIONS = """
_scaled_dot_product_flash_attention_for_cpu _scaled_dot_product_flash_attention _scaled_dot_product_efficient_attention
_scaled_dot_product_cudnn_attention _scaled_dot_product_fused_attention_overrideable
""".split()
_RULES: dict[str, _Rule] = {
    **dict.fromkeys(_POINTWISE, _pointwise),
    **dict.fromkeys(_MOVES, _moved),
    **dict.fromkeys(_REDUCTIONS, _reduced),
    **dict.fromkeys(("_softmax", "_log_softmax", "_safe_softmax", "cumsum", "cumprod", "logcumsumexp"), _spread),
    **dict.fromkeys(("native_batch_norm", "cudnn_batch_norm", "_native_batch_norm_legit"), _batch_norm),
    **dict.fromkeys(
        ("max_pool2d_with_indices", "max_pool3d_with_indices", "max_pool2d", "avg_pool1d", "avg_pool2d", "avg_pool3d"), _pool
    ),
    **dict.fromkeys(
        ("_adaptive_avg_pool2d", "_adaptive_avg_pool3d", "adaptive_avg_pool1d", "adaptive_max_pool2d", "adaptive_max_pool3d"),
        _adaptive_pool,
    ),
    **dict.fromkeys(
        ("upsample_bilinear2d", "upsample_bicubic2d", "_upsample_bilinear2d_aa", "_upsample_bicubic2d_aa"), _resampled
    ),
    **dict.fromkeys(("mm", "bmm", "addmm", "baddbmm", "mv", "addmv", "dot"), _product),
    **dict.fromkeys(_ATTENTIONS, _attention),
    **dict.fromkeys(("convolution", "_convolution"), _convolution),
    **dict.fromkeys(("zero", "fill"), _zeroed),
    "copy": _copied,
    "_native_batch_norm_legit_no_training": _same,
    "native_dropout": _same,
    "native_layer_norm": _layer_norm,
    "_fused_rms_norm": _layer_norm,
    "native_group_norm": _group_norm,
    "linear": _linear,
    "glu": _gated,
}
# Rules whose further results may have another shape: they are the statistics of what was normalised, or places of maxima.
_FOR_EACH = (_reduced, _layer_norm, _group_norm, _batch_norm, _same, _attention, _pool, _adaptive_pool)
