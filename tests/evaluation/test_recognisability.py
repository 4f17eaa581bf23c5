from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

import phosphene as ph
from phosphene.cli.app import main
from phosphene.evaluation.recognisability import spectrum_distance
from phosphene.rendering.spectral import phase

COLOURS = ("red", "green", "blue")


class Colourful(nn.Module):
    """Scores are ten times the mean of each channel."""

    def __init__(self) -> None:
        super().__init__()
        self.maps = nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        scores: Tensor = 10 * self.maps(x).mean((2, 3))
        return scores


@pytest.fixture
def judge() -> ph.Network:
    return ph.Network(Colourful(), ph.Preprocess(size=8), COLOURS, name="eye")


def flat(*colours: tuple[float, float, float]) -> Tensor:
    return torch.tensor(colours, dtype=torch.float32).view(-1, 3, 1, 1).expand(-1, 3, 16, 16)


def test_ranks_scores_and_probabilities_are_the_judges(judge: ph.Network) -> None:
    (said,) = ph.evaluation.recognisability(flat((1, 0, 0), (1, 0.6, 0)), ["red", "green"], [judge]).judgements
    assert said.ranks.tolist() == [1, 2]
    assert said.chosen == ("red", "red")
    torch.testing.assert_close(said.scores, torch.tensor([10.0, 6.0]))
    assert said.probabilities[1].item() == pytest.approx(math.exp(6) / (math.exp(10) + math.exp(6) + 1))
    assert (said.top(), said.top(1), said.top(2)) == (0.5, 0.5, 1.0)


def test_agreement_is_over_pictures_of_one_class(judge: ph.Network) -> None:
    pictures = flat((1, 0, 0), (1, 0, 0), (0, 1, 0), (0, 0, 1))
    found = ph.evaluation.recognisability(pictures, ["red", "red", "red", "blue"], [judge])
    assert found.agreement == pytest.approx(2 / 3)
    assert ph.evaluation.recognisability(pictures[:2], ["red", "blue"], [judge]).agreement is None


def test_the_nearest_real_picture_is_the_most_alike(judge: ph.Network) -> None:
    real = flat((0, 1, 0.1), (0.9, 0.1, 0))
    found = ph.evaluation.recognisability(flat((1, 0, 0), (0, 0.5, 0)), ["red", "green"], [judge], real=real)
    assert found.nearest is not None
    assert found.nearest.tolist() == [1, 0]


def test_pictures_of_natural_frequencies_are_nearer_than_noise_or_stripes() -> None:
    mean = torch.full((1, 3, 128, 128), 0.5)
    surface = phase(contrast=0.5).surface(mean)
    natural = surface.picture(surface.start(["a", "b"], 0, 0))
    noise = torch.rand((1, 3, 128, 128), generator=torch.Generator().manual_seed(0))
    stripes = (torch.arange(128) % 4 < 2).float().expand(1, 3, 128, 128)
    distance = spectrum_distance(torch.cat([natural, noise, stripes]))
    assert distance[:2].max() < 0.4
    assert distance[2:].min() > 2 * distance[:2].max()


def test_contrast_is_not_a_distance() -> None:
    picture = torch.rand((1, 3, 64, 64), generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(spectrum_distance(picture), spectrum_distance(0.3 * picture + 0.2), atol=1e-4, rtol=0)


@pytest.mark.parametrize(
    ("pictures", "classes", "words"),
    [
        (flat((1, 0, 0)), ["red", "blue"], "2 classes for 1 pictures"),
        (flat((1, 0, 0))[:0], ["red"], "pictures must hold pixels"),
        (flat((1, 0, 0)), ["violet"], "judge 'eye' does not know the class: no class 'violet'"),
    ],
)
def test_a_wrong_request_is_told(judge: ph.Network, pictures: Tensor, classes: list[str], words: str) -> None:
    with pytest.raises(ph.PhospheneError, match=words):
        ph.evaluation.recognisability(pictures, classes, [judge])


def test_without_judges_there_is_nothing_to_say() -> None:
    with pytest.raises(ph.PhospheneError, match="at least one network"):
        ph.evaluation.recognisability(flat((1, 0, 0)), ["red"], [])


def test_the_command_judges_what_a_command_drew(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["class-model", "-m", "demo:robust", "-c", "ship", "-c", "horse", "--steps", "40", "-o", str(tmp_path)]) == 0
    capsys.readouterr()
    assert main(["evaluate", "recognisability", str(tmp_path), "-j", "demo:standard", "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["judges"] == [{"judge": "demo:standard", "top1": 1.0, "top5": 1.0}]
    assert [row["class"] for row in said["pictures"]] == ["ship", "horse"]
    assert main(["evaluate", "recognisability", str(tmp_path), "-j", "demo:standard", "--real", str(tmp_path / "none")]) == 2
    capsys.readouterr()
    real = tmp_path / "real"
    real.mkdir()
    (tmp_path / "ship.png").rename(real / "ship.png")
    assert main(["evaluate", "recognisability", str(tmp_path), "-j", "demo:standard"]) == 2
    assert "ship.png" in capsys.readouterr().err


def test_a_folder_without_class_models_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["evaluate", "recognisability", str(tmp_path), "-j", "demo:standard"]) == 2
    assert "holds no run.json of class models" in capsys.readouterr().err


def test_pictures_that_differ_below_a_grey_level_are_judged_alike() -> None:
    judge = ph.Network(Colourful(), ph.Preprocess(size=8), COLOURS, name="eye")
    exact = torch.full((1, 3, 8, 8), 100 / 255)
    found = [ph.evaluation.recognisability(p, ["red"], [judge]).judgements[0] for p in (exact, exact + 0.3 / 255)]
    assert repr(found[0]) == repr(found[1])
