"""One forward pass that reads what modules give. The only place that sets a hook on a module."""

from __future__ import annotations

import copy
import threading
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from functools import partial, reduce
from itertools import chain
from typing import Any

import torch
from torch import Tensor, nn

from . import addresses as addressing
from .hooks import isolate_hooks
from .leftovers import Leftovers

# Address, run, what the module gave; what it gives itself, unless that is None, stands for it from there on.
Watch = Callable[[str, int, Any], Any]
Change = Callable[[Tensor], Tensor]


class _Enough(BaseException):
    """Leaves a forward pass at the last address wanted. Not an Exception, so that no `except` of a network holds it."""


def forward(
    module: nn.Module,
    inputs: Tensor,
    wanted: Collection[str],
    calls: Mapping[str, int],
    changes: Mapping[str, Change] | None = None,
) -> tuple[dict[str, Tensor], Any]:
    """What the addresses give for these inputs, and the network's own output (None if it was not needed).

    The pass stops at the last address. `calls`: how often each path runs, as `count` found it. What a change makes of what
    an address gave takes its place, for the rest of the network and for who wants that address.
    """
    runs = {a: _run(a, calls) for a in wanted if a != addressing.OUTPUT}
    changing = {_run(a, calls): change for a, change in (changes or {}).items()}
    left = set(runs.values())
    read: dict[tuple[str, int], Tensor] = {}
    to_end = addressing.OUTPUT in wanted
    enough = _Enough()

    def keep(path: str, run: int, given: Any) -> Any:
        change = changing.get((path, run))
        if change is None and (path, run) not in left:
            return None
        own = first_tensor(given)
        tensor = own.dequantize() if own.is_quantized else own  # a quantised layer's values, as numbers
        if change is not None:
            tensor = change(tensor)
        if (path, run) in left:
            read[path, run] = tensor
            if len(read) == len(left) and not to_end:
                raise enough
            # A later in-place operation would overwrite what we read (ReLU(inplace=True) after a convolution).
            read[path, run] = tensor.clone()
        if change is None:
            return None
        return replaced(given, _quantised_as(own, tensor) if own.is_quantized else tensor)

    output = None
    with watching(module, {path for path, _ in (*left, *changing)}, keep):
        try:
            output = module(inputs)
        except _Enough as error:
            if error is not enough:  # of a pass around this one: a network may be made of one that is read inside
                raise
    missing = [a for a, run in runs.items() if run not in read]
    if missing:
        raise RuntimeError(f"{missing[0]} did not run in this forward pass")
    return {a: read[run] for a, run in runs.items()}, output


def _run(address: str, calls: Mapping[str, int]) -> tuple[str, int]:
    path, run = addressing.split(address, calls)
    return path, calls[path] - 1 if run is None else run


def shapes(module: nn.Module, inputs: Tensor, into: dict[str, list[tuple[int, ...]]]) -> Any:
    """The output of one forward pass. Into a dict go the shapes of what each path gives at each run, in order of first
    completion; those of a pass that failed are the ones up to there."""

    def note(path: str, run: int, given: Any) -> None:
        tensor = first_tensor(given, strict=False)
        if tensor is not None:
            runs = into.setdefault(path, [])
            runs += [()] * (run - len(runs)) + [tuple(tensor.shape)]

    with watching(module, {name for name, _ in module.named_modules() if name}, note):
        return module(inputs)


@contextmanager
def watching(
    module: nn.Module,
    paths: Collection[str],
    watch: Watch,
    before: tuple[Collection[str], Callable[[str, Any], None]] = ((), lambda _path, _given: None),
) -> Iterator[None]:
    """Inside, `watch` is called at each run of these modules; afterwards no hook is left. TorchScript modules take none.

    before: modules at each run of which the function is called with the path and what the module is given.
    """
    with ExitStack() as stack:
        for path in paths:
            # named_modules shows a shared module under its first name alone, and TorchScript has no get_submodule.
            part: nn.Module = reduce(getattr, path.split("."), module)
            if not isinstance(part, torch.jit.ScriptModule):
                stack.callback(part.register_forward_hook(_counting(path, watch)).remove)
        for path in before[0]:
            hook = module.get_submodule(path).register_forward_pre_hook(partial(_telling, path, before[1]))
            stack.callback(hook.remove)
        yield


def _telling(path: str, tell: Callable[[str, Any], None], _module: nn.Module, inputs: Any) -> None:
    tell(path, inputs)


def _counting(path: str, watch: Watch) -> Callable[[nn.Module, Any, Any], None]:
    run, thread = -1, threading.get_ident()

    def hook(_module: nn.Module, _inputs: Any, given: Any) -> Any:
        nonlocal run
        if threading.get_ident() != thread:  # another thread's backward pass may run a checkpointed module once more
            return None
        run += 1
        return watch(path, run, given)

    return hook


def first_tensor(given: Any, strict: bool = True) -> Any:
    """The first tensor in what a module gave: attention and recurrent modules give tuples."""
    if isinstance(given, Tensor):
        return given
    values = given.values() if isinstance(given, Mapping) else given if isinstance(given, tuple | list) else ()
    for value in values:
        if (found := first_tensor(value, strict=False)) is not None:
            return found
    if strict:
        raise RuntimeError(f"a module gave {type(given).__name__}, which holds no tensor")
    return None


def _quantised_as(own: Tensor, tensor: Tensor) -> Tensor:
    if own.qscheme() in (torch.per_tensor_affine, torch.per_tensor_symmetric):
        return torch.quantize_per_tensor(tensor, own.q_scale(), own.q_zero_point(), own.dtype)
    axis = own.q_per_channel_axis()
    return torch.quantize_per_channel(tensor, own.q_per_channel_scales(), own.q_per_channel_zero_points(), axis, own.dtype)


def replaced(given: Any, tensor: Tensor) -> Any:
    """What a module gave, with another first tensor in it."""
    if isinstance(given, Tensor):
        return tensor
    if isinstance(given, Mapping):
        key = next(key for key, value in given.items() if first_tensor(value, strict=False) is not None)
        other: Any = copy.copy(given)
        other[key] = replaced(given[key], tensor)
        return other
    place = next(i for i, value in enumerate(given) if first_tensor(value, strict=False) is not None)
    items = [*given[:place], replaced(given[place], tensor), *given[place + 1 :]]
    return type(given)(*items) if hasattr(given, "_fields") else type(given)(items)


class Twin:
    """A frozen private copy in eval mode, kept equal to the user's module; the module itself is never touched.

    Where a module cannot be copied, it is lent for the call and put back as it was, also when the call raises. Several threads
    may be inside `running` at once; passes through the network are theirs to take in turn.
    """

    def __init__(self, module: nn.Module) -> None:
        self._module = module
        self._copy: nn.Module | None = None
        self._made_of: list[int] = []
        self._lock = threading.RLock()
        self._inside = 0
        self._loan: _Loan | None = None

    @contextmanager
    def running(self) -> Iterator[nn.Module]:
        """The network to run: eval mode, no gradients to weights, values as the user's module has them now."""
        with self._lock:
            module = self._fresh() or self._lent()
            self._inside += 1
        try:
            yield module
        finally:
            with self._lock:
                self._inside -= 1
                if self._loan is not None and not self._inside:
                    self._loan.end()
                    self._loan = None

    def _lent(self) -> nn.Module:
        self._loan = self._loan or _Loan(self._module)
        return self._module

    def _fresh(self) -> nn.Module | None:
        parts = [id(part) for part in self._module.modules()]
        if self._copy is None or parts != self._made_of:
            self._copy = _copied(self._module)
            self._made_of = parts
        elif not _equal(self._copy, self._module) and (self._inside or not _follow(self._copy, self._module)):
            self._copy = _copied(self._module)  # who is inside goes on with the values there were
        return self._copy


class _Loan:
    """A module of the user's in eval mode and frozen, until `end` puts all of it back."""

    def __init__(self, module: nn.Module) -> None:
        self._modes = {part: part.training for part in module.modules()}
        self._wishes = {p: p.requires_grad for p in module.parameters()}
        self._leftovers = Leftovers(module)
        module.eval()
        for p in self._wishes:
            p.requires_grad_(False)

    def end(self) -> None:
        self._leftovers.put_back()
        for part, mode in self._modes.items():
            part.training = mode
        for p, wish in self._wishes.items():
            p.requires_grad_(wish)


def _copied(module: nn.Module) -> nn.Module | None:
    # Not an inference tensor even when we are called in inference mode: autograd must be able to run through it.
    with torch.inference_mode(False), torch.no_grad():
        try:
            twin = copy.deepcopy(module)
        except Exception:  # whatever a module's own __deepcopy__ or members raise: then it is lent instead
            return None
        # A lazy copy that does not hold the same tensors, or holds some of the user's own modules, is no twin.
        if not _follow(twin, module) or {*twin.modules()} & {*module.modules()}:
            return None
    isolate_hooks(twin)
    for parameter in twin.eval().parameters():  # one by one: TorchScript modules have no requires_grad_
        parameter.requires_grad_(False)
    return twin


def _equal(twin: nn.Module, module: nn.Module) -> bool:
    """Whether the twin has the module's values."""
    mine, theirs = tensors(twin), tensors(module)
    return mine.keys() == theirs.keys() and all(
        alike(mine[name], tensor) and torch.equal(mine[name], tensor) for name, tensor in theirs.items()
    )


def alike(own: Tensor, tensor: Tensor) -> bool:
    """Of one shape, dtype and device."""
    return own.shape == tensor.shape and own.dtype == tensor.dtype and own.device == tensor.device


def _follow(twin: nn.Module, module: nn.Module) -> bool:
    """Bring the twin's values up to the module's; False if it cannot be done in place."""
    mine, theirs = tensors(twin), tensors(module)
    if mine.keys() != theirs.keys():
        return False
    with torch.no_grad():
        for name, tensor in theirs.items():
            own = mine[name]
            if not alike(own, tensor):
                return False
            if own.data_ptr() == tensor.data_ptr() and own.numel():
                return False  # shares memory: freezing or folding it would reach the user
            if not torch.equal(own, tensor):
                own.copy_(tensor)
    return True


def state(twin: nn.Module) -> tuple[nn.Module, int]:
    """Another one when a value of this private copy has been brought up."""
    return twin, sum(tensor._version for tensor in tensors(twin).values())


def device(module: nn.Module) -> torch.device:
    """Of its weights."""
    return next((tensor.device for tensor in chain(module.parameters(), module.buffers())), torch.device("cpu"))


def dtype(module: nn.Module) -> torch.dtype:
    """Of its weights."""
    every = chain(module.parameters(), module.buffers())
    return next((tensor.dtype for tensor in every if tensor.is_floating_point()), torch.float32)


def tensors(module: nn.Module) -> dict[str, Tensor]:
    """Weights and buffers by name."""
    return {**dict(module.named_parameters()), **dict(module.named_buffers())}
