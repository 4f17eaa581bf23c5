"""`python -m bench examples`: what ranking costs beside the bare forward pass, and whether memory grows."""

from __future__ import annotations

import math
import time

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils.data import Dataset

import phosphene as ph
from bench.machine import resident
from bench.measured import Bar, Measured, number
from bench.settings import Settings
from bench.turns import tell
from phosphene.exemplars.scan import batch_for
from phosphene.seeding import stream

HEAD = ("pictures", "units", "scan, pictures/s", "bare pass, pictures/s", "share", "MB at {mark:,}", "MB at the end")
TEXT = """All units of the four stages of `demo:standard` are ranked over {pictures:,} pictures of 32 px, which come one by one
from a Dataset. The bare pass goes through the same network in the same run, a tenth of the pictures, ten batches at a time in
between, so that both meet the same load of the machine; its pictures lie in memory. Memory is what the process holds."""
STAGES = [f"channel:stage{i}:*" for i in (1, 2, 3, 4)]
POOL = 2000
BLOCK, EVERY = 10, 100  # batches of a block of the bare pass, after so many of the scan
SHARE, GROWTH = 0.85, 100.0  # the bars; MB


class Textures(Dataset[tuple[Tensor, int]]):
    """`count` pictures (3, 32, 32) of bytes: smooth noise, shifted from round to round."""

    def __init__(self, count: int) -> None:
        coarse = torch.rand(POOL, 3, 8, 8, generator=stream(0, "textures"))
        self._pool = (F.interpolate(coarse, size=32, mode="bicubic").clamp(0, 1) * 255).byte()
        self._count = count

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return self._pool[index % POOL].roll(index // POOL, -1), index % 10


class Bare:
    """Runs blocks of the bare forward pass while the scan waits, and notes what memory the scan holds every `mark` pictures."""

    def __init__(self, net: ph.Network, size: int, mark: int, every: int = EVERY) -> None:
        self._net, self._size, self._mark, self._every = net, size, mark, every
        self._pictures = torch.rand(size, 3, 32, 32, generator=stream(0, "bare"))
        self.seconds, self.pictures, self.memory = 0.0, 0, dict[int, float]()

    def __call__(self, done: int, total: int | None) -> None:
        self.memory.setdefault(done // self._mark, resident())
        if (done // self._size) % self._every == self._every // 2:
            started = time.monotonic()
            with torch.inference_mode(), self._net.reading() as read:
                for _ in range(BLOCK):
                    read(self._pictures, {""})
            self.seconds += time.monotonic() - started
            self.pictures += BLOCK * self._size


def measure(settings: Settings) -> Measured:
    tell("examples: one scan")
    count, mark = settings.of((50_000, 5000), (2000, 500))
    net = ph.load("demo:standard")
    bare = Bare(net, batch_for(net), mark, settings.of(EVERY, 4))
    ph.examples(net, Textures(2 * batch_for(net)), STAGES)  # what is made once is made now
    started = time.monotonic()
    found = ph.examples(net, Textures(count), STAGES, on_batch=bare)
    scanned = found.seen / (time.monotonic() - started - bare.seconds)
    plain, first, last = bare.pictures / bare.seconds, bare.memory.get(1, math.nan), resident()
    cells = number(scanned), number(plain), f"{scanned / plain:.2f}", number(first), number(last)
    return Measured(
        TEXT.format(pictures=count),
        tuple(cell.format(mark=mark) for cell in HEAD),
        ((f"{found.seen:,}", str(len(found)), *cells),),
        bars=(
            Bar("examples, of the bare pass", scanned / plain, SHARE, " ×"),
            Bar(f"examples, growth after {mark:,} pictures", last - first, GROWTH, " MB", most=True),
        ),
        threads=torch.get_num_threads(),
    )
