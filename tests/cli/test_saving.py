"""Saving goes on while the next batch is drawn: one after another, and what fails is not lost."""

from __future__ import annotations

import threading

import pytest

from phosphene.cli.making import Saving


def test_it_goes_on_beside_and_in_order() -> None:
    may, done = threading.Event(), []

    def first() -> None:
        assert may.wait(10)
        done.append(1)

    with Saving() as saving:
        saving.put(first)  # does not wait for it
        may.set()
        saving.put(lambda: done.append(2))
    assert done == [1, 2]


def test_what_fails_is_raised_at_the_next_batch_or_at_the_end() -> None:
    def fails() -> None:
        raise OSError("no space left on device")

    with Saving() as saving:
        saving.put(fails)
        with pytest.raises(OSError, match="no space"):
            saving.put(lambda: None)
        saving.put(fails)
        with pytest.raises(OSError, match="no space"):
            saving.wait()
        saving.wait()
