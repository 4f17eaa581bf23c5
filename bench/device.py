"""What an accelerator gives: to be run on a machine with a GPU. Where there is none it says so and ends.

    python -m bench.device                    all parts
    python -m bench.device agreement speed    two of them
    python -m bench.device --check --write    as of python -m bench

agreement  pictures of the GPU and of the CPU, in float32 without TF32: the largest difference of scores, of the largest score;
           of the same pictures, and of pictures that each drew for itself in a few steps
speed      ResNet-50 with random weights at 224 px: many class models at once, plain and compiled, torchbearer's beside them,
           and a single one; pictures × steps a second of the steady state, and what the matrix rate of the same run allows
every      its thousand class models, from the call to the last PNG
profile    what a few steps spend their time on
"""

from __future__ import annotations

import argparse
import copy
import math
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

import phosphene as ph
from bench import climbs, machine, networks, peers, results
from bench.arithmetic import FULL, HALF, NAMES, MatrixRate, of_a_step
from bench.measured import Bar, Measured, Row, judged, number
from bench.turns import Ascent, in_turns, seconds, tell
from bench.verbs import ORDER
from phosphene.network.compiling import Compile

HEAD = ("part", "what", "measured", "of the bfloat16 limit")
NETWORK, RECIPE, PEER = "ResNet-50", "natural-fast", "torchbearer"
AGREE = 1e-3
MANY, TIMES, ALL, SINGLE = 9500.0, 200.0, 60.0, 1.5  # the bars: pictures × steps/s, × torchbearer, seconds, milliseconds
SHORT = 16  # steps of what is drawn twice: a long ascent makes much of the last digit


@dataclass(frozen=True)
class Sizes:
    """many: pictures at once; steps: between a short run and a long one; every: class models, of so many steps."""

    device: str = "cuda"
    side: int = 224
    many: int = 256
    steps: int = 32
    every: tuple[int, int] = (1000, 256)
    matrices: tuple[int, ...] = (2048, 4096, 8192)
    rounds: int = 5
    compile: Compile = "on"


TINY = Sizes("cpu", 64, 4, 2, (6, 2), (256,), 1, "off")  # to try the logic where there is no accelerator


@dataclass(frozen=True)
class Part:
    """What one part adds: rows without its name, bars, notes, and a text of many lines."""

    rows: tuple[Row, ...] = ()
    bars: tuple[Bar, ...] = ()
    notes: tuple[str, ...] = ()
    text: str = ""


def agreement(sizes: Sizes) -> Part:
    asked = {"demo:robust": ["logit:cat", "logit:ship", "logit:dog", "logit:truck"], NETWORK: ["logit:1", "logit:2"]}
    apart: dict[str, float] = {}
    for name, objectives in asked.items():
        here, there = (_opened(name, sizes.side, device) for device in ("cpu", sizes.device))
        with _exact():
            ours, theirs = (ph.render(net, objectives, steps=SHORT, precision="full", frames=0) for net in (here, there))
            same = there.scores(theirs.pictures).cpu(), here.scores(theirs.pictures)
        apart |= {f"{name}, the same pictures": _difference(*same)}
        apart |= {f"{name}, class models of {SHORT} steps": _difference(theirs.scores, ours.scores)}
    bars = [Bar(f"device, difference of {what}", value, AGREE, most=True) for what, value in apart.items()]
    return Part(tuple((what, f"differs by {value:.1e}", "") for what, value in apart.items()), tuple(bars))


def speed(sizes: Sizes) -> Part:
    net = networks.made(NETWORK, sizes.side, sizes.device)
    count = of_a_step(net.module, torch.rand(1, 3, sizes.side, sizes.side, device=sizes.device))
    rates = MatrixRate(torch.device(sizes.device), sizes.matrices)
    found = raced(net, sizes, rates)
    for batch in (sizes.many, 1):
        tell(f"device: compiled, {batch} at once")
        found[f"{RECIPE}, compiled", batch] = compiled(net, batch, sizes)
    rows = [_row(program, batch, rate, count, rates) for (program, batch), rate in found.items()]
    rows += [
        (f"the limit, {NAMES[kind]} matrices", f"{number(rates.limit(kind) / count)} pictures × steps/s", "")
        for kind in (HALF, FULL)
    ]
    why = peers.missing(PEER)
    notes = [str(rates), f"counted arithmetic: {number(count / 1e9)} GFLOP a picture and step", *([why] if why else [])]
    return Part(tuple(rows), bars(found, sizes), tuple(notes))


def raced(net: ph.Network, sizes: Sizes, rates: MatrixRate) -> dict[tuple[str, int], float]:
    """Pictures × steps a second by program and batch, in turns."""
    racing = {
        (recipe, batch): climbs.ours(net, recipe, batch, sizes.steps)
        for recipe, batch in ((RECIPE, sizes.many), ("pixels", sizes.many), (RECIPE, 1))
    }
    if not peers.missing(PEER):
        racing[PEER, 1] = _of_the_peer(net, sizes)
    for ascent in racing.values():
        ascent.run(1)  # what is made once is made now
    times = in_turns([ascent.seconds_a_step for ascent in racing.values()], sizes.rounds, rates.sample)
    return {of: ascent.rate(took) for (of, ascent), took in zip(racing.items(), times, strict=True)}


def compiled(net: ph.Network, batch: int, sizes: Sizes) -> float:
    """The same, once, of a network that is compiled: it takes a minute, so many steps stand against what a run does once."""
    ascent = climbs.ours(net, RECIPE, batch, 8 * sizes.steps, compile=sizes.compile)
    ascent.run(1)
    return ascent.rate(ascent.seconds_a_step())


def bars(found: dict[tuple[str, int], float], sizes: Sizes) -> tuple[Bar, ...]:
    """Of the quicker of plain and compiled: a long run takes that by itself."""
    many, one = (
        max((found[program, batch] for program in (RECIPE, f"{RECIPE}, compiled")), key=lambda rate: (rate == rate, rate))
        for batch in (sizes.many, 1)
    )
    peer = found.get((PEER, 1))
    times = None if peer is None else many / peer
    return (
        Bar(f"device, {sizes.many} at once", many, MANY, " pictures × steps/s"),
        Bar(f"device, {sizes.many} at once", times, TIMES, f" × {PEER}", why=f"{PEER} is not installed"),
        Bar("device, one at once, a step", 1000 / one, SINGLE, " ms", most=True),
    )


def every(sizes: Sizes) -> Part:
    net = networks.made(NETWORK, sizes.side, sizes.device)
    classes, steps = sizes.every
    objectives = [f"logit:{i}" for i in range(classes)]
    with tempfile.TemporaryDirectory() as folder:
        draw = partial(ph.render, net, objectives, recipe=RECIPE, steps=steps, batch=sizes.many, frames=0)
        took = seconds(lambda: draw().save(folder))
    bar = Bar(f"device, {classes:,} class models saved", took, ALL, " s", most=True)
    return Part(((f"{classes:,} class models of {steps} steps, saved", f"{number(took)} s", ""),), (bar,))


def profile(sizes: Sizes) -> Part:
    net = networks.made(NETWORK, sizes.side, sizes.device)
    return Part(text="\n\n".join(f"{batch} at once\n{profiled(net, batch, sizes)}" for batch in (sizes.many, 1)))


def profiled(net: ph.Network, batch: int, sizes: Sizes) -> str:
    from torch.profiler import ProfilerActivity
    from torch.profiler import profile as watched

    ascent = climbs.ours(net, RECIPE, batch, 8)
    ascent.run(1)
    on_device = [ProfilerActivity.CUDA] if sizes.device == "cuda" else []
    with watched(activities=[ProfilerActivity.CPU, *on_device]) as found:
        ascent.run(8)
    key = "self_cuda_time_total" if on_device else "self_cpu_time_total"
    return str(found.key_averages().table(sort_by=key, row_limit=20, max_name_column_width=60))


PARTS: dict[str, Callable[[Sizes], Part]] = {"agreement": agreement, "speed": speed, "every": every, "profile": profile}


def measure(names: Sequence[str], sizes: Sizes) -> tuple[Measured, str]:
    """The section of RESULTS.md, and what is too long for it."""
    parts = {}
    for name in names:
        tell(f"device: {name}")
        parts[name] = PARTS[name](sizes)
    device = torch.cuda.get_device_name() if sizes.device == "cuda" else "No accelerator: the logic alone"
    text = f"{device}. {NETWORK} has random weights and {sizes.side} px; medians of {sizes.rounds} rounds, compiled of one."
    rows = tuple((name, *row) for name, part in parts.items() for row in part.rows)
    notes = tuple(note for part in parts.values() for note in part.notes)
    every_bar = tuple(bar for part in parts.values() for bar in part.bars)
    more = "".join(part.text for part in parts.values())
    return Measured(text, HEAD, rows, notes, every_bar, torch.get_num_threads()), more


def _row(program: str, batch: int, rate: float, count: int, rates: MatrixRate) -> Row:
    name = f"{program} {machine.version_of(PEER)}" if program == PEER else f"phosphene, {program}"
    figures = f"{number(rate)} pictures × steps/s, {number(1000 * batch / rate)} ms a step"
    return f"{name}, {batch} at once", figures, f"{rate * count / rates.limit(HALF):.1%}" if math.isfinite(rate) else "–"


def _opened(name: str, side: int, device: str) -> ph.Network:
    return ph.load(name, device=device) if name.startswith("demo:") else networks.made(name, side, device)


def _difference(first: Tensor, second: Tensor) -> float:
    return float((first - second).abs().max() / second.abs().max())


@contextmanager
def _exact() -> Iterator[None]:
    """Without TF32, whose ten bits torch lets convolutions of a GPU take for float32."""
    before = torch.backends.cudnn.allow_tf32
    torch.backends.cudnn.allow_tf32 = False
    try:
        yield
    finally:
        torch.backends.cudnn.allow_tf32 = before


def _of_the_peer(net: ph.Network, sizes: Sizes) -> Ascent:
    module = peers.FromPictures(copy.deepcopy(net.module), net.preprocess.forward).eval()

    def run(steps: int) -> object:
        return peers.torchbearer(module, [0], sizes.side, steps, sizes.device).cpu()  # which waits for the device

    return Ascent(1, run, sizes.steps)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        "python -m bench.device", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"{', '.join(PARTS)}; all of them where none is given")
    parser.add_argument("--check", action="store_true", help="exit status 1 where a bar is missed")
    parser.add_argument("--write", action="store_true", help=f"also into {results.FILE}, the profile beside it")
    parser.add_argument("--into", type=Path, default=Path(__file__).parent, help=f"the folder of {results.FILE}")
    parser.add_argument("--cpu", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args(arguments)
    if unknown := [part for part in given.parts if part not in PARTS]:
        parser.error(f"{unknown[0]} is no part; {', '.join(PARTS)} are")
    if not given.cpu and not torch.cuda.is_available():
        print("not run: torch sees no CUDA device on this machine")
        return 0
    about = machine.described()
    measured, text = measure(given.parts or list(PARTS), TINY if given.cpu else Sizes())
    words = ["python -m bench.device", *given.parts]
    words += [f"--{flag}" for flag in ("check", "write", "cpu") if getattr(given, flag)]
    said = results.section("device", measured, f"{datetime.now(UTC):%Y-%m-%d}", about, " ".join(words))
    print(f"{said}\n\n{text}", flush=True)
    if given.write:
        results.write(given.into, "device", said, ORDER)
        (given.into / "device-profile.txt").write_text(text, "utf-8")
    return judged(measured.bars) if given.check else 0


if __name__ == "__main__":
    sys.exit(main())
