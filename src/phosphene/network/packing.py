"""Convolutions whose weights lie as the CPU's library wants them: laid out once for a shape, and not in every call.

The gradient towards the input is itself a convolution, of the kernel turned round, and is computed as one.
"""

from __future__ import annotations

import copy
import math
from functools import cache, cached_property
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

WASTE = 1.5  # of a strided kernel's gradient as one convolution: by how many times there may be more to multiply
Shape = tuple[int, ...]
Bounds = tuple[float, float]
RECTIFIED: Bounds = (0.0, math.inf)
_INNER = "packed_convolution"  # of a subclass of Conv2d
_ARGUMENTS = ("input", "weight", "bias", "stride", "padding", "dilation", "groups")


def pack(module: nn.Module) -> None:
    """In place, every Conv2d; gradients then go to the input and no longer to weights.

    Of subclasses, which may pad the input or make other weights first, the convolution with their own weights is packed.
    """
    for part in list(module.modules()):
        if not isinstance(part, nn.Conv2d) or part.padding_mode != "zeros" or isinstance(part.padding, str):
            continue
        if type(part) is nn.Conv2d:
            part.__class__ = Packed
        elif not isinstance(part, Packed | _Outer) and not hasattr(part, "parametrizations"):
            _pack_inside(part)


def unpacked(module: nn.Module) -> nn.Module:
    """In place, the other way."""
    for part in list(module.modules()):
        if isinstance(part, _Outer):
            del part._modules[_INNER]
            part.__class__ = type(part).__bases__[1]
        elif type(part) is Packed:
            part._forwards = part._backwards = None
            part.__class__ = nn.Conv2d  # type: ignore[assignment]  # the class that it came from
    return module


def packable(device: torch.device) -> bool:
    operators = hasattr(torch.ops.mkldnn, "_convolution_pointwise") and hasattr(torch._C._nn, "mkldnn_reorder_conv2d_weight")
    return device.type == "cpu" and torch.backends.mkldnn.is_available() and operators


@cache
def lays_out_half() -> bool:
    """Whether the CPU's library lays out weights in bfloat16 on this processor: some only compute in float32."""
    supported = getattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", None)
    return bool(supported and supported())


class Packed(nn.Conv2d):
    """A Conv2d that keeps its weights laid out for the shape it was last given."""

    _forwards: tuple[object, Tensor] | None = None
    _backwards: tuple[object, Tensor] | None = None

    def __deepcopy__(self, memo: dict[int, Any]) -> Packed:
        """Without what was laid out, which cannot be copied."""
        self._forwards = self._backwards = None
        other = self.__class__.__new__(self.__class__)
        memo[id(self)] = other
        other.__dict__.update(copy.deepcopy(self.__dict__, memo))
        return other

    def forward(self, x: Tensor) -> Tensor:
        if not self.takes(x):
            return super().forward(x)
        if torch.is_grad_enabled() and x.requires_grad:
            y: Tensor = _Convolution.apply(x, self)
            return y
        return self.convolved(x)

    def takes(self, x: Tensor) -> bool:
        known = x.dtype == torch.float32 or (x.dtype == torch.bfloat16 and lays_out_half())
        return x.ndim == 4 and x.numel() > 0 and x.shape[2:] != (1, 1) and known

    def convolved(self, x: Tensor, added: Tensor | None = None, bounds: Bounds | None = None) -> Tensor:
        """Of x, plus what is added, cut off at the bounds; of a sum with something RECTIFIED is the only cut there is."""
        key, kept = (x.shape, x.dtype), self._forwards  # kept: another thread may put its own in between
        if kept is None or kept[0] != key:
            laid = _laid_out(self.weight, self.padding, self.stride, self.dilation, self.groups, x.shape)
            self._forwards = kept = key, laid
        settings = self.bias, self.padding, self.stride, self.dilation, self.groups
        return _run(x, kept[1], *settings, added=added, bounds=bounds)

    @cached_property
    def phases(self) -> int:
        """1: the gradient is a convolution with the turned kernel; n: one of n × n phases of the stride; 0: left to torch."""
        stride, taps = self.stride[0], self.kernel_size
        if self.stride == (1, 1) or self._points:
            return int(min(self._room) >= 0)
        if self.stride != (stride, stride) or self.dilation != (1, 1) or self.groups > 1:
            return 0
        wide, high = (-(-k // stride) * stride for k in taps)
        return stride if wide * high <= WASTE * taps[0] * taps[1] else 0

    @cached_property
    def _points(self) -> bool:
        """Of one tap: its gradient is put where the stride took the points from."""
        return self.kernel_size == (1, 1) and self.padding == (0, 0)

    @property
    def _spreads(self) -> bool:
        """Of one channel each, strided, in bfloat16: torch's own gradient of these takes ten to twenty times as long."""
        alone = self.groups == self.in_channels > 1 and min(self._room) >= 0 and not self._points
        return alone and self.stride != (1, 1) and self.weight.dtype == torch.bfloat16

    @cached_property
    def _room(self) -> list[int]:
        """How far the turned kernel reaches beyond what the forward pass gave, of a stride of 1."""
        return [self.dilation[i] * (self.kernel_size[i] - 1) - int(self.padding[i]) for i in (0, 1)]

    @cached_property
    def adds(self) -> bool:
        """Whether another gradient can be added to the one towards the input while that is computed."""
        return self.phases == 1 and self.stride == (1, 1)

    @cached_property
    def skips(self) -> bool:
        """Whether most places of the input have no part in what it gives."""
        return self._points and self.stride != (1, 1)

    def gradient(self, above: Tensor, x: Tensor | None, shape: Shape, added: Tensor | None = None) -> Tensor:
        """Of a sum, towards the input x of that shape, of its gradient above; x is needed where there are no `phases`."""
        n = self.phases
        if self._spreads:
            above, n = self._apart(above, shape), 1
        elif not n:
            settings = (self.stride, self.padding, self.dilation, False, (0, 0), self.groups)
            own: Tensor = torch.ops.aten.convolution_backward(above, x, self.weight, None, *settings, (True, False, False))[0]
            return own
        below = self._turned(above, n, added)
        if n > 1:
            return _cut(F.pixel_shuffle(below, n), self.padding, shape)
        return _spread(below, self.stride, shape) if self.skips else below

    def add_gradient(self, above: Tensor, to: Tensor) -> None:
        """In place, to another gradient towards the input, of what `skips`."""
        to[:, :, :: self.stride[0], :: self.stride[1]] += self._turned(above, 1)

    def _turned(self, above: Tensor, n: int, added: Tensor | None = None) -> Tensor:
        """The convolution with the turned kernel, of n × n phases."""
        padding = self._room if n == 1 else [-(-k // n) - 1 for k in self.kernel_size]
        key, kept = (above.shape, above.dtype), self._backwards
        if kept is None or kept[0] != key:
            turned = _turned(self.weight, n, self.groups)
            laid = _laid_out(turned, padding, (1, 1), self.dilation, self.groups, above.shape)
            self._backwards = kept = key, laid
        return _run(above, kept[1], None, padding, (1, 1), self.dilation, self.groups, added=added)

    def _apart(self, above: Tensor, shape: Shape) -> Tensor:
        """The gradient where a convolution of that input without a stride would have it."""
        h, w = (shape[2 + i] + int(self.padding[i]) - self._room[i] for i in (0, 1))
        return _spread(above, self.stride, (*above.shape[:2], h, w))


class _Outer(nn.Module):
    """Mixed into a subclass of Conv2d: what its forward asks of `conv2d` with its own weights, a Packed gives."""

    def forward(self, x: Tensor) -> Tensor:
        with _Intercepted(self._modules[_INNER]):
            y: Tensor = super().forward(x)
            return y


class _Intercepted(TorchFunctionMode):
    """Inside, calls of `conv2d` with the weights and settings of a Packed are its own."""

    def __init__(self, inner: Any) -> None:
        super().__init__()
        self._inner = inner

    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        given = kwargs or {}
        if function in (F.conv2d, torch.conv2d) and self._is_own(**(dict(zip(_ARGUMENTS, args, strict=False)) | given)):
            return self._inner(args[0] if args else given["input"])
        return function(*args, **given)

    def _is_own(
        self,
        weight: Any,
        bias: Any = None,
        stride: Any = 1,
        padding: Any = 0,
        dilation: Any = 1,
        groups: int = 1,
        **_input: Any,
    ) -> bool:
        own = self._inner
        settings = [_pair(given) for given in (stride, padding, dilation)]
        same = settings == [own.stride, own.padding, own.dilation] and groups == own.groups
        return same and weight is own.weight and bias is own.bias


def _pack_inside(part: nn.Conv2d) -> None:
    settings: dict[str, Any] = {name: getattr(part, name) for name in ("stride", "padding", "dilation", "groups")}
    inner = Packed(part.in_channels, part.out_channels, part.kernel_size, bias=False, device="meta", **settings)  # type: ignore[arg-type]
    inner.weight, inner.bias = part.weight, part.bias
    part.__class__ = type(f"Packed{type(part).__name__}", (_Outer, type(part)), {})
    part._modules[_INNER] = inner


def _pair(setting: Any) -> Any:
    return (setting, setting) if isinstance(setting, int) else tuple(setting) if isinstance(setting, list) else setting


class _Convolution(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, part: Packed) -> Tensor:
        ctx.part, ctx.shape = part, x.shape
        ctx.save_for_backward(None if part.phases else x)
        return part.convolved(x)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, above: Tensor) -> tuple[Tensor, None]:
        return ctx.part.gradient(above, *ctx.saved_tensors, ctx.shape), None


def is_convolution(node: Any) -> bool:
    """Whether that node of an autograd graph is of a packed convolution, which nothing else hides in."""
    return isinstance(node, _Convolution._backward_cls)  # private; tests of the rules pin it


def _laid_out(weight: Tensor, padding: Any, stride: Any, dilation: Any, groups: int, shape: Shape) -> Tensor:
    reorder: Any = torch._C._nn.mkldnn_reorder_conv2d_weight
    with torch.no_grad():
        laid: Tensor = reorder(weight.detach().to_mkldnn(), padding, stride, dilation, groups, shape)
        return laid


def _run(
    x: Tensor,
    laid: Tensor,
    *settings: Any,
    added: Tensor | None = None,
    bounds: Bounds | None = None,
) -> Tensor:
    """settings: bias, padding, stride, dilation, groups."""
    operator: Any = torch.ops.mkldnn._convolution_pointwise
    y: Tensor
    if added is not None:
        added = added.contiguous(memory_format=torch.channels_last)
        y = operator.binary(x, added, laid, *settings, "add", None, None if bounds is None else "relu", [], None)
    elif bounds is None or bounds == RECTIFIED:
        y = operator.default(x, laid, *settings, "none" if bounds is None else "relu", [], "")
    else:
        y = operator.default(x, laid, *settings, "hardtanh", bounds, "")
    return y


def _turned(weight: Tensor, n: int, groups: int) -> Tensor:
    """(out, in / groups, h, w) -> (in · n², out / groups, h / n, w / n), turned round.

    What lies n apart in the kernel goes to one of n² channels, which `pixel_shuffle` puts side by side.
    """
    out, each, h, w = weight.shape
    by_group = weight.detach().view(groups, out // groups, each, h, w).transpose(1, 2).flatten(0, 1)
    filled = F.pad(by_group, (0, -w % n, 0, -h % n))
    split = filled.unflatten(3, (-1, n)).unflatten(2, (-1, n))  # (in, out / groups, h / n, n, w / n, n)
    channels: Tensor = split.permute(0, 3, 5, 1, 2, 4).flatten(0, 2)
    return channels.flip(2, 3).contiguous(memory_format=torch.channels_last)


def _spread(below: Tensor, stride: Any, shape: Shape) -> Tensor:
    """At every so many places; the others are zero."""
    wide = torch.empty(shape, dtype=below.dtype, device=below.device, memory_format=torch.channels_last).zero_()
    wide[:, :, :: stride[0], :: stride[1]] = below
    return wide


def _cut(below: Tensor, padding: Any, shape: Shape) -> Tensor:
    """Without the border that the forward pass had padded; rows and columns that no kernel reached are zero."""
    h, w = shape[2:]
    below = below[:, :, padding[0] : padding[0] + h, padding[1] : padding[1] + w]
    return F.pad(below, (0, w - below.shape[3], 0, h - below.shape[2]))
