"""What hostile input may do: give something, or a PhospheneError of one line, soon, and leave torch as it was."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import torch

from phosphene import PhospheneError

ODD: tuple[Any, ...] = (
    None, True, False,
    0, -1, 3, 2**63, 10**30, 0.5, -0.0, 1e308, "", "x", "../..", "\x00", "🦙" * 80, [], [[]], [None], {}, {"kind": 3},
    {"kind": "l2", "weight": 10**30}, [[[[]]]] * 3,
)  # fmt: skip


def held(call: Callable[[], Any], *, seconds: float = 5.0) -> Any:
    """What the call gives, or its PhospheneError. seconds: of this thread's processor time, which neither other programs nor
    threads that earlier tests left running lengthen."""
    state, modes = torch.get_rng_state(), (torch.is_grad_enabled(), torch.is_inference_mode_enabled(), torch.get_num_threads())
    start = time.thread_time()
    try:
        found = call()
    except PhospheneError as error:
        found = error
    if isinstance(found, PhospheneError):
        assert str(found).strip()
        assert len(str(found).splitlines()) == 1
    assert time.thread_time() - start < seconds
    assert torch.equal(state, torch.get_rng_state())
    assert modes == (torch.is_grad_enabled(), torch.is_inference_mode_enabled(), torch.get_num_threads())
    return found
