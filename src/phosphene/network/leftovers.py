"""What a forward pass leaves behind in a module, and how it is put back: attributes and buffers.

Networks keep hidden states, counters and caches in attributes. A second pass would then start from what the first one left.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from .packing import Packed

_OWN = frozenset(vars(nn.Module()))  # what torch keeps of every module: parameters, buffers, hooks, modes
_MISSING = object()


class Leftovers:
    """The attributes and buffers of a module and all modules in it, as they are now.

    Attributes are compared by identity; lists, dictionaries, sets, deques and tensors also by what is in them. What lies
    deeper inside other objects is not followed.
    """

    def __init__(self, module: nn.Module) -> None:
        parts = [part for part in module.modules() if not isinstance(part, torch.jit.ScriptModule | Packed)]
        self._attributes = [(part, _attributes(part)) for part in parts]
        values = [value for _, attributes in self._attributes for value in attributes.values()]
        buffers = [tensor for part in parts for tensor in part._buffers.values() if tensor is not None]
        self._tensors = [(t, t._version, t.detach().clone()) for t in (*buffers, *values) if _holds_values(t)]
        self._registered = [(part, dict(part._buffers)) for part in parts]
        self._containers: list[tuple[Any, Any]] = [(value, value.copy()) for value in values if isinstance(value, _CONTAINERS)]

    def changed(self) -> bool:
        """Whether anything is no longer as it was."""
        return (
            any(_differ(_attributes(part), was) for part, was in self._attributes)
            or any(_differ(dict(part._buffers), was) for part, was in self._registered)
            or any(tensor._version != version for tensor, version, _ in self._tensors)
            or any(not _same_items(value, was) for value, was in self._containers)
        )

    def put_back(self) -> None:
        """Make everything as it was."""
        for part, was in self._attributes:
            for name in _attributes(part).keys() - was.keys():
                del part.__dict__[name]
            part.__dict__.update(was)
        for part, buffers in self._registered:
            part._buffers.update(buffers)
        with torch.inference_mode(False), torch.no_grad():
            for i, (tensor, version, value) in enumerate(self._tensors):
                if tensor._version != version:
                    tensor.detach().copy_(value)
                    self._tensors[i] = (tensor, tensor._version, value)
        for container, was in self._containers:
            if not _same_items(container, was):
                _refill(container, was)


_CONTAINERS = (list, dict, set, deque)
_REFILL: dict[type, Callable[[Any, Any], None]] = {list: list.extend, dict: dict.update, set: set.update, deque: deque.extend}


def _attributes(part: nn.Module) -> dict[str, Any]:
    return {name: value for name, value in part.__dict__.items() if name not in _OWN}


def _holds_values(value: Any) -> bool:
    """Whether it is a plain tensor whose values can be compared and put back."""
    return isinstance(value, Tensor) and not value.is_meta and not value.is_inference() and value.layout == torch.strided


def _differ(now: dict[str, Any], was: dict[str, Any]) -> bool:
    return now.keys() != was.keys() or any(now[name] is not value for name, value in was.items())


def _same_items(now: Any, was: Any) -> bool:
    if len(now) != len(was):
        return False
    if isinstance(now, dict):
        return all(now.get(key, _MISSING) is value for key, value in was.items())
    if isinstance(now, set):
        return bool(now == was)
    return all(a is b for a, b in zip(now, was, strict=True))


def _refill(container: Any, items: Any) -> None:
    container.clear()
    next(fill for kind, fill in _REFILL.items() if isinstance(container, kind))(container, items)
