"""Compiling: only where it is repaid, and never an error."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

import phosphene as ph
from phosphene.network import compiling
from phosphene.network.compiling import Hastening

CPU, GPU = torch.device("cpu"), torch.device("cuda")
SHOWN = torch.rand(2, 3, 4, 4, generator=torch.Generator().manual_seed(0))


def reader(log: list[str], name: str, fails: bool = False) -> Any:
    def read(pictures: Tensor, wanted: Any, changes: Any = None, rows: Any = None) -> dict[str, Tensor]:
        if fails:
            raise RuntimeError("no compiler here\nat all")
        log.append(name)
        return {"": pictures.mean((2, 3)), "other": pictures}

    return read


@pytest.fixture
def ticking(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """A clock on which every pass takes so many seconds."""

    def set_to(seconds: float) -> None:
        now = iter(range(10**6))
        monkeypatch.setattr(time, "perf_counter", lambda: next(now) * seconds * (compiling.TIMED - compiling.WARM))
        monkeypatch.setattr(compiling, "_wait", lambda device: None)

    return set_to


@pytest.mark.parametrize(("seconds", "goes_over"), [(0.1, False), (1.0, True)])
def test_it_goes_over_once_what_is_left_repays_it(seconds: float, goes_over: bool, ticking: Callable[[float], None]) -> None:
    """256 passes of 0.1 s would be 7 s shorter, of 1 s 70 s: compiling takes about 60."""
    ticking(seconds)
    log: list[str] = []
    read = Hastening(reader(log, "plain"), lambda: reader(log, "compiled"), 256, "auto", GPU)
    for _ in range(20):
        read(SHOWN, {""})
    assert log[: compiling.TIMED] == ["plain"] * compiling.TIMED
    assert set(log[compiling.TIMED :]) == ({"compiled"} if goes_over else {"plain"})
    assert read.told == ("yes" if goes_over else "no")


@pytest.mark.parametrize(
    ("wanted", "device", "first"), [("auto", CPU, "plain"), ("off", GPU, "plain"), ("on", CPU, "compiled")]
)
def test_on_a_cpu_it_is_done_when_asked_for(wanted: Any, device: torch.device, first: str) -> None:
    log: list[str] = []
    read = Hastening(reader(log, "plain"), lambda: reader(log, "compiled"), 10**6, wanted, device)
    for _ in range(15):
        read(SHOWN, {""})
    assert set(log) == {first}


def test_what_fails_to_compile_is_read_as_before_and_said() -> None:
    log: list[str] = []
    read = Hastening(reader(log, "plain"), lambda: reader(log, "compiled", fails=True), 100, "on", CPU)
    assert read(SHOWN, {""})
    assert read(SHOWN, {""})
    assert log == ["plain", "plain"]
    assert read.told == "no: no compiler here"


def test_other_addresses_are_read_as_before() -> None:
    log: list[str] = []
    read = Hastening(reader(log, "plain"), lambda: reader(log, "compiled"), 100, "on", CPU)
    read(SHOWN, {"", "other"})
    read(SHOWN, {""}, {"other": torch.relu})
    assert log == ["plain", "plain"]


def test_a_word_that_is_none_is_refused(robust: ph.Network) -> None:
    with pytest.raises(ph.PhospheneError, match="compile 'maybe'"):
        ph.render(robust, "logit:cat", steps=1, compile="maybe")  # type: ignore[arg-type]


def test_the_record_says_what_was_used(robust: ph.Network) -> None:
    assert ph.render(robust, "logit:cat", steps=1).record.environment["compiled"] == "no"


def test_the_record_says_why_a_network_whose_layers_are_read_is_not_compiled(robust: ph.Network) -> None:
    asked = ph.render(robust, "logit:cat", recipe="natural", steps=1, compile="on")
    assert asked.record.environment["compiled"].startswith("no: layers are looked into")


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # the compiler's own
def test_a_compiled_network_draws_the_same(robust: ph.Network) -> None:
    quick = ph.render(robust, ["logit:cat", "logit:ship"], recipe="pixels", steps=8, compile="on")
    plain = ph.render(robust, ["logit:cat", "logit:ship"], recipe="pixels", steps=8, compile="off")
    assert quick.record.environment["compiled"] == "yes" or "compiler" in quick.record.environment["compiled"].lower()
    torch.testing.assert_close(quick.pictures, plain.pictures, atol=2e-3, rtol=0)
    assert robust.sha256() == ph.load("demo:robust").sha256()
