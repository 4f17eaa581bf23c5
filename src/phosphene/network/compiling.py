"""torch.compile, where what is left to do repays what compiling takes."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Collection, Mapping
from typing import TYPE_CHECKING, Literal

import torch
from torch import Tensor, nn

from ..errors import RequestError, first_line, shown
from . import packing, probe

if TYPE_CHECKING:
    from .network import Read

Compile = Literal["auto", "on", "off"]
SECONDS = 60.0  # that compiling a network and its gradient takes, about
GAIN = 1.4  # of ResNet-50 in bfloat16 on an H200, measured; on a CPU nothing is gained
LOOKED_INTO = "no: layers are looked into, which a compiled network does not allow"
WARM, TIMED = 3, 10  # passes before the clock starts, passes until it is read


def check(wanted: str) -> None:
    if wanted not in ("auto", "on", "off"):
        raise RequestError(f"compile {shown(wanted)}; auto, on or off is needed")


def compiled(module: nn.Module, device: torch.device) -> nn.Module:
    """As it runs quickest; on a GPU a graph, that is launched as a whole."""
    plain = packing.unpacked(copy.deepcopy(module))
    made: nn.Module = torch.compile(plain, mode="reduce-overhead" if device.type == "cuda" else None)  # type: ignore[assignment]
    return made


def repays(seconds: float) -> bool:
    """Whether what would take so long is worth compiling."""
    return seconds * (1 - 1 / GAIN) > SECONDS


class Hastening:
    """A `Read` that goes over to the compiled network once it is seen that the passes that are left repay it.

    passes  how many there will be; make: the `Read` of the compiled network
    What fails to compile is read as before. `told` says what was used.
    """

    def __init__(self, read: Read, make: Callable[[], Read], passes: int, wanted: Compile, device: torch.device) -> None:
        self._read, self._make, self._left, self._device = read, make, passes, device
        self._wanted: Compile = "off" if wanted == "auto" and device.type != "cuda" else wanted
        self._done, self._began = 0, 0.0
        self.told = "no"

    def __call__(
        self,
        pictures: Tensor,
        wanted: Collection[str],
        changes: Mapping[str, probe.Change] | None = None,
        rows: int | None = None,
    ) -> dict[str, Tensor]:
        if self._wanted != "off":
            if set(wanted) != {""} or changes:
                self.told = LOOKED_INTO
            elif self._due():
                self._wanted = "off"  # decided
                self._go_over(pictures, wanted)
        self._done += 1
        return self._read(pictures, wanted, changes, rows)

    def _due(self) -> bool:
        if self._wanted == "on":
            return True
        if self._done in (WARM, TIMED):
            _wait(self._device)
            now = time.perf_counter()
            if self._done == TIMED:
                each = (now - self._began) / (TIMED - WARM)
                return repays(each * (self._left - TIMED))
            self._began = now
        return False

    def _go_over(self, pictures: Tensor, wanted: Collection[str]) -> None:
        try:
            made = self._make()
            tried = pictures.detach().requires_grad_(True)
            torch.autograd.grad(made(tried, wanted)[""].sum(), tried)
        except Exception as error:  # whatever a compiler raises: the network runs without it
            self.told = f"no: {first_line(error)}"
            return
        self._read, self.told = made, "yes"


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
