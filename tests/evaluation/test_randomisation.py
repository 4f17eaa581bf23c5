"""Randomisation: what is random at each stage, how alike maps are, and what is said of methods that do not look at weights."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import pytest
import torch
from torch import Tensor, nn

import phosphene as ph
from phosphene.errors import ModelError, RequestError
from phosphene.evaluation import RandomMap, randomisation, trust
from phosphene.evaluation.randomisation import Randomisation, compared, randomised
from phosphene.evaluation.removal import asked, method_of, worth
from phosphene.evaluation.similarity import spearman, ssim
from phosphene.network.probe import tensors
from phosphene.results.method import Maps, Method
from phosphene.results.question import Question
from tests.attribution.linear import linear


@dataclass(frozen=True)
class Edges(Method):
    """The picture's own edges: the weights play no part."""

    @property
    def name(self) -> str:
        return "edges"

    def __call__(self, question: Question) -> Maps:
        grey = question.pictures.mean(1)
        return Maps((grey - grey.roll(1, 2)).abs())


def photo(count: int = 2, side: int = 32) -> Tensor:
    return torch.rand(count, 3, side, side, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("method", [Edges(), RandomMap()], ids=["edges", "random"])
def test_a_method_that_does_not_depend_on_the_weights_is_said_not_to(standard: ph.Network, method: Method) -> None:
    found = randomisation(standard, photo(), method=method, stages=2)
    assert found.rank.tolist() == [[1.0, 1.0]] * 2
    torch.testing.assert_close(found.ssim, torch.ones(2, 2, dtype=torch.double))
    assert (found.word, found.same) == ("ignores", True)
    assert found.verdict == f"{method.name} does not depend on the weights at all: its map is the same without them"


def test_guided_backprop_hardly_notices_that_the_head_is_gone_and_the_gradient_does(standard: ph.Network) -> None:
    guided, plain = (randomisation(standard, photo(), method=name, stages=2) for name in ("guided_backprop", "saliency"))
    assert guided.stages == plain.stages == ("classifier", "stem.0")
    assert float(guided.rank[:, 0].mean()) > 0.8
    assert float(plain.rank[:, 0].mean()) < 0.5
    assert guided.kept > 2 * plain.kept
    assert f"rank correlation {float(guided.rank[:, 0].mean()):.2f} with the map when classifier is random" in guided.verdict


def test_a_map_that_is_the_same_for_all_classes_is_said_to_be(standard: ph.Network) -> None:
    found = randomisation(standard, photo(1), method="eigen_cam", stages=2)
    torch.testing.assert_close(found.rank[0, 0], torch.tensor(1.0, dtype=torch.double))
    assert found.verdict.endswith("Without classifier it is the same map: it does not tell one class from another")


def test_a_linear_networks_map_is_its_shuffled_weights() -> None:
    net, gradient = linear()
    ((name, shuffled),) = randomised(net, 1, 0)
    after = ph.explain(shuffled, photo(1, 9)[:, :, :6], "logit:one", method="gradient").colour
    assert name == "1"
    assert after is not None
    std = torch.tensor(net.preprocess.stds).view(1, -1, 1, 1)
    both = [(g * std).flatten().sort().values for g in (gradient, torch.cat([after, _of_two(shuffled)]))]
    torch.testing.assert_close(*both)


def _of_two(net: ph.Network) -> Tensor:
    colour = ph.explain(net, photo(1, 9)[:, :, :6], "logit:two", method="gradient").colour
    assert colour is not None
    return colour


def test_weights_go_from_the_head_down_and_stay_gone(standard: ph.Network) -> None:
    every = list(randomised(standard, 4, 0))
    own = tensors(standard.module)
    weights = dict(standard.module.named_parameters())
    changed = [{n for n, t in tensors(net.module).items() if not torch.equal(t, own[n])} for _, net in every]
    assert changed[0] <= {"classifier.weight", "classifier.bias"}
    assert all(a < b for a, b in pairwise(changed))
    assert changed[-1] == {name for name, weight in weights.items() if len(weight.unique()) > 1}
    for _, net in every:
        after = tensors(net.module)
        assert all(torch.equal(after[n].flatten().sort().values, own[n].flatten().sort().values) for n in weights)


def test_the_same_seed_shuffles_alike_and_another_does_not(standard: ph.Network) -> None:
    one, two, other = (tensors(next(randomised(standard, 1, seed))[1].module) for seed in (0, 0, 1))
    assert all(torch.equal(one[name], two[name]) for name in one)
    assert not torch.equal(one["classifier.weight"], other["classifier.weight"])


def test_more_stages_than_layers_are_as_many_as_layers() -> None:
    net = ph.Network(nn.Sequential(nn.Conv2d(3, 2, 3), nn.Flatten(), nn.Linear(72, 3)), ph.Preprocess(size=8))
    assert [name for name, _ in randomised(net, 9)] == ["2", "0"]


def test_the_weights_of_a_container_go_with_its_first_module() -> None:
    class Placed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.places = nn.Parameter(torch.randn(3, 8, 8))
            self.first, self.last = nn.Conv2d(3, 2, 3), nn.Linear(72, 3)

        def forward(self, x: Tensor) -> Tensor:
            given: Tensor = self.last(self.first(x + self.places).flatten(1))
            return given

    assert next(randomised(ph.Network(Placed(), ph.Preprocess(size=8)), 9))[0] == "last"


def test_the_users_network_is_not_touched(standard: ph.Network) -> None:
    before = standard.sha256()
    randomisation(standard, photo(1), stages=2)
    assert standard.sha256() == before


def test_a_network_that_cannot_be_copied_is_refused_and_trust_says_so() -> None:
    class Single(nn.Linear):
        def __deepcopy__(self, memo: object) -> Single:
            raise TypeError("there is one of it")

    net = ph.Network(nn.Sequential(nn.Flatten(), Single(48, 2)), ph.Preprocess(size=4))
    with pytest.raises(ModelError, match=r"Sequential cannot be copied; randomisation needs a private copy"):
        randomisation(net, photo(1, 4))
    found = trust(net, photo(1, 4), methods=["saliency"], steps=2, shares=(0.5,))
    assert found.randomisation is None
    assert found.notes == (
        "no randomisation: Sequential cannot be copied; randomisation needs a private copy, as copy.deepcopy makes one",
    )


def test_a_network_without_weights_is_refused() -> None:
    class Mean(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x.mean((2, 3))

    with pytest.raises(ModelError, match="the network has no weights"):
        randomisation(ph.Network(Mean(), ph.Preprocess(size=4)), photo(1, 4))


@pytest.mark.parametrize("stages", [0, -1, 1.5, True])
def test_another_number_of_stages_is_refused(standard: ph.Network, stages: object) -> None:
    with pytest.raises(RequestError, match="stages is"):
        randomisation(standard, photo(1), stages=stages)  # type: ignore[arg-type]  # wrong on purpose


def test_rank_correlation_is_one_for_any_rising_function_and_minus_one_for_a_falling_one() -> None:
    maps = torch.randn(3, 5, 7)
    torch.testing.assert_close(spearman(maps, maps.exp()), torch.ones(3, dtype=torch.double))
    torch.testing.assert_close(spearman(maps, -(maps**3)), -torch.ones(3, dtype=torch.double))


def test_rank_correlation_with_ties_is_that_of_their_mean_ranks() -> None:
    a, b = torch.tensor([[[1.0, 2, 2, 4]]]), torch.tensor([[[3.0, 1, 2, 4]]])
    ranks = torch.stack([torch.tensor([1, 2.5, 2.5, 4]), torch.tensor([3.0, 1, 2, 4])])
    assert spearman(a, b).item() == pytest.approx(float(torch.corrcoef(ranks)[0, 1]))


def test_a_map_that_is_the_same_everywhere_is_like_itself_alone() -> None:
    flat, other = torch.full((1, 4, 4), 2.0), torch.rand(1, 4, 4)
    assert (spearman(flat, flat).item(), spearman(flat, other).item()) == (1.0, 0.0)


def test_structural_similarity_is_of_shapes_and_not_of_units() -> None:
    y, x = torch.meshgrid(torch.arange(40.0), torch.arange(40.0), indexing="ij")
    left, right = (torch.exp(-((y - 20) ** 2 + (x - at) ** 2) / 20)[None] for at in (10, 30))
    torch.testing.assert_close(ssim(left, 7 * left), torch.ones(1, dtype=torch.double))
    torch.testing.assert_close(ssim(left, right), ssim(right, left))
    assert ssim(left, left.roll(1, 2)) > 0.8 > ssim(left, right)
    assert ssim(left - 0.5, 0.5 - left) < 0


def test_maps_of_two_shapes_are_refused() -> None:
    with pytest.raises(RequestError, match=r"maps are \(1, 4, 4\) and \(1, 4, 5\)"):
        spearman(torch.rand(1, 4, 4), torch.rand(1, 4, 5))


def test_maps_that_differ_at_one_stage_alone_are_not_called_the_same(standard: ph.Network) -> None:
    question, method = asked(standard, photo(1), "logit:cat", None, 0, None), method_of("saliency")
    (other,) = (net for _, net in randomised(standard, 1))
    for nets in ([other, standard], [standard, other]):
        assert not compared(question, method, worth(question, method), [("all", net) for net in nets]).same
    assert compared(question, method, worth(question, method), [("none", standard)] * 2).same


@pytest.mark.parametrize(("kept", "word"), [(0.6, "hardly"), (0.4, "partly"), (0.2, "notices"), (-0.9, "notices")])
def test_a_word_says_how_much_of_a_map_is_kept_without_the_weights(kept: float, word: str) -> None:
    found = Randomisation("mine", ("head", "all"), torch.full((1, 2), kept), torch.zeros(1, 2), False)
    assert found.word == word
    assert found.kept == pytest.approx(max(kept, 0))
    assert word in found.verdict
    assert Randomisation("mine", ("all",), torch.ones(1, 1), torch.ones(1, 1), True).word == "ignores"
