"""Deletion, insertion, drop and ROAD: curves that are known exactly, and what must not change them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import phosphene as ph
from phosphene.errors import Interrupted, RequestError
from phosphene.evaluation import RandomMap, average_drop, insertion_deletion, road, trust
from phosphene.evaluation.imputation import imputed
from phosphene.evaluation.removal import Watched, asked, order
from phosphene.evaluation.trust import MEASURES
from tests.attribution.linear import linear, pictures

SIDE = 6


class Share(nn.Module):
    """The score of the one class is log p/(1 − p) of the mean brightness p: the probability is the mean of all pixels."""

    def __init__(self, places: Tensor | None = None) -> None:
        super().__init__()
        self.weights = nn.Parameter(torch.full((SIDE, SIDE), 1.0) if places is None else places)

    def forward(self, x: Tensor) -> Tensor:
        p = (x.mean(1) * self.weights).mean((1, 2)).clamp(1e-6, 1 - 1e-6)
        return torch.log(p / (1 - p))[:, None]


def bright(places: Tensor | None = None) -> ph.Network:
    """Zero to the network is black."""
    return ph.Network(Share(places), ph.Preprocess(size=SIDE, mean=1e-9), ["light"])


def noise(count: int = 1, side: int = SIDE, seed: int = 0) -> Tensor:
    return torch.rand(count, 3, side, side, generator=torch.Generator().manual_seed(seed))


def test_deletion_and_insertion_of_a_mean_are_sums_over_the_order() -> None:
    picture = noise()
    level = picture.mean(1).flatten()
    found = insertion_deletion(
        bright(), picture, picture.mean(1), "logit:light", steps=SIDE**2, smoothing=0, deleted="mean", inserted="mean"
    )
    taken = torch.cat([torch.zeros(1), level.sort(descending=True).values.cumsum(0)]) / SIDE**2
    torch.testing.assert_close(found.inserted[0], taken, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(found.deleted[0], taken[-1] - taken, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(found.insertion[0] + found.deletion[0], taken[-1], atol=1e-5, rtol=1e-4)


def test_the_curves_begin_and_end_at_the_whole_picture_and_at_the_starts(standard: ph.Network) -> None:
    picture = noise(2, 32)
    found = insertion_deletion(standard, picture, "saliency", "logit:cat", steps=4)
    whole = standard.scores(picture).softmax(1)[:, 3]
    nothing = standard.scores(standard.preprocess.mean_picture()).softmax(1)[:, 3].expand(2)
    torch.testing.assert_close(found.deleted[:, 0], whole, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(found.inserted[:, -1], whole, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(found.deleted[:, -1], nothing, atol=1e-5, rtol=1e-4)
    assert found.shares.tolist() == [0, 0.25, 0.5, 0.75, 1]


def test_no_order_deletes_a_linear_objective_faster_than_its_own_contributions() -> None:
    net, _ = linear()
    given: dict[str, Any] = {"objective": "logit:one - logit:two", "steps": 54, "smoothing": 0, "inserted": "mean"}
    best = insertion_deletion(net, pictures(1), "gradient_x_input", **given)
    for seed in range(5):
        other = insertion_deletion(net, pictures(1), torch.rand(1, 6, 9), seed=seed, **given)
        assert bool((best.deleted <= other.deleted + 1e-4).all())
        assert bool((best.inserted >= other.inserted - 1e-4).all())


def test_an_objective_that_is_no_class_is_scaled_to_one_at_the_picture_and_to_nothing_at_the_mean() -> None:
    net, gradient = linear()
    picture = (0.5 + 0.01 * gradient[:1]).clamp(0, 1)
    found = insertion_deletion(net, picture, "gradient_x_input", "2*logit:one", steps=54, smoothing=0)
    contributions = (gradient[0] * (picture[0] - 0.5)).sum(0).flatten().sort(descending=True).values
    left = 1 - torch.cat([torch.zeros(1), contributions.cumsum(0)]) / contributions.sum()
    torch.testing.assert_close(found.deleted[0], left, atol=1e-4, rtol=1e-3)
    assert found.notes == ()


def test_an_objective_below_its_value_at_the_mean_is_said() -> None:
    net, gradient = linear()
    found = insertion_deletion(net, (0.5 - 0.01 * gradient[:1]).clamp(0, 1), "saliency", "2*logit:one", steps=2)
    assert found.notes == ("picture-1: 2.0*logit:one is not above its value at the mean picture",)


def test_only_the_order_of_a_map_counts() -> None:
    net, picture, values = bright(), noise(), torch.randn(1, SIDE, SIDE)
    for measured in (insertion_deletion, road):
        one, two = (measured(net, picture, maps, "logit:light", smoothing=0) for maps in (values, 5 + values.exp()))
        for name in ("deleted", "inserted") if measured is insertion_deletion else ("most", "least"):
            assert torch.equal(getattr(one, name), getattr(two, name))
    half = [average_drop(net, picture, maps, "logit:light", half=True, smoothing=0).drop for maps in (values, values.exp())]
    assert torch.equal(*half)


@pytest.mark.parametrize("smoothing", [0, 0.2])
def test_equal_places_go_in_an_order_that_no_map_chose(smoothing: float) -> None:
    first = order(torch.full((2, 10, 10), 3.3), smoothing, 0)
    assert torch.equal(first[0], first[1])
    line = (first[0].flatten() * 100).round().long()
    assert sorted(line.tolist()) == list(range(100))
    assert int((line[1:] > line[:-1]).sum()) < 80  # and not from the top left
    assert not torch.equal(first, order(torch.zeros(2, 10, 10), smoothing, 1))


def test_smoothed_maps_take_patches_away() -> None:
    noise = torch.rand(1, 28, 28, generator=torch.Generator().manual_seed(0))
    edges = [int((gone[:, 1:] != gone[:, :-1]).sum()) for gone in (order(noise, s, 0)[0] < 0.5 for s in (0, 1 / 7))]
    assert edges[1] < edges[0] / 4


def test_the_drop_of_a_mean_is_what_the_mask_hides() -> None:
    values = torch.zeros(1, SIDE, SIDE)
    values[0, :3], values[0, 3:] = 2.0, -1.0
    picture = torch.full((1, 3, SIDE, SIDE), 0.8)
    found = average_drop(bright(), picture, values, "logit:light")
    assert found.drop.item() == pytest.approx(0.5, abs=1e-4)
    assert (found.shown.item(), found.increased.item()) == (0.5, False)
    halves = average_drop(bright(), picture, torch.rand(1, SIDE, SIDE), "logit:light", half=True)
    assert halves.shown.item() == pytest.approx(0.5, abs=0.02)


def test_the_probability_grows_where_a_map_hides_what_speaks_against() -> None:
    places = torch.ones(SIDE, SIDE)
    places[3:] = -0.5
    values = (places > 0).float()[None]
    found = average_drop(bright(places), torch.full((1, 3, SIDE, SIDE), 0.8), values, "logit:light")
    assert (found.drop.item(), found.increased.item()) == (0.0, True)


def test_a_linear_field_is_imputed_exactly() -> None:
    y, x = torch.meshgrid(torch.arange(20.0), torch.arange(30.0), indexing="ij")
    field = torch.stack([0.1 + 0.02 * y, 0.9 - 0.01 * x - 0.01 * y])[None]
    gone = torch.zeros(1, 20, 30, dtype=torch.bool)
    gone[0, 3:17, 5:26] = True  # inside: at a border the mean of the neighbours leans inwards
    torch.testing.assert_close(imputed(field * ~gone, gone, 1e-7), field, atol=2e-5, rtol=0)


def test_imputation_solves_the_equations_of_its_source() -> None:
    """Directly, as a dense system."""
    picture, gone = noise(1, 9)[0, 0].double(), noise(1, 9, seed=1)[0, 0] < 0.7
    steps = {(a, b): 1 / 6 if 0 in (a, b) else 1 / 12 for a in (-1, 0, 1) for b in (-1, 0, 1) if (a, b) != (0, 0)}
    matrix, right = torch.eye(81, dtype=torch.double), picture.flatten().clone()
    for y, x in gone.nonzero().tolist():
        near = {(y + a, x + b): w for (a, b), w in steps.items() if 0 <= y + a < 9 and 0 <= x + b < 9}
        right[9 * y + x] = 0
        for (v, u), w in near.items():
            matrix[9 * y + x, 9 * v + u] = -w / sum(near.values())
    wanted = torch.linalg.solve(matrix, right).view(9, 9)
    torch.testing.assert_close(imputed(picture[None, None], gone[None], 1e-9)[0, 0], wanted, atol=1e-6, rtol=0)


def test_what_is_left_is_not_touched_and_neighbours_do_not_matter() -> None:
    several, gone = noise(3, 16), noise(3, 16)[:, 0] < torch.tensor([0.2, 0.6, 0.95]).view(3, 1, 1)
    filled = imputed(several, gone)
    assert torch.equal(filled.masked_select(~gone[:, None]), several.masked_select(~gone[:, None]))
    for i in range(3):
        torch.testing.assert_close(filled[i : i + 1], imputed(several[i : i + 1], gone[i : i + 1]), atol=1e-6, rtol=0)


def test_nothing_to_impute_from_is_refused() -> None:
    with pytest.raises(RequestError, match="every place of a picture is removed"):
        imputed(noise(), torch.ones(1, SIDE, SIDE, dtype=torch.bool))


def test_road_of_a_mean_with_flat_halves() -> None:
    """What is taken away from a flat half is filled in with that half: nothing falls while both are in sight."""
    picture = torch.zeros(1, 3, SIDE, SIDE)
    picture[..., :3] = 0.8
    found = road(bright(), picture, picture[:, 0], "logit:light", shares=(0.3,), smoothing=0, noise=0)
    assert abs(found.score.item()) < 0.05
    gone = road(bright(), picture, picture[:, 0], "logit:light", shares=(0.5,), smoothing=0, noise=0)
    torch.testing.assert_close(torch.cat([gone.most, gone.least]).flatten(), torch.tensor([0.0, 0.8]), atol=1e-3, rtol=0)
    assert gone.score.item() == pytest.approx(0.4, abs=1e-3)


def test_the_random_map_belongs_to_the_seed_and_the_picture() -> None:
    net, several = bright(), noise(3)
    drawn = ph.explain(net, several, method=RandomMap(), seed=4).values
    assert torch.equal(ph.explain(net, several[[2]], method=RandomMap(), seed=4).values, drawn[[2]])
    assert not torch.equal(drawn[0], drawn[1])
    assert not torch.equal(ph.explain(net, several, method=RandomMap()).values, drawn)
    assert float(drawn.min()) >= 0
    assert float(drawn.max()) < 1


def test_a_batch_says_what_singles_say(standard: ph.Network) -> None:
    several = noise(2, 32)
    settings: dict[str, Any] = {"methods": ["saliency", "grad_cam"], "stages": 1, "steps": 3, "shares": (0.5,)}
    whole = trust(standard, several, "logit:cat", **settings)
    each = [trust(standard, several[[i]], "logit:cat", **settings) for i in range(2)]
    joined = each[0].joined(each[1])
    torch.testing.assert_close(whole.values, joined.values, atol=1e-4, rtol=1e-3)
    for one, other in zip(whole.randomisation or (), joined.randomisation or (), strict=True):
        torch.testing.assert_close(one.rank, other.rank, atol=1e-3, rtol=0)
    assert whole.methods == joined.methods == ("saliency", "grad_cam", "random")


def test_maps_that_are_there_are_measured_as_their_methods_are(standard: ph.Network) -> None:
    several, methods = noise(2, 32), ["gradient"]
    settings: dict[str, Any] = {"methods": methods, "stages": 0, "steps": 1, "shares": (0.5,)}
    there = [ph.explain(standard, several, "logit:dog", method=name) for name in methods]
    one, two = (trust(standard, several, "logit:dog", heatmaps=maps, **settings) for maps in (None, there))
    torch.testing.assert_close(one.values, two.values, atol=1e-4, rtol=1e-3)
    assert one.randomisation is None
    with pytest.raises(RequestError, match=r"heatmaps are of \[2, 2\] maps; 1 of 2 are needed"):
        trust(standard, several, "logit:dog", heatmaps=[*there, *there], **settings)


def test_the_map_that_is_right_is_ranked_first_and_the_random_one_is_said_to_be_beaten() -> None:
    net, gradient = linear((12, 12))
    picture = (0.5 + 0.02 * gradient[:1] - 0.02 * gradient[1:]).clamp(0, 1)
    found = trust(net, picture, "logit:one - logit:two", methods=["gradient_x_input"], stages=0, smoothing=0)
    assert [found.methods[i] for i in found.ranked] == ["gradient_x_input", "random"]
    assert not any("no better than a random map" in text for text in found.findings)


@pytest.mark.lab
def test_of_a_real_network_a_random_map_is_last(lab: Path) -> None:
    weights = f"weights={lab}/mobilenet_v2_imagenet.safetensors"
    net = ph.load(f"{lab}/mobilenets.py:MobileNetV2?{weights}&classes={lab}/classes.json&size=224&mean=0.5&std=0.5")
    files = sorted((lab / "photos").glob("*.jpg"))[5:206:100]
    asked = [f"logit:{int(file.name[:4])}" for file in files]
    found = trust(net, [ph.read(file) for file in files], asked, methods=["cam"], stages=0, steps=6, shares=(0.5,))
    assert found.findings == ()
    assert [found.methods[i] for i in found.ranked] == ["cam", "random"]


def test_standard_errors_are_those_of_the_mean(standard: ph.Network) -> None:
    found = trust(standard, noise(3, 32), methods=["saliency"], stages=0, steps=1, shares=(0.5,))
    for measure in MEASURES:
        error = found.error(measure.name)
        assert error is not None
        torch.testing.assert_close(error, found.values[MEASURES.index(measure)].std(1) / 3**0.5)
    assert trust(standard, noise(1, 32), methods=["saliency"], stages=0, steps=1, shares=(0.5,)).error("road") is None


def test_ctrl_c_keeps_the_pictures_that_are_done(standard: ph.Network) -> None:
    def stop(done: int, total: int) -> None:
        assert total == 6
        if done == 3:
            raise KeyboardInterrupt

    with pytest.raises(Interrupted) as stopped:
        trust(standard, noise(3, 32), methods=["saliency"], stages=0, steps=2, shares=(0.5,), on_step=stop)
    assert stopped.value.partial.images == ("picture-1",)


def test_nothing_is_left_behind(standard: ph.Network) -> None:
    module = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2)).train()
    net = ph.Network(module, ph.Preprocess(size=12))
    before = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    state = torch.get_rng_state()
    with torch.no_grad():
        trust(net, noise(1, 12), methods=["guided_backprop", "cam"], steps=2, shares=(0.5,))
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(tensor, before[name]) for name, tensor in module.state_dict().items())
    assert all(weight.grad is None and weight.requires_grad for weight in module.parameters())
    assert all(part.training and not part._forward_hooks for part in module.modules())


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"steps": 0}, "steps is 0; 1 to 10000 is needed"),
        ({"smoothing": -1}, "smoothing is -1; 0 to 1 is needed"),
        ({"deleted": "noise"}, "start 'noise'; mean or blurred is needed"),
        ({"maps": torch.zeros(2, 6, 6)}, r"map is \(2, 6, 6\); a method's name, a Heatmap or \(1, h, w\), one per picture"),
        ({"maps": torch.full((1, 6, 6), torch.nan)}, "the maps hold NaN or infinite values"),
        ({"maps": "salience"}, "no method 'salience'; nearest: saliency"),
    ],
)
def test_what_cannot_be_measured_is_refused(changes: dict[str, object], words: str) -> None:
    given: dict[str, object] = {"maps": "saliency", "objective": "logit:light", **changes}
    with pytest.raises((RequestError, LookupError), match=words):
        insertion_deletion(bright(), noise(), **given)  # type: ignore[arg-type]  # wrong on purpose


@pytest.mark.parametrize("shares", [(), (0.0,), (0.5, 1.0)])
def test_shares_that_leave_or_take_nothing_are_refused(shares: tuple[float, ...]) -> None:
    with pytest.raises(RequestError, match="one or more, each above 0 and below 1, are needed"):
        road(bright(), noise(), "saliency", "logit:light", shares=shares)


def test_of_a_network_that_ends_in_sigmoid_its_own_output_is_watched() -> None:
    torch.manual_seed(0)
    module = nn.Sequential(nn.Flatten(), nn.Linear(3 * SIDE**2, 4), nn.Sigmoid()).eval()
    net = ph.Network(module, ph.Preprocess(size=SIDE))
    picture = noise(2)
    watched = Watched.of(asked(net, picture, ["logit:1", "logit:3"], None, 0, None))
    given = module(picture)
    torch.testing.assert_close(watched.whole, torch.stack([given[0, 1], given[1, 3]]).detach())


def test_each_map_of_a_batch_is_scaled_by_its_own_largest_value() -> None:
    pictures, values = noise(3, SIDE), torch.rand(3, SIDE, SIDE) * torch.tensor([1.0, 10.0, 0.1])[:, None, None]
    whole = average_drop(bright(), pictures, values, "logit:light")
    each = [average_drop(bright(), pictures[[i]], values[[i]], "logit:light") for i in range(3)]
    torch.testing.assert_close(whole.drop, torch.cat([one.drop for one in each]))
    torch.testing.assert_close(whole.shown, torch.cat([one.shown for one in each]))
