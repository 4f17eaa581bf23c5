from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.cli.conftest import Phosphene

SWEEP = "sweep logit:horse -m demo:robust --recipe pixels --steps 2 -o out"


def test_a_sweep_draws_every_combination_with_its_settings(phosphene: Phosphene) -> None:
    ran = phosphene(*SWEEP.split(), "--vary", "l2=0,0.05", "--vary", "blur=0,0.5,1")
    assert (ran.status, ran.out.partition(",")[0]) == (0, "6 pictures")
    items = json.loads(Path("out/run.json").read_text("utf-8"))["items"]
    assert items[1]["settings"] == "l2 0, blur 0.5"
    assert items[1]["file"] == "horse-l2-0-blur-0.5.png"
    assert len({item["score"] for item in items}) == 6


@pytest.mark.parametrize(
    ("vary", "words"),
    [
        (["l2"], "KEY=NUMBER"),
        (["l2=a"], "KEY=NUMBER"),
        (["l3=1"], "no setting 'l3'; nearest: l1, l2"),
        (["l2=0", "l2=1"], "varied twice"),
        (["l2=" + ",".join("1" * 401)], "up to 400"),
        (["l2=-1"], "weight of a prior"),
    ],
)
def test_a_wrong_sweep_is_answered_in_one_line(phosphene: Phosphene, vary: list[str], words: str) -> None:
    ran = phosphene(*SWEEP.split(), *(word for text in vary for word in ("--vary", text)))
    assert ran.status == 2
    assert words in ran.line
