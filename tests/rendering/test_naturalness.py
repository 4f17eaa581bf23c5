"""The distance of layer statistics: closed forms, its gradient, and what an ascent makes of it."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

import phosphene as ph
from phosphene.network.grid import Grid
from phosphene.network.statistics import QUIET
from phosphene.rendering import job
from phosphene.rendering.naturalness import Naturalness
from phosphene.rendering.render import settle
from phosphene.seeding import private_rng
from tests.network.test_prepared import Head, normed
from tests.network.test_statistics import PHOTOS, network

pytestmark = pytest.mark.filterwarnings("ignore:Lazy modules")


def of(net: ph.Network, weight: float = 1.0, **settings: int | None) -> Naturalness:
    found = net.statistics
    assert found is not None
    return Naturalness(found, net.layouts(found.layers), net.device, weight, **settings)  # type: ignore[arg-type]


def distance(net: ph.Network, pictures: Tensor, half: bool = False) -> Tensor:
    natural = of(net, positions=None)
    look = natural.look(even(natural, len(pictures)))
    with torch.no_grad(), net.reading(half=half) as read:
        read(pictures, {""}, look.changes)
    return look.close()


def even(natural: Naturalness, count: int) -> Tensor:
    return torch.full((count, len(natural.layers)), 1 / len(natural.layers))


def gaussian(mean: Tensor, deviation: Tensor, side: int = 12) -> Tensor:
    """(1, k, side, side) whose means and standard deviations over positions are exactly these."""
    noise = torch.randn(1, len(mean), side, side, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    noise = (noise - noise.mean((2, 3), keepdim=True)) / noise.std((2, 3), correction=0, keepdim=True)
    return noise * deviation.double()[:, None, None] + mean.double()[:, None, None]


def test_gaussian_features_have_the_distance_of_the_formula() -> None:
    """The network is a batch norm before all else, so that what it gives is a picture's own numbers, moved and scaled."""
    norm = nn.BatchNorm2d(3, eps=1e-12)
    norm.running_mean, norm.running_var = torch.tensor([0.5, 0.4, 0.3]), torch.tensor([0.04, 0.01, 0.09])
    net = ph.Network(network(norm).module.double(), ph.Preprocess(size=12))
    off, factor = torch.tensor([0.0, 1.0, -0.5]), torch.tensor([1.0, 2.0, 0.5])
    deviation = norm.running_var.sqrt()
    pictures = gaussian(norm.running_mean + off * deviation, factor * deviation)
    logs = ((factor.square() + QUIET) / (1 + QUIET)).log() / 2
    expected = (((off / 0.5).square() + (logs / 0.5).square()) / 2).mean().sqrt()
    torch.testing.assert_close(distance(net, pictures), expected.double().view(1), rtol=1e-6, atol=1e-6)
    still = gaussian(norm.running_mean, deviation)
    assert distance(net, still).item() == pytest.approx(0, abs=1e-6)


def test_photographs_have_a_mean_square_of_one_by_their_own_statistics() -> None:
    photos = [photo * (0.2 + 0.08 * i) for i, photo in enumerate(PHOTOS)]  # of more and less contrast
    net = network(nn.Conv2d(3, 6, 3))
    net = ph.Network(net.module, net.preprocess, statistics=ph.statistics(net, photos, "0"))
    squares = torch.cat([distance(net, photo) for photo in photos]).square()
    n = len(photos)
    assert squares.mean().item() == pytest.approx((n - 1) / n, rel=1e-3)


class Tokens(nn.Module):
    """A class token before others, channels last."""

    def __init__(self) -> None:
        super().__init__()
        self.patch, self.norm, self.head = nn.Conv2d(3, 6, 3, 3), nn.LayerNorm(6), nn.Linear(6, 5)

    def forward(self, x: Tensor) -> Tensor:
        tokens = self.patch(x).flatten(2).transpose(1, 2)
        tokens = torch.cat([tokens.mean(1, keepdim=True), tokens], 1)
        scores: Tensor = self.head(self.norm(tokens).square().mean(1))
        return scores


class ChannelsLast(Tokens):
    def forward(self, x: Tensor) -> Tensor:
        scores: Tensor = self.head(self.norm(self.patch(x).permute(0, 2, 3, 1)).square().mean((1, 2)))
        return scores


def inplace() -> nn.Module:
    return network(nn.Conv2d(3, 4, 3), normed(4), nn.ReLU(inplace=True), nn.Conv2d(4, 6, 3), normed(6)).module


KINDS: dict[str, Callable[[], nn.Module]] = {"inplace": inplace, "shortcut": Head, "tokens": Tokens, "last": ChannelsLast}


def measured(module: nn.Module) -> ph.Network:
    """In float64, with statistics of its batch norms or measured ones."""
    preprocess = ph.Preprocess(size=12, mean=0.5, std=0.25)
    net = ph.Network(module.double(), preprocess)
    if net.statistics is None:
        net = ph.Network(module, preprocess, statistics=ph.statistics(net, [p.double() for p in PHOTOS], "norm"))
    return net


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("positions", [None, 9])
def test_the_gradient_is_that_of_the_distance(kind: str, positions: int | None) -> None:
    torch.manual_seed(1)
    net, step = measured(KINDS[kind]()), 3
    natural = of(net, weight=2.0, positions=positions)
    shares = even(natural, 2) / 2
    pictures = torch.rand(2, 3, 12, 12, generator=torch.Generator().manual_seed(2), dtype=torch.float64)

    def ascended(x: Tensor) -> Tensor:
        look = natural.look(shares, step)
        with torch.no_grad(), net.reading() as read:
            scores = read(x, {""}, look.changes)[""]
        return scores[:, 1] - 2 * look.close()

    leaf = pictures.clone().requires_grad_(True)
    look = natural.look(shares, step)
    with net.reading() as read:
        total = read(leaf, {""}, look.changes)[""][:, 1].sum()
    look.close()
    with look.pulling():
        (gradient,) = torch.autograd.grad(total, leaf)
    for way in torch.randn(4, *pictures.shape, generator=torch.Generator().manual_seed(3), dtype=torch.float64):
        ahead, behind = ascended(pictures + 1e-6 * way), ascended(pictures - 1e-6 * way)
        torch.testing.assert_close((gradient * way).sum((1, 2, 3)), (ahead - behind) / 2e-6, rtol=1e-5, atol=1e-6)


def test_outside_pulling_the_gradient_is_the_objectives_own() -> None:
    net = ph.Network(Head(), ph.Preprocess(size=12))
    natural, leaf = of(net), PHOTOS[0].clone().requires_grad_(True)
    with net.reading() as read:
        (own,) = torch.autograd.grad(read(leaf, {""})[""].sum(), leaf)
        look = natural.look(even(natural, 1))
        total = read(leaf, {""}, look.changes)[""].sum()
        look.close()
        (again,) = torch.autograd.grad(total, leaf, retain_graph=True)
        with look.pulling():
            (pulled,) = torch.autograd.grad(total, leaf)
    torch.testing.assert_close(again, own)
    assert not torch.allclose(pulled, own, rtol=1e-2)


def test_folded_gives_what_unfolded_gives() -> None:
    module = Head().eval()
    net = ph.Network(module, ph.Preprocess(size=12, mean=0.5, std=0.25))
    pictures = torch.cat(PHOTOS[:3])
    assert "1 batch norms folded" in net.preparation({""})
    with torch.no_grad():
        maps = module.norm(module.conv(net.preprocess.forward(pictures)))
    found = net.statistics
    assert found is not None
    c = found.layers["norm"]
    logs = (maps.double().var((2, 3), correction=0) + c.floor).log() / 2
    off = ((maps.double().mean((2, 3)) - c.mean) / c.mean_spread).square() + ((logs - c.log) / c.log_spread).square()
    torch.testing.assert_close(distance(net, pictures).double(), (off.mean(1) / 2).sqrt(), rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(distance(net, pictures, half=True), distance(net, pictures), rtol=0.05, atol=0.02)


def test_a_picture_has_the_same_distance_among_others() -> None:
    net = ph.Network(Head(), ph.Preprocess(size=12))
    together = distance(net, torch.cat(PHOTOS[:4]))
    torch.testing.assert_close(together, torch.cat([distance(net, photo) for photo in PHOTOS[:4]]))


def test_layers_take_turns_and_all_have_one() -> None:
    net = ph.load("demo:robust")
    natural = of(net)
    seen = [tuple(natural.look(even(natural, 1), step).changes) for step in range(6)]
    found = net.statistics
    assert found is not None
    assert sorted(address for some in seen[:3] for address in some) == sorted(found.layers)
    assert {len(some) for some in seen} == {len(found.layers) // 3}
    assert seen[:3] == seen[3:]


@pytest.mark.parametrize("size", [(12, 12), (13, 7), (1, 90), (40, 2), (1, 1)])
def test_every_position_is_looked_at_in_its_turn(size: tuple[int, int]) -> None:
    """Also where rows are taken in threes, as layers are."""
    natural = of(ph.load("demo:robust"))
    layer = replace(natural.layers[0], grid=Grid("bkhw", size), stride=3)
    given, seen = torch.arange(size[0] * size[1]).view(1, 1, *size), []
    for step in range(0, 9 * natural.turns, natural.turns):
        assert natural.layers[0].address in natural.look(even(natural, 1), step).changes
        seen += layer.window(given, step // natural.turns).flatten().tolist()
    assert {*seen} == {*range(size[0] * size[1])}


def test_turns_and_windows_add_up_to_the_whole() -> None:
    """Over as many steps as there are turns and offsets each layer is looked at everywhere; the mean distance is about that of
    all at once."""
    net = ph.load("demo:robust")
    pictures = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(7))
    natural, found = of(net, positions=100), []
    for step in range(48):
        look = natural.look(even(natural, 2), step)
        with torch.no_grad(), net.reading() as read:
            read(pictures, {""}, look.changes)
        found.append(look.close())
    torch.testing.assert_close(torch.stack(found).mean(0), distance(net, pictures), rtol=0.05, atol=0)


def test_layers_share_what_depends_on_them_alone() -> None:
    net = ph.load("demo:robust")
    natural = of(net)
    with net.reading() as read:
        part, whole = (natural.shares(read, torch.rand(1, 3, 32, 32), {wanted}) for wanted in ("stage1.0", ""))
    addresses = [layer.address for layer in natural.layers]
    assert [a for a, share in zip(addresses, part.tolist(), strict=True) if share] == ["stem.1", "stage1.0.bn1", "stage1.0.bn2"]
    torch.testing.assert_close(part[:3], torch.full((3,), 1 / 3))
    torch.testing.assert_close(whole, torch.full_like(whole, 1 / len(whole)))


def test_penalised_pictures_come_nearer_to_photographs() -> None:
    net = ph.load("demo:robust")
    priors = {"without": [], "with": [ph.layer_statistics(10)]}
    drawn = {
        name: ph.render(net, ["logit:cat", "channel:stage2.0:3"], recipe="pixels", priors=some, steps=40, frames=0)
        for name, some in priors.items()
    }
    far = {name: distance(net, r.pictures) for name, r in drawn.items()}
    assert bool((far["with"] < 0.9 * far["without"]).all())
    assert drawn["with"].record.environment["statistics"].startswith("18 batch norms, sha256 ")
    assert "statistics" not in drawn["without"].record.environment
    shares = drawn["with"].attribution
    assert shares is not None
    torch.testing.assert_close(shares.sum((1, 2)), torch.ones(2))


def test_the_distance_is_told_of_every_recipe_and_a_large_one_noted() -> None:
    net = ph.load("demo:robust")
    rendering = ph.render(net, ["logit:cat", "logit:ship"], recipe="simonyan2013", steps=3, frames=0)
    expected = distance(net, rendering.pictures)
    torch.testing.assert_close(torch.tensor([item.distance for item in rendering.items]), expected, rtol=1e-4, atol=1e-4)
    wild = ph.render(net, "logit:cat", recipe=ph.Recipe("r", steps=2, lr=5.0), frames=0).items[0]
    assert wild.distance is not None
    assert wild.distance > 1.5
    assert wild.notes[-1].startswith(f"score {wild.score:.3g}, but unlike photographs: its layers are {wild.distance:.1f} from")
    assert ph.render(network(nn.Conv2d(3, 4, 3)), "logit:1", steps=1, frames=0).items[0].distance is None


def test_the_note_names_the_depth_that_is_least_like_photographs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the layers that the objective depends on: of a shallow channel those up to its own."""
    monkeypatch.setattr(job, "UNLIKE", 0.0)
    net = ph.load("demo:robust")
    rendering = ph.render(net, ["logit:cat", "channel:stage2.0:3"], recipe="pixels", steps=2, frames=0)
    natural = of(net, positions=None)
    look = natural.look(even(natural, 2))
    with torch.no_grad(), net.reading() as read:
        read(rendering.pictures, {""}, look.changes)
    look.close()
    addresses = [layer.address for layer in natural.layers]
    shallow = next(i for i, address in enumerate(addresses) if address.startswith("stage2.1"))
    assert 1 < shallow < len(addresses) == 18
    for item, distances, count in zip(rendering.items, look.distances, (18, shallow), strict=True):
        most = int(distances[:count].argmax())
        said = f"most of all at depth {most + 1} of {count}, {addresses[most]}: {float(distances[most]):.1f}"
        assert item.notes[-1].endswith(said)


def test_a_picture_does_not_depend_on_its_neighbours() -> None:
    net = ph.load("demo:robust")
    asked = {"recipe": "pixels", "priors": [ph.layer_statistics(10)], "steps": 6, "frames": 0}
    together = ph.render(net, ["logit:cat", "channel:stage1.0:3"], **asked).pictures  # type: ignore[arg-type]
    alone = ph.render(net, "channel:stage1.0:3", **asked).pictures  # type: ignore[arg-type]
    torch.testing.assert_close(together[1:], alone, rtol=0, atol=1e-3)


def test_who_goes_on_when_others_have_converged_keeps_its_own_layers() -> None:
    net = ph.load("demo:robust")
    asked = {
        "priors": [ph.layer_statistics(10)],
        "frames": 0,
        "recipe": ph.Recipe("r", lr=0.05, steps=60, patience=5, samples=2),
    }
    objectives = ["channel:stage1.0:3", "logit:cat", "channel:stage1.0:9"]
    together = ph.render(net, objectives, **asked)  # type: ignore[arg-type]
    assert any("converged" in note for item in together.items for note in item.notes)
    for i, one in enumerate(objectives):
        alone = ph.render(net, one, **asked)  # type: ignore[arg-type]
        torch.testing.assert_close(together.pictures[i], alone.pictures[0], rtol=0, atol=5e-3)
        assert together.items[i].distance == pytest.approx(alone.items[0].distance, rel=1e-2)


@pytest.mark.parametrize("channels", [1, 4])
@pytest.mark.parametrize("recipe", ["natural", "natural-fast"])
def test_networks_of_other_channels_are_rendered_with_their_statistics(channels: int, recipe: str) -> None:
    net = network(nn.Conv2d(channels, 6, 3), normed(6), nn.ReLU(), channels=channels)
    rendering = ph.render(net, "logit:1", recipe=recipe, steps=3, frames=0, size=16)
    assert rendering.record.environment["statistics"].startswith("1 batch norms")


@pytest.mark.parametrize("canvas", ["pixels", "fourier", "phase"])
def test_every_canvas_takes_it(canvas: str) -> None:
    net = ph.load("demo:robust")
    rendering = ph.render(net, "logit:cat", recipe="natural-fast", canvas=canvas, steps=3, frames=0)  # type: ignore[arg-type]
    assert "statistics" in rendering.record.environment


def test_networks_without_statistics_are_rendered_without_or_refused() -> None:
    net = network(nn.Conv2d(3, 6, 3), nn.ReLU())
    rendering = ph.render(net, "logit:1", recipe="natural-fast", steps=3, frames=0)
    assert rendering.record.recipe["priors"] == []
    assert rendering.record.recipe["samples"] == 1
    assert ph.render(net, "logit:1", recipe="natural", steps=1, frames=0).record.recipe["samples"] == 4
    with pytest.raises(ph.PhospheneError, match="layer_statistics: Sequential must have statistics of its layers"):
        ph.render(net, "logit:1", priors=[ph.layer_statistics()], steps=3)


def test_a_dead_unit_is_still_told() -> None:
    module = Head()
    with torch.no_grad():
        module.last.weight[2] = 0
    net = ph.Network(module, ph.Preprocess(size=12))
    (item,) = ph.render(net, "logit:2", recipe="natural-fast", steps=20, frames=0).items
    assert item.notes[0] == "the gradient is zero at all 7 starts: a dead unit, the picture says nothing of it"


def test_the_users_module_and_random_numbers_are_left_alone() -> None:
    module = inplace()
    net = ph.Network(module, ph.Preprocess(size=12))
    before = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    with private_rng(3):
        state = torch.get_rng_state()
        ph.render(net, "logit:2", recipe="natural-fast", steps=3, frames=0)
        assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(tensor, before[name]) for name, tensor in module.state_dict().items())
    assert not any(part._forward_hooks for part in module.modules())


def test_layer_statistics_alone_has_no_penalty_of_a_picture() -> None:
    with pytest.raises(ph.PhospheneError, match="is of what layers give"):
        ph.layer_statistics()(PHOTOS[0])
    assert (2 * ph.layer_statistics(3)).weight == 6
    assert math.isclose(ph.Recipe("r", priors=(ph.layer_statistics(3), ph.l2())).layers_weight, 3)


def test_small_networks_that_learned_from_photographs_are_drawn_with_their_spectrum() -> None:
    for name in ("demo:standard", "demo:robust"):
        net = ph.load(name)
        drawn = {size: settle(net, "auto", size).name for size in (23, (20, 40), 24, 32, (40, 95), 96)}
        assert drawn.pop(23) == drawn.pop((20, 40)) == "pixels"
        assert set(drawn.values()) == {"natural"}


def test_small_networks_that_learned_from_something_else_are_not() -> None:
    """Not by batch norms that have seen nothing yet, by those of darker and flatter pictures, or without statistics."""
    untrained = ph.Network(ph.load("demo:robust?weights=none").module, ph.Preprocess(size=32))
    other = ph.load("demo:robust")
    first = next(part for part in other.module.modules() if isinstance(part, nn.BatchNorm2d))
    assert first.running_var is not None
    with torch.no_grad():
        first.running_var.mul_(0.01)
    for net in (untrained, other, network(nn.Conv2d(3, 4, 3))):
        assert settle(net, "auto", 32).name == "pixels"
    assert settle(other, "natural", 32).name == "natural"
