"""The physical limit: how much there is to multiply and add, and how fast the machine multiplies matrices."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from functools import partial

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from bench.measured import number
from bench.turns import Timed, seconds
from phosphene.network.packing import pack, packable

SIDES = (1024, 2048, 4096)
REPEATS = 3
HALF, FULL = torch.bfloat16, torch.float32
NAMES = {HALF: "bfloat16", FULL: "float32"}
Product = tuple[dict[torch.dtype, float], torch.dtype, int, Timed]  # where its rate goes, operations, how it is made


def of_a_pass(module: nn.Module, inputs: Tensor) -> int:
    """Multiplications and additions of one forward pass."""
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        module(inputs)
    return int(counter.get_total_flops())


def of_a_step(module: nn.Module, inputs: Tensor) -> int:
    """Of one forward pass and the gradient towards the inputs: nothing towards weights, which are frozen."""
    frozen = copy.deepcopy(module).requires_grad_(False)
    inputs = inputs.clone().requires_grad_(True)
    with FlopCounterMode(display=False) as counter:
        frozen(inputs).sum().backward()
    return int(counter.get_total_flops())


class MatrixRate:
    """The best rates of square matrix products so far, operations a second, by kind of number.

    best  of torch.mm
    laid  of a 1×1 convolution whose weights lie as the CPU's library wants them: where torch.mm asks another library, it can be
          half as fast as the hardware, and no limit. 0 on other devices
    """

    def __init__(self, device: torch.device | None = None, sides: Sequence[int] = SIDES) -> None:
        self._device, self._sides = device or torch.device("cpu"), sides
        self.best, self.laid = dict.fromkeys(NAMES, 0.0), dict.fromkeys(NAMES, 0.0)
        self._products = [product for kind in NAMES for side in sides for product in self._pair(kind, side)]

    def __str__(self) -> str:
        ways = {"torch.mm": self.best, "weights laid out": self.laid if any(self.laid.values()) else {}}
        said = [f"{NAMES[kind]}, {way}, {number(rate / 1e9)}" for way, rates in ways.items() for kind, rate in rates.items()]
        return f"matrix products of side {', '.join(map(str, self._sides))}, GFLOP/s: {'; '.join(said)}"

    def limit(self, kind: torch.dtype) -> float:
        return max(self.best[kind], self.laid[kind])

    def sample(self) -> dict[torch.dtype, float]:
        """Gives the best rates of torch.mm at this moment."""
        now = dict.fromkeys(NAMES, 0.0)
        for rates, kind, operations, product in self._products:
            rate = max(operations / seconds(product) for _ in range(REPEATS))
            rates[kind] = max(rates[kind], rate)
            if rates is self.best:
                now[kind] = max(now[kind], rate)
        return now

    def _pair(self, kind: torch.dtype, side: int) -> list[Product]:
        first, second = torch.randn(2, side, side, device=self._device).to(kind)
        products: list[Product] = [
            (self.best, kind, 2 * side**3, partial(self._multiply, first, second, torch.empty_like(first)))
        ]
        if packable(self._device):
            products.append((self.laid, kind, 2 * side**3, laid_out(first, second)))
        for _, _, _, product in products:
            product()  # what is made once is made now
        return products

    def _multiply(self, first: Tensor, second: Tensor, product: Tensor) -> None:
        torch.mm(first, second, out=product)
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)


def laid_out(first: Tensor, second: Tensor) -> Timed:
    """first · secondᵀ, of one side: the rows of the first as places of a picture, the second as a kernel of 1×1."""
    side = len(first)
    convolution = nn.Conv2d(side, side, 1, bias=False, dtype=first.dtype)
    convolution.weight.data = second.view(side, side, 1, 1)
    net = nn.Sequential(convolution)
    pack(net)
    places = first.view(1, 8, side // 8, side).movedim(-1, 1)
    return partial(net, places)
