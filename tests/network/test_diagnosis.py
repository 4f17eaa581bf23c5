from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import phosphene as ph
from phosphene.network.diagnosis import Finding, diagnose
from tests.nets import HABITS, network, plain
from tests.network import traces

P = ph.Preprocess(size=12, mean=0.5, std=0.25)
GRADIENT = "class models can be drawn"
MIXING = "pictures do not mix in a batch"
REPEATS = "the same picture gives the same scores"
SIZES = "other sizes run (--size)"
NAMES = "class names are known"


def found(net: ph.Network) -> dict[str, Finding]:
    return {finding.question: finding for finding in diagnose(net)}


class After(nn.Module):
    """A sound network, with something done to its input or its scores."""

    def __init__(self, after: Callable[[Tensor], Tensor], before: Callable[[Tensor], Tensor] = lambda x: x) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.body, self.after, self.before = plain(), after, before

    def forward(self, x: Tensor) -> Tensor:
        return self.after(self.body(self.before(x)))


@pytest.fixture(autouse=True)
def _own_numbers() -> Any:
    with torch.random.fork_rng():
        yield


def test_the_demo_is_healthy(robust: ph.Network) -> None:
    assert {finding.verdict for finding in diagnose(robust)} == {"yes"}


def test_the_findings_say_what_they_rest_on(robust: ph.Network) -> None:
    findings = found(robust)
    assert "on pictures of 3×32×32" in findings["runs"].detail
    assert "mean 0.5, std 0.25, range 0, 1, rgb, bchw" in findings["preprocessing is known"].detail
    assert findings[NAMES].detail == "airplane, automobile, …"
    assert findings[SIZES].detail == "height×width 16×16, 64×64, 32×40"
    assert "exact, 0 as an upper bound, 0 have none" in findings["receptive fields are known"].detail


def test_a_finding_is_plain_data() -> None:
    assert Finding("q", "yes", "d").to_dict() == {"question": "q", "verdict": "yes", "detail": "d"}


@pytest.mark.parametrize("habit", HABITS)
def test_looking_leaves_nothing_behind(habit: str) -> None:
    net = network(habit)
    with traces.none_left(net.module):
        verdicts = {question: finding.verdict for question, finding in found(net).items()}
    assert verdicts[GRADIENT] == verdicts[MIXING] == verdicts[REPEATS] == "yes"


def test_a_softmax_at_the_end_is_found() -> None:
    findings = found(ph.Network(After(lambda s: s.softmax(1)), P, notes=["these are not raw scores"]))
    assert findings["gives raw scores"].verdict == "no"
    assert findings["gives raw scores"].detail.startswith("After ends in softmax")


def test_a_network_that_mixes_its_batch_is_found() -> None:
    finding = found(ph.Network(After(lambda s: s - s.mean(0)), P))[MIXING]
    assert finding.verdict == "no"
    assert "scores differ by" in finding.detail


def test_a_network_that_draws_lots_is_found() -> None:
    findings = found(ph.Network(After(lambda s: F.dropout(s, 0.5)), P))
    assert findings[REPEATS].verdict == "no"
    assert found(ph.Network(After(lambda s: s), P))[REPEATS].verdict == "yes"


@pytest.mark.parametrize(
    ("module", "words"),
    [
        (After(lambda s: s.detach()), "the output is detached from the picture"),
        (After(lambda s: s * 0), "is zero everywhere"),
        (After(lambda s: s, lambda x: x.round()), "is zero everywhere"),
        (After(lambda s: (s * 0).sqrt()), "is not finite"),
    ],
)
def test_a_network_without_a_gradient_is_found(module: nn.Module, words: str) -> None:
    finding = found(ph.Network(module, P))[GRADIENT]
    assert finding.verdict == "no"
    assert words in finding.detail


def test_a_gradient_that_reaches_some_pictures_is_found() -> None:
    gate = After(lambda s: s, lambda x: x * torch.tensor([1.0, 0.0, 1.0, 1.0])[: len(x)].view(-1, 1, 1, 1))
    finding = found(ph.Network(gate, P, batch=4))[GRADIENT]
    assert (finding.verdict, finding.detail) == ("partly", "the gradient reaches 3 of 4 noise pictures")


def test_a_network_of_one_size_is_found() -> None:
    finding = found(network("inplace"))[SIZES]
    assert (finding.verdict, finding.detail) == ("no", "only its own")


def test_assumed_preprocessing_is_found() -> None:
    finding = found(ph.Network(nn.Sequential(nn.MaxPool2d(8), *plain().children())))["preprocessing is known"]
    assert finding.verdict == "partly"
    assert "no size was given: 224 px was assumed" in finding.detail


def test_many_means_are_cut_short() -> None:
    net = ph.Network(plain(6), ph.Preprocess(size=12, channels=6, mean=(0, 1, 2, 3, 4, 5)))
    assert "mean 0, 1, 2, 3, …, std 1" in found(net)["preprocessing is known"].detail


@pytest.mark.parametrize(
    ("names", "verdict", "words"),
    [
        (None, "partly", "give classes=FILE"),
        (["a", "b", "a", "c", "b"], "partly", "a, b stand twice: give the index"),
        (["a", "b", "c", "d", "e"], "yes", "a, b, …"),
    ],
)
def test_names_are_known_numbered_or_double(names: list[str] | None, verdict: str, words: str) -> None:
    finding = found(ph.Network(plain(), P, names))[NAMES]
    assert finding.verdict == verdict
    assert words in finding.detail


def test_a_single_class_is_listed_alone() -> None:
    assert found(ph.Network(plain(classes=1), P, ["cat"]))[NAMES].detail.startswith("cat")


def test_modules_that_run_several_times_are_named() -> None:
    assert "; relu runs several times: relu@RUN" in found(network("functional"))["receptive fields are known"].detail
    relu = nn.ReLU()
    same = nn.Sequential(nn.Conv2d(3, 3, 1), relu, nn.Conv2d(3, 3, 1), relu)
    twice = nn.Sequential(same, same, nn.AdaptiveAvgPool2d(1), nn.Flatten())
    detail = found(ph.Network(twice, P))["receptive fields are known"].detail
    assert "more run several times: ADDRESS@RUN" in detail


def test_a_network_from_a_script_cannot_be_made_again_by_its_name() -> None:
    findings = found(ph.Network(plain(), P, name="a?b=c"))
    assert findings["pictures can be made again from their file"].verdict == "partly"
