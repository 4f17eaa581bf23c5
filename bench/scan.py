"""What ranking costs beside the bare forward pass, and whether memory grows: prints a Markdown table.

    python -m bench.scan                         50,000 pictures of 32 px, all units of the four stages of demo:standard
    python -m bench.scan --pictures 5000 --threads 2

The bare pass goes through the same network in the same run, a tenth of the pictures, ten batches at a time in between, so that
both meet the same load of the machine. Its pictures lie in memory; the scan's come one by one from a Dataset.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils.data import Dataset

import phosphene as ph
from phosphene.exemplars.scan import batch_for
from phosphene.seeding import stream

STAGES = [f"channel:stage{i}:*" for i in (1, 2, 3, 4)]
POOL, BLOCK, TENTH = 2000, 10, 100  # batches of a block of the bare pass, after so many of the scan


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


def resident() -> float:
    """MB"""
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096 / 1e6


class Bare:
    """Runs blocks of the bare forward pass while the scan waits, and notes what memory the scan holds."""

    def __init__(self, net: ph.Network, size: int) -> None:
        self._net, self._size = net, size
        self._pictures = torch.rand(size, 3, 32, 32, generator=stream(0, "bare"))
        self.seconds, self.pictures, self.memory = 0.0, 0, dict[int, float]()

    def __call__(self, done: int, total: int | None) -> None:
        if done // 5000 not in self.memory:
            self.memory[done // 5000] = resident()
        if (done // self._size) % TENTH == TENTH // 2:
            started = time.monotonic()
            with torch.inference_mode(), self._net.reading() as read:
                for _ in range(BLOCK):
                    read(self._pictures, {""})
            self.seconds += time.monotonic() - started
            self.pictures += BLOCK * self._size


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pictures", type=int, default=50_000)
    parser.add_argument("--threads", type=int)
    given = parser.parse_args()
    if given.threads:
        torch.set_num_threads(given.threads)
    net = ph.load("demo:standard")
    bare = Bare(net, batch_for(net))
    ph.examples(net, Textures(2 * batch_for(net)), STAGES)  # what is made once is made now
    started = time.monotonic()
    found = ph.examples(net, Textures(given.pictures), STAGES, on_batch=bare)
    seconds = time.monotonic() - started - bare.seconds
    scanned, plain = found.seen / seconds, bare.pictures / bare.seconds
    print("| pictures | units | scan, pictures/s | bare | share | MB at 5,000 | at the end |\n" + "|---" * 7 + "|")
    first, last = bare.memory.get(1, float("nan")), bare.memory[max(bare.memory)]
    print(f"| {found.seen:,} | {len(found)} | {scanned:.0f} | {plain:.0f} | {scanned / plain:.2f} | {first:.0f} | {last:.0f} |")


if __name__ == "__main__":
    main()
