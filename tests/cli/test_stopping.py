"""Signals that end the program: they are Ctrl-C, once, and wait while files are written."""

from __future__ import annotations

import signal
import time

import pytest

from phosphene.cli.stopping import ENDING, as_ctrl_c, whole


@pytest.mark.parametrize("number", ENDING)
def test_a_signal_is_ctrl_c_once(number: int) -> None:
    before = [signal.getsignal(one) for one in ENDING]
    with as_ctrl_c() as came:
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(number)
        for one in ENDING:
            signal.raise_signal(one)  # while it saves
    assert came == [number]
    assert [signal.getsignal(one) for one in ENDING] == before


def test_a_signal_that_is_ignored_stays_so() -> None:
    before = signal.signal(signal.SIGTERM, signal.SIG_IGN)
    try:
        with as_ctrl_c() as came:
            signal.raise_signal(signal.SIGTERM)
        assert came == []
    finally:
        signal.signal(signal.SIGTERM, before)


@pytest.mark.parametrize("number", [signal.SIGINT, *ENDING])
def test_what_is_whole_is_done_first(number: int) -> None:
    done = []

    def save() -> None:
        with whole():
            signal.raise_signal(number)
            done.append("saved")
        done.append("not reached")

    with as_ctrl_c(), pytest.raises(KeyboardInterrupt):
        save()
    assert done == ["saved"]


class Stopped:
    def __del__(self) -> None:
        signal.raise_signal(signal.SIGTERM)


def test_an_interrupt_that_falls_into_a_destructor_is_not_lost() -> None:
    def run() -> None:
        Stopped()
        for _ in range(1000):
            time.sleep(0.01)

    with as_ctrl_c() as came:
        with pytest.raises(KeyboardInterrupt):
            run()
        assert came == [signal.SIGTERM]
