"""Batches: of nearly one size, no larger than the hardware likes and memory holds."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest
import torch

import phosphene as ph
from phosphene.network.room import free_bytes
from phosphene.rendering import batches
from phosphene.rendering.batches import batch_for
from tests.nets import made, network

PLENTY = 1 << 40


@pytest.fixture(autouse=True)
def plenty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batches, "free_bytes", lambda device: PLENTY)


@pytest.mark.parametrize(
    ("count", "size", "samples", "expected"),
    [
        (1000, (32, 32), 1, 63),
        (64, (32, 32), 1, 64),
        (65, (32, 32), 1, 33),
        (100, (224, 224), 1, 8),
        (9, (224, 224), 1, 5),
        (9, (224, 224), 4, 2),
        (3, (224, 224), 16, 1),
        (5, (4000, 4000), 1, 1),
    ],
)
def test_batches_are_of_nearly_one_size(count: int, size: tuple[int, int], samples: int, expected: int) -> None:
    assert batch_for(network("plain"), count, {""}, size, samples, half=False) == expected


def test_an_export_s_batch_is_filled() -> None:
    net = ph.Network(made("plain"), ph.Preprocess(size=12, mean=0.5, std=0.25), batch=10)
    assert batch_for(net, 1000, {""}, (32, 32), 1, half=False) == 60


def test_a_batch_is_no_larger_than_half_the_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    net = network("plain")
    each = net.kept_bytes({""}, (32, 32)) + 4 * batches.CANVAS * 3 * 32 * 32
    monkeypatch.setattr(batches, "free_bytes", lambda device: 10 * each)
    assert batch_for(net, 1000, {""}, (32, 32), 1, half=False) == 5
    monkeypatch.setattr(batches, "free_bytes", lambda device: 1)
    assert batch_for(net, 1000, {""}, (32, 32), 1, half=False) == 1
    monkeypatch.setattr(batches, "free_bytes", lambda device: None)
    assert batch_for(net, 64, {""}, (32, 32), 1, half=False) == 64


def test_memory_that_is_free_is_told() -> None:
    free = free_bytes(torch.device("cpu"))
    if free is None:
        pytest.skip("no /proc/meminfo here")
    assert 1 << 20 < free < 1 << 50


def test_what_is_kept_is_counted_once_and_grows_with_the_picture() -> None:
    """Of conv, relu, pool, conv, relu, mean: the input, two maps of rectifiers, the pooled map and where its maxima were."""
    net = network("plain")
    small, large = net.kept_bytes({""}, (16, 16)), net.kept_bytes({""}, (32, 32))
    assert 3.5 < large / small < 4.5
    maps = 4 * (8 * 32 * 32 + 12 * 16 * 16)
    assert maps < large < 3 * maps


PEAK = """
import sys
import phosphene as ph
from phosphene.rendering.render import settle, stream_renderings
{net}
for job in sys.argv[1:]:
    objectives, batch, steps = map(int, job.split(","))
    recipe = settle(net, "pixels", None, steps=steps)
    wanted = [{wanted} for i in range(objectives)]
    drawn = sum(len(part) for part in stream_renderings(net, wanted, recipe, batch=batch, frames=0))
    assert drawn == objectives
    # Not ru_maxrss, which a child process inherits from the one that started it.
    print(next(int(line.split()[1]) / 1024 for line in open("/proc/self/status") if line.startswith("VmHWM")))
"""
LARGE = PEAK.format(net='net = ph.load("demo:robust")', wanted='f"channel:stage4.0:{i % 64}"')
# Every objective another one, of a network so small that ten thousand take seconds.
MANY = PEAK.format(
    net="from tests.nets import network; net = network('plain', 36)", wanted="ph.neuron('0', i % 8, i // 8 % 36, i // 288)"
)


def peaks(script: str, *jobs: str) -> list[float]:
    """MiB at most in one process, after each job: "objectives,batch,steps"; the larger job comes last."""
    done = subprocess.run([sys.executable, "-c", script, *jobs], capture_output=True, text=True, check=True)
    return [float(line) for line in done.stdout.split()]


def test_memory_does_not_grow_with_steps() -> None:
    few, many = peaks(LARGE, "4,4,3", "4,4,15")
    assert many - few < 15


@pytest.mark.slow
def test_memory_grows_with_the_batch_alone() -> None:
    """The ratio is 2 of growth in proportion and 4 of growth with the square; the allocator moves it between 1.1 and 2."""
    one, two, four = (peaks(LARGE, f"{batch},{batch},3")[0] for batch in (64, 128, 256))
    assert 0.7 < (four - two) / (two - one) < 3


@pytest.mark.parametrize(("count", "bound"), [(4000, 40), pytest.param(10_000, 60, marks=pytest.mark.slow)])
def test_memory_does_not_grow_with_the_objectives(count: int, bound: int) -> None:
    """The pictures alone would be 52 MiB of 3,500 more objectives; the allocator moves the peak by some 10 MiB."""
    few, many = peaks(MANY, "500,64,1", f"{count},64,1")
    assert many - few < bound


def test_the_network_is_told_how_many_passes_are_left(monkeypatch: pytest.MonkeyPatch) -> None:
    """By batches: compiling pays only for many."""
    told: list[int] = []
    reading = ph.Network.reading

    def noted(self: ph.Network, *given: Any, **how: Any) -> Any:
        told.extend([how["passes"]] if "passes" in how else [])
        return reading(self, *given, **how)

    monkeypatch.setattr(ph.Network, "reading", noted)
    ph.render(network("plain"), [f"logit:{i}" for i in range(5)], recipe="pixels", steps=3, batch=2)
    assert told == [9, 6, 3]
