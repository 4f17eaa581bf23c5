"""The matrix of networks that draw and judge: its arithmetic, and a small one of two real networks."""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path

import pytest
import torch
from bench.recognise import CLASSES, Said, agreement, main, wilson

LAB = Path(os.environ.get("PHOSPHENE_LAB", "../shared/imagenet"))


def said(ranks: list[int], choices: list[int]) -> Said:
    return Said(torch.tensor(ranks), torch.tensor(choices), 0.5)


def test_the_interval_is_wilsons() -> None:
    """Against the roots of (p̂ − p)² = z² p (1 − p) / n, which define it."""
    for hits, count in ((0, 10), (8, 10), (86, 100), (100, 100)):
        for bound in wilson(hits, count):
            p = bound / 100
            assert (hits / count - p) ** 2 == pytest.approx(1.96**2 * p * (1 - p) / count, abs=1e-12)


def test_shares_and_agreement() -> None:
    one = said([1, 1, 4, 9], [0, 1, 2, 3])
    assert (one.top(1), one.top(5)) == (50, 75)
    assert str(one) == "50/75 (15–85)"
    assert agreement({"a": one, "b": said([1, 1, 1, 1], [0, 1, 2, 7])}) == 75
    assert agreement({"a": one, "b": one, "c": said([1, 1, 1, 1], [9, 9, 9, 9])}) == pytest.approx(100 / 3)


def test_classes_to_choose_on_are_not_those_reported() -> None:
    assert not {*CLASSES["tuning"]} & {*CLASSES["tenth"]}


@pytest.mark.slow
@pytest.mark.skipif(not LAB.is_dir(), reason="the laboratory's folder is not here")
@pytest.mark.skipif(importlib.util.find_spec("efficientnet_lite_pytorch") is None, reason="EfficientNet-Lite is not installed")
def test_a_small_matrix(capsys: pytest.CaptureFixture[str]) -> None:
    networks = ["--by", "lite0", "--judges", "lite0", "mobilenet_v1"]
    assert main(["natural-fast", *networks, "--classes", "tuning", "--count", "8", "--lab", str(LAB), "--check"]) == 0
    told = capsys.readouterr().out
    assert "EfficientNet-Lite0, top-1 less that of photographs" in told
