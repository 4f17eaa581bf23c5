"""The network as the hardware likes it: channels-last, and bfloat16 where the hardware computes that natively."""

from __future__ import annotations

import copy
from typing import Literal

import torch
from torch import nn

from ..errors import RequestError, shown

Precision = Literal["auto", "full", "half"]


def check(precision: str) -> None:
    if precision not in ("auto", "full", "half"):
        raise RequestError(f"precision {shown(precision)}; auto, full or half is needed")


def native_half(device: torch.device) -> bool:
    """Whether bfloat16 is computed as such: where it is only emulated, it is slower than float32."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    if device.type != "cpu":
        return False
    able = torch.cpu.get_capabilities() if hasattr(torch.cpu, "get_capabilities") else {}
    return bool(able.get("avx512_bf16") or able.get("amx_bf16"))


def halved(module: nn.Module) -> nn.Module:
    """A copy in bfloat16, channels-last where its weights have such a layout."""
    twin = copy.deepcopy(module).to(torch.bfloat16)
    with torch.no_grad():
        for tensor in twin.parameters():
            if tensor.ndim == 4:
                tensor.data = tensor.data.contiguous(memory_format=torch.channels_last)
    return twin
