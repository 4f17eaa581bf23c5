"""The verbs: a tiny run of one, what each asks of its peers, and the command line."""

from __future__ import annotations

import math

import pytest
import torch
from bench.__main__ import command_of, main, parsed
from bench.arithmetic import FULL, HALF, MatrixRate
from bench.measured import Measured
from bench.render import Line
from bench.settings import Settings
from bench.verbs import VERBS, measured

import phosphene as ph
from bench import device, maps, peers, render
from tests import nets

QUICK = Settings(rounds=1, quick=True)


def rates(half: float) -> MatrixRate:
    made = MatrixRate(sides=(8,))
    made.best = made.laid = {HALF: half, FULL: half / 4}
    return made


def lines(many: float, one: float, peer: float | None, share: float = 0.5) -> list[Line]:
    return [
        Line("ResNet-50", "torchbearer", 1, peer, "" if peer else "torchbearer is not installed"),
        Line("ResNet-50", "natural-fast", 1, one),
        Line("ResNet-50", "natural-fast", 8, many, share=share),
    ]


def test_explain_beside_captum() -> None:
    pytest.importorskip("captum")
    found = measured("explain", QUICK)
    assert isinstance(found, Measured)
    assert [row[1].split()[0] for row in found.rows] == ["phosphene", "captum", "the"]
    (bar,) = found.bars
    assert bar.figure is not None
    assert bar.figure > 0


def test_a_peer_that_is_not_installed_has_a_row_and_no_ratio(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(peers.MODULES, "captum", "no_such_module")
    race = maps.Race("saliency", lambda net, some: lambda: None, {"captum": (maps.of_captum, 1.3)}, lambda module, one: 1)
    ran = maps.run(race, nets.network("plain", QUICK.side), QUICK, rates(1.0))
    assert "captum: not installed" in maps.rows(ran, rates(1.0))[1][1]
    assert [bar.held for bar in maps.bars("explain", ran)] == [None]


def test_render_is_raced_on_one_network() -> None:
    net = ph.Network(nets.plain(classes=1000), ph.Preprocess(size=QUICK.side))  # as many as the peers are told of
    raced = render.raced("plain", net, QUICK, MatrixRate(sides=(8,)), 10**6)
    assert {(line.program, line.batch) for line in raced if line.share} == {render.JUDGED[1:]}
    ours = {(line.program, line.batch) for line in raced if line.program in render.RECIPES}
    assert ours == {(recipe, batch) for recipe in render.RECIPES for batch in render.BATCHES}
    assert {line.program for line in raced} - set(render.RECIPES) == set(render.PEERS)


def test_render_is_held_to_the_machine_where_bfloat16_is_native() -> None:
    many, one, share = render.bars(lines(40.0, 20.0, 6.0, 0.4), HALF)
    assert [bar.bound for bar in (many, one, share)] == [5.5, 3.0, 65.0]
    assert [many.figure, one.figure, share.figure] == pytest.approx([40 / 6, 20 / 6, 40.0])


def test_render_has_a_lower_bar_where_bfloat16_is_not_native() -> None:
    many, one = render.bars(lines(20.0, 20.0, 6.0), FULL)
    assert (many.bound, one.bound) == (2.8, 3.0)


def test_without_torchbearer_the_share_alone_is_judged() -> None:
    held = [bar.held for bar in render.bars(lines(70.0, 20.0, None, 0.7), HALF)]
    assert held == [None, None, True]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["paint"], "paint is no verb; render,"),
        (["--rounds", "0"], "--rounds is 0"),
        (["--quick", "--check"], "--quick measures"),
    ],
)
def test_wrong_requests_are_refused_in_a_sentence(words: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as raised:
        main(words)
    assert raised.value.code == 2
    assert said in capsys.readouterr().err


def test_the_command_names_no_folder_of_the_machine() -> None:
    given = parsed(["render", "--site", "/some/where/peers", "--check"])
    assert command_of(given) == "python -m bench render --rounds 5 --site peers --check"


def test_the_help_names_every_verb() -> None:
    import bench.__main__

    assert bench.__main__.__doc__ is not None
    assert all(f"{verb}" in bench.__main__.__doc__ for verb in VERBS)


def test_the_device_is_held_to_the_quicker_of_plain_and_compiled() -> None:
    plain, compiled = "natural-fast", "natural-fast, compiled"
    found = {(plain, 256): 7000.0, (plain, 1): 300.0, (compiled, 256): 9600.0, (compiled, 1): math.nan}
    many, times, one = device.bars(found, device.Sizes())
    assert [many.held, times.held, one.held] == [True, None, False]
    assert one.figure == pytest.approx(1000 / 300)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a device")
def test_without_a_device_its_program_says_so_and_ends(capsys: pytest.CaptureFixture[str]) -> None:
    assert device.main([]) == 0
    assert capsys.readouterr().out == "not run: torch sees no CUDA device on this machine\n"
