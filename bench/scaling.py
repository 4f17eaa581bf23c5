"""`python -m bench scaling`: how the throughput of `render` depends on batch, size, classes and threads."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial

import torch

import phosphene as ph
from bench import climbs, networks
from bench.figure import Panel, Points, drawn
from bench.machine import cores
from bench.measured import Measured, number
from bench.settings import Settings
from bench.turns import Ascent, in_turns, seconds, tell

HEAD = ("against", "at", "network", "pictures × steps/s")
TEXT = """`natural-fast` on networks with random weights, medians of {rounds} rounds in which all points of a curve take turns.
Pictures × steps a second of the steady state, as in `render`: against pictures at once at {side} px; against the side of the
pictures, as many at once as fill eight of 224 px, 64 at most, 1 at least; against threads with {batch} at once. Classes are
whole calls, from the request to the pictures: {steps} steps of `pixels` on a {classes} of {small} px, 64 at once."""
NETWORKS, OF_CLASSES = ("ResNet-50", "MobileNetV2"), "ResNet-18"
UNIT = "pictures × steps a second"
PIXELS = 8 * 224 * 224  # of the pictures of a batch
PICTURE_STEPS = 96  # of 224 px, between the short run and the long one
Curve = list[tuple[float, float]]


def measure(settings: Settings) -> Measured:
    nets = {name: networks.made(name, settings.side) for name in settings.of(NETWORKS, NETWORKS[1:])}
    panels = [_batches(nets, settings), _sides(nets, settings), _classes(settings), _threads(nets, settings)]
    rows = [
        (panel.x, f"{x:,.0f}", name, number(y)) for panel in panels for name, points in panel.lines.items() for x, y in points
    ]
    batch, small = settings.of((8, 64), (2, 32))
    sizes = {"side": settings.side, "batch": batch, "small": small, "steps": settings.of(8, 1), "classes": OF_CLASSES}
    text = TEXT.format(rounds=settings.rounds, **sizes)
    picture = drawn(panels, "Throughput of render")
    return Measured(text, HEAD, tuple(rows), threads=torch.get_num_threads(), picture=picture)


def _batches(nets: dict[str, ph.Network], settings: Settings) -> Panel:
    sizes = settings.of([1, 2, 4, 8, 16, 32], [1, 2])
    lines = {name: _curve("batch", net, [(n, n, settings.side) for n in sizes], settings) for name, net in nets.items()}
    return Panel("Batch", "pictures at once", UNIT, lines)


def _sides(nets: dict[str, ph.Network], settings: Settings) -> Panel:
    sides = settings.of([64, 128, 224, 512, 1024], [32, 64])
    points = [(side, max(1, min(64, PIXELS // side**2)) if not settings.quick else 1, side) for side in sides]
    lines = {name: _curve("side", net, points, settings) for name, net in nets.items()}
    (x, y), *_ = lines[next(iter(lines))]
    ideal = "as many pixels a second", [(side, y * (x / side) ** 2) for side in sides]
    return Panel("Size", "side of the pictures, pixels", UNIT, lines, ideal, "xy")


def _threads(nets: dict[str, ph.Network], settings: Settings) -> Panel:
    counts = settings.of(_doubling(cores()), [1])
    batch = settings.of(8, 2)
    lines: dict[str, Points] = {}
    for name, net in nets.items():
        tell(f"scaling: threads, {name}")
        ascent = of(net, batch, settings.side, settings)
        measures = [partial(_with_threads, count, ascent) for count in counts]
        times = in_turns(measures, settings.rounds)
        lines[name] = [(count, ascent.rate(took)) for count, took in zip(counts, times, strict=True)]
    (x, y), *_ = lines[next(iter(lines))]
    ideal = "as many times as fast", [(count, y * count / x) for count in counts]
    return Panel("Threads", "threads", UNIT, lines, ideal, "")


def _classes(settings: Settings) -> Panel:
    tell("scaling: classes")
    side, steps = settings.of((64, 8), (32, 1))
    counts = settings.of([1, 10, 100, 1000], [1, 3])
    net = networks.made(OF_CLASSES, side)
    calls = [
        partial(ph.render, net, [f"logit:{i}" for i in range(count)], recipe="pixels", steps=steps, batch=64, frames=0)
        for count in counts
    ]
    for call in calls[:2]:
        call()  # what is made once is made now
    times = in_turns([partial(seconds, call) for call in calls], settings.rounds)
    curve = [(float(count), count * steps / took) for count, took in zip(counts, times, strict=True)]
    return Panel("Classes in one call", "class models", UNIT, {OF_CLASSES: curve})


def _curve(what: str, net: ph.Network, points: Sequence[tuple[float, int, int]], settings: Settings) -> Curve:
    """points: where it stands on the axis, pictures at once, their side."""
    tell(f"scaling: {what}, {net.name}")
    ascents = [of(net, batch, side, settings) for _, batch, side in points]
    times = in_turns([ascent.seconds_a_step for ascent in ascents], settings.rounds)
    return [(x, ascent.rate(took)) for (x, _, _), ascent, took in zip(points, ascents, times, strict=True)]


def of(net: ph.Network, batch: int, side: int, settings: Settings) -> Ascent:
    steps = max(2, round(PICTURE_STEPS * 224**2 / (batch * side**2)))
    return climbs.ours(net, "natural-fast", batch, settings.of(steps, 1), side=side)


def _doubling(most: int) -> list[int]:
    """1, 2, 4 … and the last."""
    return sorted({*(1 << k for k in range(most.bit_length())), most})


def _with_threads(count: int, ascent: Ascent) -> float:
    with _threads_set(count):
        return ascent.seconds_a_step()


@contextmanager
def _threads_set(count: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
