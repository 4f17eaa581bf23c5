"""`--also-probability`: what the raw score draws beside what the softmax probability draws."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import phosphene as ph
from tests.cli.conftest import Phosphene


def test_both_pictures_stand_side_by_side(phosphene: Phosphene) -> None:
    ran = phosphene(*"class-model -m demo:robust -c cat -c ship --also-probability --steps 30 -o out".split())
    assert (ran.status, ran.out.partition(",")[0]) == (0, "4 pictures")
    items = json.loads(Path("out/run.json").read_text("utf-8"))["items"]
    assert [item["file"] for item in items] == ["cat.png", "probability-cat.png", "ship.png", "probability-ship.png"]
    assert [item["index"] for item in items] == [3, 3, 8, 8]
    assert items[1]["score"] == items[1]["probability"]


@pytest.mark.slow
def test_the_raw_score_grows_more_where_it_is_what_is_asked_for(robust: ph.Network) -> None:
    """The probability also grows when other scores fall: the class's own score stays lower (Simonyan et al. 2013)."""
    drawn = ph.render(robust, [f"{kind}:{name}" for name in robust.classes for kind in ("logit", "probability")], frames=0)
    scores = robust.scores(drawn.pictures).view(10, 2, 10)
    raw, certain = (scores[range(10), k, range(10)] for k in (0, 1))
    assert (raw > certain).float().mean() > 0.8


def test_a_probability_is_told_by_its_name(robust: ph.Network) -> None:
    (item,) = ph.render(robust, "probability:cat", steps=2).items
    assert item.label[0] == "cat, by probability"
