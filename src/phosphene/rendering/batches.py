"""Batch sizes: what the hardware likes, its memory holds, and takes no longer than it may."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection

from torch import Tensor

from ..network.network import Network
from ..network.room import free_bytes

PIXELS = 224 * 224  # of one picture
LIKED = {"cpu": (8 * PIXELS, 64)}  # pixels of all views of a batch, pictures; more gain nothing, and are seen later
LIKED_ELSEWHERE = (256 * PIXELS, 1024)
SHARE = 0.5  # of the free memory, since gradients come on top of what is kept for them
LONGEST = 90.0  # seconds a batch of a command may take: what a kill costs at most
TIMED = 3  # steps after the first; the quickest of them tells how long all take
CANVAS = 24  # numbers a channel and pixel beside the network's: what is free, the optimiser's, views, noise, gradients


def batch_for(net: Network, count: int, reads: Collection[str], size: tuple[int, int], samples: int, half: bool) -> int:
    """Pictures at once, of `count` that are wanted: batches are of nearly one size. samples: views of each."""
    height, width = size
    pixels, most = LIKED.get(net.device.type, LIKED_ELSEWHERE)
    fits = max(1, min(pixels // (height * width * samples), most, count))
    if fits > 1 and (free := free_bytes(net.device)) is not None:
        fits = max(1, min(fits, int(SHARE * free / (bytes_each(net, reads, size, half) * samples))))
    if net.batch is not None:  # of an export that takes so many and no other number
        return max(fits // net.batch, 1) * net.batch
    return -(-count // -(-count // fits))


def bytes_each(net: Network, reads: Collection[str], size: tuple[int, int], half: bool) -> int:
    """Bytes of memory for each further view of this size: activations kept for the backward pass, and the canvas."""
    height, width = size
    return net.kept_bytes(reads, size, half) + 4 * CANVAS * net.preprocess.channels * height * width


class TooLong(Exception):  # noqa: N818  no error: the batch is made smaller
    """A batch would take longer than it may; one of `fits` pictures would not."""

    def __init__(self, fits: int) -> None:
        super().__init__(f"{fits} pictures fit")
        self.fits = fits


class Pace:
    """An observer of one batch. Raises TooLong after its first steps if all of them would take over `seconds`."""

    def __init__(self, seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._seconds, self._clock = seconds, clock
        self._last, self._each = 0.0, float("inf")

    def on_step(self, done: int, items: int, step: int, steps: int, pictures: Tensor, values: Tensor) -> None:
        if step > 1 + TIMED:
            return
        float(values.sum())  # waits for the device
        now = self._clock()
        if step > 1:
            self._each = min(self._each, now - self._last)
        self._last = now
        expected = self._each * steps
        if step == 1 + TIMED and expected > self._seconds:
            raise TooLong(max(1, int(len(pictures) * self._seconds / expected)))
