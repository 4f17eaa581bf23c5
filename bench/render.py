"""`python -m bench render`: class models beside torchbearer's and Lucent's, and beside what the machine can multiply."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field

import torch
from torch import Tensor

import phosphene as ph
from bench import climbs, networks, peers
from bench.arithmetic import FULL, HALF, NAMES, MatrixRate, of_a_step
from bench.aside import aside
from bench.machine import version_of
from bench.measured import Bar, Measured, Row, number, ratio
from bench.settings import Settings
from bench.turns import Ascent, in_turns, tell
from phosphene.network.prepared import HALF_FROM, native_half

HEAD = ("network", "program", "batch", "pictures × steps/s", "× torchbearer", "GFLOP/s", "of the limit")
TEXT = """Class models of networks with random weights, {side} px: pictures × steps a second of the steady state, a long run
less a short one, over the steps between; medians of {rounds} rounds in which all take turns. torchbearer and Lucent draw
one picture at a time, as their documentation does, in float32, each in a process of its own as its users have it; ours compute
in {kind}. The arithmetic is counted on the plain float32 network, forward and the gradient towards the picture, weights frozen.
The limit is what it allows at the best rate of square matrix products in the same run."""
NETWORKS = ("ResNet-50", "GoogLeNet", "MobileNetV2")
RECIPES, BATCHES = ("natural-fast", "pixels"), (1, 8, 16)
OURS, THEIRS = 128, 32  # pictures × steps between the short run and the long one: a few seconds of either
TARGET = 0  # any class
SINGLE, MANY, SHARE = 3.0, 5.5, 0.65  # the bars; MANY and SHARE where bfloat16 is native
MANY_IN_FULL = 2.8  # instead of MANY, where it is not
JUDGED = "ResNet-50", "natural-fast", 8  # what MANY and SHARE are of
PEERS: dict[str, Callable[..., Tensor]] = {"torchbearer": peers.torchbearer, "torch-lucent": peers.lucent}


@dataclass(frozen=True)
class Line:
    """One row of the table: rate in pictures × steps a second; why: where there is none; share: of the matrix rate."""

    network: str
    program: str
    batch: int
    rate: float | None
    why: str = ""
    share: float | None = None


@dataclass
class Beside:
    """An ascent between matrix products: their speed changes from minute to minute, so that its share is a round's own.

    count  operations of a picture and step
    """

    ascent: Ascent
    rates: MatrixRate
    count: int
    shares: list[float] = field(default_factory=list)

    def seconds_a_step(self) -> float:
        before = self.rates.sample()[HALF]
        taken = self.ascent.seconds_a_step()
        self.shares.append(self.ascent.rate(taken) * self.count / max(before, self.rates.sample()[HALF]))
        return taken


def measure(settings: Settings) -> Measured:
    rates = MatrixRate(sides=settings.of((1024, 2048, 4096), (256,)))
    lines, counted = [], {}
    for name in settings.of(NETWORKS, NETWORKS[2:]):
        tell(f"render: {name}")
        net = networks.made(name, settings.side)
        counted[name] = of_a_step(net.module, torch.rand(1, 3, settings.side, settings.side))
        lines += raced(name, net, settings, rates, counted[name])
    return told(lines, counted, rates, settings)


def raced(name: str, net: ph.Network, settings: Settings, rates: MatrixRate, count: int) -> list[Line]:
    """All on one network, in turns; each peer in a process of its own."""
    absent = {peer: why for peer in PEERS if (why := peers.missing(peer))}
    steps = settings.of(THEIRS, 1)
    module = peers.FromPictures(net.module, net.preprocess.forward).eval()
    with ExitStack() as apart:
        racing = {
            (peer, 1): apart.enter_context(aside(draw, module, TARGET, steps, settings))
            for peer, draw in PEERS.items()
            if peer not in absent
        }
        racing |= {
            (recipe, batch): climbs.ours(net, recipe, batch, settings.of(OURS // batch, 1))
            for recipe in RECIPES
            for batch in BATCHES
        }
        for ascent in racing.values():
            ascent.run(1)  # what is made once is made now
        judged = Beside(racing[JUDGED[1:]], rates, count)
        measures = racing | {JUDGED[1:]: judged}
        times = in_turns([ascent.seconds_a_step for ascent in measures.values()], settings.rounds)
    shares = {JUDGED[1:]: statistics.median(judged.shares)}
    found = [
        Line(name, program, batch, ascent.rate(taken), share=shares.get((program, batch)))
        for ((program, batch), ascent), taken in zip(racing.items(), times, strict=True)
    ]
    return [Line(name, peer, 1, None, why) for peer, why in absent.items()] + found


def told(lines: Sequence[Line], counted: dict[str, int], rates: MatrixRate, settings: Settings) -> Measured:
    limit = HALF if native_half(torch.device("cpu")) else FULL
    rows: list[Row] = []
    for name, count in counted.items():
        rows += [_row(line, lines, count, rates.limit(limit)) for line in lines if line.network == name]
        rows += [_limit(name, kind, count, rates, lines) for kind in NAMES]
    text = TEXT.format(
        side=settings.side,
        rounds=settings.rounds,
        kind=NAMES[limit if settings.side >= HALF_FROM else FULL],
    )
    work = ", ".join(f"{name} {number(count / 1e9)} GFLOP a picture and step" for name, count in counted.items())
    notes = str(rates), f"counted arithmetic: {work}", f"the last column is of the limit of {NAMES[limit]} matrices"
    return Measured(text, HEAD, tuple(rows), notes, bars(lines, limit), torch.get_num_threads())


def bars(lines: Sequence[Line], limit: torch.dtype) -> tuple[Bar, ...]:
    network, recipe, many = JUDGED
    peer = _found(lines, network, "torchbearer", 1)
    one, several = (_found(lines, network, recipe, batch) for batch in (1, many))
    if peer is None or one is None or several is None:  # a quick run has another network
        return ()
    native, what = limit == HALF, f"render, {network}, {recipe}"
    needed = MANY if native else MANY_IN_FULL
    made = [
        Bar(f"{what}, {many} at once", ratio(several.rate, peer.rate), needed, " × torchbearer", why=peer.why),
        Bar(f"{what}, a single picture", ratio(one.rate, peer.rate), SINGLE, " × torchbearer", why=peer.why),
    ]
    if native:
        of_mm = f"{what}, {many} at once, of torch.mm's {NAMES[limit]} rate beside it, median of rounds"
        made.append(Bar(of_mm, 100 * (several.share or math.nan), 100 * SHARE, " %"))
    return tuple(made)


def _row(line: Line, lines: Sequence[Line], count: int, limit: float) -> Row:
    program = f"{line.program} {version_of(line.program)}".strip() if line.program in PEERS else f"phosphene, {line.program}"
    if line.rate is None:
        return line.network, program, str(line.batch), line.why, "", "", ""
    peer = _found(lines, line.network, "torchbearer", 1)
    beside = ratio(line.rate, peer.rate if peer else None)
    figures = [number(line.rate), "" if beside is None else f"{beside:.2f}", number(line.rate * count / 1e9)]
    return line.network, program, str(line.batch), *figures, f"{line.rate * count / limit:.0%}"


def _limit(name: str, kind: torch.dtype, count: int, rates: MatrixRate, lines: Sequence[Line]) -> Row:
    peer = _found(lines, name, "torchbearer", 1)
    limit = rates.limit(kind)
    beside = ratio(limit / count, peer.rate if peer else None)
    figures = [number(limit / count), "" if beside is None else f"{beside:.2f}", number(limit / 1e9)]
    return name, f"the limit, {NAMES[kind]} matrices", "", *figures, ""


def _found(lines: Sequence[Line], network: str, program: str, batch: int) -> Line | None:
    wanted = network, program, batch
    return next((line for line in lines if (line.network, line.program, line.batch) == wanted), None)
