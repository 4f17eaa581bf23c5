"""`python -m bench memory`: the most that a process holds while it renders, against pictures at once and steps."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

import torch

import phosphene as ph
from bench import networks, peers
from bench.machine import peak, version_of
from bench.measured import Measured, Row, number
from bench.process import apart
from bench.settings import Settings
from bench.turns import tell

HEAD = ("program", "batch", "steps", "MB at the peak", "MB above the network alone")
TEXT = """The most that a process holds, each of its own, from its start to its end, with torch and a {network} of {side} px:
`natural-fast` renders so many class models at once, without frames, in so many steps; torchbearer as in `render`."""
NETWORK = "ResNet-50"
PAIRS = [(1, 4), (2, 4), (4, 4), (8, 4), (16, 4), (32, 4), (8, 16), (8, 64)]  # pictures at once, steps
OURS, PEER, ALONE = "phosphene", "torchbearer", "the network alone"


def measure(settings: Settings) -> Measured:
    asked = [(ALONE, 0, 0), *((OURS, batch, steps) for batch, steps in settings.of(PAIRS, [(1, 1)]))]
    absent = peers.missing(PEER)
    asked += [] if absent else [(PEER, 1, 4)]
    peaks = [_peak(*one, settings) for one in asked]
    rows: list[Row] = []
    for (program, batch, steps), most in zip(asked, peaks, strict=True):
        name = f"{program} {version_of(program)}".strip()
        rows.append((name, str(batch or ""), str(steps or ""), number(most), number(most - peaks[0]) if batch else ""))
    text = TEXT.format(network=NETWORK, side=settings.side)
    threads = settings.threads or torch.get_num_threads()
    return Measured(text, HEAD, tuple(rows), notes=(f"{absent}: no row",) if absent else (), threads=threads)


def _peak(program: str, batch: int, steps: int, settings: Settings) -> float:
    """MB of a process of its own."""
    tell(f"memory: {program}, {batch} at once, {steps} steps")
    words = [sys.executable, "-m", "bench.memory", program, *map(str, (batch, steps, settings.side))]
    return float(apart(words, settings.environment(sites=program == PEER)))


def rendered(program: str, batch: int, steps: int, side: int) -> float:
    """The peak of this process, MB, when it is done."""
    net = networks.made(NETWORK, side)
    if program == OURS:
        ph.render(net, [f"logit:{i}" for i in range(batch)], recipe="natural-fast", steps=steps, batch=batch, frames=0)
    elif program == PEER:
        peers.torchbearer(peers.FromPictures(net.module, net.preprocess.forward).eval(), [0], side, steps)
    return peak()


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=rendered.__doc__)
    parser.add_argument("program", choices=(ALONE, OURS, PEER))
    for name in ("batch", "steps", "side"):
        parser.add_argument(name, type=int)
    given = parser.parse_args(arguments)
    print(rendered(given.program, given.batch, given.steps, given.side))


if __name__ == "__main__":
    main()
