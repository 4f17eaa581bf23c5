"""Memory that is free on a device, and what a forward pass keeps of it for the gradient."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

MEMINFO, GROUP = Path("/proc/meminfo"), Path("/sys/fs/cgroup")


def free_bytes(device: torch.device) -> int | None:
    """None where nobody says."""
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        return int(free + torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device))
    if device.type == "mps":
        return int(torch.mps.recommended_max_memory() - torch.mps.driver_allocated_memory())
    said = [free for free in (_of_machine(), _of_group()) if free is not None]
    return min(said) if device.type == "cpu" and said else None


def kept_bytes(run: Callable[[], object]) -> int:
    """Of all tensors that autograd keeps while this runs, each memory once."""
    kept: dict[int, int] = {}

    def keep(tensor: Tensor) -> Tensor:
        memory = tensor.untyped_storage()
        kept[memory.data_ptr()] = memory.nbytes()
        # A node that saves its own output would hold itself through its graph, which no collector sees.
        return tensor.detach()

    with torch.enable_grad(), torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        alive = run()  # until all is counted, so that no memory is used twice
    del alive
    return sum(kept.values())


def _of_machine() -> int | None:
    try:
        lines = MEMINFO.read_text().splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:")), None)


def _of_group() -> int | None:
    """Of the container this runs in, where it has a limit; what the system holds of files there counts as free."""
    try:
        limit, used = (GROUP / "memory.max").read_text().strip(), int((GROUP / "memory.current").read_text())
        files = next(
            int(line.split()[1]) for line in (GROUP / "memory.stat").read_text().splitlines() if line.startswith("file ")
        )
    except (OSError, ValueError, StopIteration):
        return None
    return int(limit) - used + files if limit.isdigit() else None
