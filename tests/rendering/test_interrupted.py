"""Interrupted renders keep what is finished, and resumed ones give bit for bit what one call gives."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

import phosphene as ph
from phosphene.rendering.batches import Pace, TooLong
from phosphene.rendering.render import Stream, stream_renderings
from tests.nets import network

SIX = ph.Recipe("six", lr=0.05, steps=6, views=(ph.jitter(0.1), ph.noise(0.05)))
ALL = [f"logit:{i}" for i in range(5)]


class At:
    """Ctrl-C at one step of one batch; counts all steps."""

    def __init__(self, done: int = -1, step: int = 0) -> None:
        self.at, self.steps = (done, step), 0

    def on_step(self, done: int, items: int, step: int, steps: int, pictures: Tensor, values: Tensor) -> None:
        self.steps += 1
        if (done, step) == self.at:
            raise KeyboardInterrupt


class Last:
    """Keeps the pictures of one step."""

    def __init__(self, step: int) -> None:
        self.step, self.pictures = step, torch.empty(0)

    def on_step(self, done: int, items: int, step: int, steps: int, pictures: Tensor, values: Tensor) -> None:
        if step == self.step:
            self.pictures = pictures.clone()


def stream(net: ph.Network, *observers: At, recipe: ph.Recipe = SIX, batch: int = 2, **settings: Any) -> Stream:
    return stream_renderings(net, ALL, recipe, batch=batch, observers=observers, **settings)


def until_stopped(parts: Stream) -> tuple[list[ph.Rendering], Any]:
    finished: list[ph.Rendering] = []
    with pytest.raises(ph.Interrupted) as stopped:
        finished.extend(parts)
    return finished, stopped.value.partial


def test_pictures_that_were_being_rendered_come_with_a_note() -> None:
    net = network("plain")
    with pytest.raises(ph.Interrupted) as stopped:
        ph.render(net, ALL, recipe=SIX, batch=2, observers=[At(2, 4)])
    finished, rest = stopped.value.partial, stopped.value.unfinished
    assert [item.objective for item in finished.items] == ALL[:2]
    assert [(item.objective, item.finished, item.notes) for item in rest.items] == [
        (text, False, ("interrupted at step 4 of 6",)) for text in ALL[2:4]
    ]
    assert rest.history.isnan().any(1).tolist() == [False] * 4 + [True] * 2
    assert rest.records[0].environment["interrupted"] == "at step 4 of 6"
    fourth = Last(4)
    ph.render(net, ALL[2:4], recipe=SIX, batch=2, observers=[fourth])
    assert torch.equal(rest.pictures, fourth.pictures)


def test_interrupted_and_resumed_is_uninterrupted_bit_for_bit() -> None:
    net = network("plain")
    whole = torch.cat([part.pictures for part in stream(net)])
    first = stream(net, At(2, 4))
    finished, _ = until_stopped(first)
    counted = At()
    again = stream(net, counted)
    again.sizes, again.done = list(first.sizes), frozenset(range(2))
    assert torch.equal(torch.cat([part.pictures for part in (*finished, *again)]), whole)
    assert counted.steps == 12  # the first batch is skipped


def test_a_picture_left_out_within_a_batch_changes_no_other() -> None:
    net = network("plain")
    whole = torch.cat([part.pictures for part in stream(net)])
    some = stream(net)
    some.done = frozenset({2, 4})
    assert torch.equal(torch.cat([part.pictures for part in some]), whole[[0, 1, 3]])


def test_of_several_starts_the_same_are_kept_after_a_resume() -> None:
    net = network("plain")
    whole = torch.cat([part.pictures for part in stream(net, starts=2, batch=3)])
    first = stream(net, At(6, 3), starts=2, batch=3)
    finished, _ = until_stopped(first)
    again = stream(net, starts=2, batch=3)
    count = sum(map(len, finished))
    again.sizes, again.done = list(first.sizes), frozenset(range(count))
    assert torch.equal(torch.cat([part.pictures for part in (*finished, *again)]), whole)
    assert count == 3


def test_converged_pictures_are_finished() -> None:
    """The objective of logit:0 does not rise any more at so small a rate; that of a steeper one does."""
    recipe = SIX.replace(views=[], patience=1, optimiser="sgd", lr=1e-9, steps=50)
    first = stream(network("plain"), At(0, 10), recipe=recipe, batch=5)
    (_, part) = until_stopped(first)
    assert all(item.finished for item in part.items)
    assert part.history.isfinite().all()
    assert first.sizes == [5]


def first_steps(pace: Pace) -> None:
    """Of 16, 10 seconds each, of a batch of 8."""
    for step in range(1, 6):
        pace.on_step(0, 8, step, 16, torch.zeros(8, 1), torch.zeros(8))


def test_a_batch_that_would_take_long_is_made_smaller() -> None:
    with pytest.raises(TooLong) as stopped:
        first_steps(Pace(90, iter(range(0, 40, 10)).__next__))
    assert stopped.value.fits == 4
    first_steps(Pace(160, iter(range(0, 40, 10)).__next__))


def test_smaller_batches_are_of_one_size_and_known_to_who_resumes() -> None:
    parts = stream_renderings(network("plain"), ALL, SIX, seconds=1e-9)
    assert [len(part) for part in parts] == [1] * 5
    assert parts.sizes == [1] * 5
    again = stream_renderings(network("plain"), ALL, SIX, seconds=1e9)
    again.sizes, again.done = [2], frozenset({0, 1})
    assert [len(part) for part in again] == [2, 1]
