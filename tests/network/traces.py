"""What a call could leave behind, taken before and after it."""

from __future__ import annotations

import pickle
import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks", "_state_dict_hooks")


def bits(tensor: Tensor | None) -> Any:
    return None if tensor is None else (tensor.dtype, tuple(tensor.shape), tensor.detach().clone().numpy().tobytes())


def of_module(module: nn.Module) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, part in module.named_modules():
        found[f"{name} mode"] = part.training
        found[f"{name} hooks"] = [len(getattr(part, hooks)) for hooks in HOOKS]
    for name, tensor in [*module.named_parameters(), *module.named_buffers()]:
        found[name] = (id(tensor), bits(tensor), tensor.requires_grad, bits(tensor.grad))
    return found


def of_generators() -> dict[str, Any]:
    numeric = pickle.dumps(np.random.get_state())
    return {"torch": bits(torch.get_rng_state()), "numpy": numeric, "python": random.getstate()}


@contextmanager
def none_left(module: nn.Module) -> Iterator[None]:
    """Fails unless everything is after the block as it was before; what the block raises is passed on."""
    before = of_module(module), of_generators(), torch.is_grad_enabled(), torch.is_inference_mode_enabled()
    try:
        yield
    finally:
        after = of_module(module), of_generators(), torch.is_grad_enabled(), torch.is_inference_mode_enabled()
        assert before == after
