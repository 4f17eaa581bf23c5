"""How many pictures are rendered at once: what the hardware likes, as far as its memory holds them."""

from __future__ import annotations

from collections.abc import Collection

from ..network.network import Network
from ..network.room import free_bytes

PIXELS = 224 * 224  # of one picture
LIKED = {"cpu": (8 * PIXELS, 64)}  # pixels of all views of a batch, pictures; more gain nothing, and are seen later
LIKED_ELSEWHERE = (256 * PIXELS, 1024)
SHARE = 0.5  # of the free memory, since gradients come on top of what is kept for them
CANVAS = 24  # numbers a channel and pixel beside the network's: what is free, the optimiser's, views, noise, gradients


def batch_for(net: Network, count: int, reads: Collection[str], size: tuple[int, int], samples: int, half: bool) -> int:
    """Pictures at once, of `count` that are wanted: batches are of nearly one size. samples: views of each."""
    height, width = size
    pixels, most = LIKED.get(net.device.type, LIKED_ELSEWHERE)
    fits = max(1, min(pixels // (height * width * samples), most, count))
    if fits > 1 and (free := free_bytes(net.device)) is not None:
        kept = net.kept_bytes(reads, size, half) + 4 * CANVAS * net.preprocess.channels * height * width
        fits = max(1, min(fits, int(SHARE * free / (kept * samples))))
    if net.batch is not None:  # of an export that takes so many and no other number
        return max(fits // net.batch, 1) * net.batch
    return -(-count // -(-count // fits))
