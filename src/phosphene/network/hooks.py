"""The user's own hooks on modules, as they run in a private copy of the network.

What a hook returns or changes is part of the network and is obeyed. What it records is the user's, who knows nothing of our
passes: each hook of the copy works on copies of what it holds, and one that changed nothing in its first run is not run again.
"""

from __future__ import annotations

import copy
import functools
import types
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

_KINDS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
_DATA = (list, dict, set, bytearray, Tensor)


def isolate_hooks(module: nn.Module) -> None:
    """In place, in a private copy. Hooks of torch itself (weight norm, pruning) were copied with the module."""
    for part in module.modules():
        for kind in _KINDS:
            hooks = getattr(part, kind, None) or {}
            for key, hook in hooks.items():
                if not _of_torch(hook):
                    hooks[key] = IsolatedHook(hook)


def remove_silent_hooks(module: nn.Module) -> None:
    """In place: hooks that have run and changed nothing."""
    for part in module.modules():
        for kind in _KINDS:
            hooks = getattr(part, kind, None) or {}
            for key in [key for key, hook in hooks.items() if isinstance(hook, IsolatedHook) and hook.silent]:
                del hooks[key]


class IsolatedHook:
    """A hook that works on copies of what it holds, and rests once it is seen to change nothing."""

    def __init__(self, hook: Any) -> None:
        self._hook = _isolated(hook)
        self.silent = False

    def __call__(self, module: nn.Module, *given: Any, **named: Any) -> Any:
        if self.silent:
            return None
        before = _versions(module, given)
        result = self._hook(module, *given, **named)
        self.silent = result is None and _versions(module, given) == before
        return result


def _of_torch(hook: Any) -> bool:
    return str(getattr(type(hook), "__module__", "")).startswith("torch.") and not isinstance(hook, functools.partial)


def _versions(module: nn.Module, given: Any) -> list[tuple[int, int]]:
    """Of all that a hook may change: another value where it did."""
    attributes = [(id(value), 0) for value in module.__dict__.values()]
    own = (*module._parameters.values(), *module._buffers.values(), *_tensors(given))
    return attributes + [(id(tensor), tensor._version) for tensor in own if tensor is not None and not tensor.is_inference()]


def _tensors(given: Any) -> Iterator[Tensor]:
    if isinstance(given, Tensor):
        yield given
    elif isinstance(given, tuple | list):
        for value in given:
            yield from _tensors(value)
    elif isinstance(given, dict):
        yield from _tensors(list(given.values()))


def _isolated(hook: Any) -> Any:
    """A function with copies of the data that it closes over or finds in its module; other callables as they are.

    Callable objects and bound methods were copied with the module, together with what they hold.
    """
    if isinstance(hook, functools.partial):
        args, kwargs = _copied(hook.args), _copied(hook.keywords)
        return functools.partial(_isolated(hook.func), *args, **kwargs)
    if not isinstance(hook, types.FunctionType):
        return hook
    names = {name for code in _codes(hook.__code__) for name in code.co_names}
    data = {name: _copied(value) for name, value in hook.__globals__.items() if name in names and isinstance(value, _DATA)}
    cells = tuple(_cell(cell) for cell in hook.__closure__ or ())
    other = types.FunctionType(hook.__code__, {**hook.__globals__, **data}, hook.__name__, _copied(hook.__defaults__), cells)
    other.__kwdefaults__ = _copied(hook.__kwdefaults__)
    return other


def _codes(code: types.CodeType) -> Iterator[types.CodeType]:
    yield code
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            yield from _codes(constant)


def _cell(cell: types.CellType) -> types.CellType:
    try:
        return types.CellType(_copied(cell.cell_contents))
    except ValueError:  # nothing was put into it yet
        return cell


def _copied(value: Any) -> Any:
    """A copy, or the thing itself where it cannot be copied or is a part of a network."""
    if isinstance(value, nn.Module | types.FunctionType | types.ModuleType | type):
        return value
    try:
        with torch.inference_mode(False), torch.no_grad():
            return copy.deepcopy(value)
    except Exception:  # whatever a __deepcopy__ raises: files, locks
        return value
