"""Features distributed as those of reference photographs: closed forms, and what an ascent makes of it."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

import phosphene as ph
from phosphene.pictures.colour import image_of
from phosphene.rendering.distributions import Distributions
from phosphene.rendering.recipe import find_recipe
from phosphene.rendering.settings import changed
from tests.nets import network

SIZE = (36, 36)


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Three of as many colours, red on the whole."""
    folder = tmp_path / "photos"
    folder.mkdir()
    for i in range(3):
        picture = 0.2 * torch.rand(3, *SIZE, generator=torch.Generator().manual_seed(i))
        picture[0] += 0.6
        image_of(picture).save(folder / f"{i}.png")
    return folder


def read(folder: Path) -> Tensor:
    return torch.cat([ph.read(path) for path in sorted(folder.iterdir())])


def given(net: ph.Network, pictures: Tensor, like: Distributions) -> dict[str, Tensor]:
    return {address: net.features(pictures, address) for address in like.targets}


def test_sorted_features_of_one_photograph_are_at_distance_zero_wherever_they_lie(photos: Path) -> None:
    """Of a convolution of one tap, moving pixels about moves features about and no more."""
    module = nn.Sequential(nn.Conv2d(3, 4, 1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2))
    net = ph.Network(module, ph.Preprocess(size=SIZE))
    like = Distributions.of(net, str(_only(photos)), SIZE, 1.0)
    assert like.count == 1
    picture = read(photos)
    moved = picture.flatten(2)[:, :, torch.randperm(SIZE[0] * SIZE[1], generator=torch.Generator().manual_seed(0))].view_as(
        picture
    )
    for one in (picture, moved):
        assert like.distance(given(net, one, like)).item() == pytest.approx(0, abs=1e-6)
    silent = {address: torch.zeros(1, 4, *SIZE) for address in like.targets}
    assert like.distance(silent).item() == pytest.approx(1)
    halves = {address: 0.5 * net.features(picture, address) for address in like.targets}
    assert like.distance(halves).item() == pytest.approx(0.25, rel=1e-4)


def _only(folder: Path) -> Path:
    for path in sorted(folder.iterdir())[1:]:
        path.unlink()
    return folder


def test_targets_are_the_mean_of_sorted_features_of_the_last_layer_of_each_size(photos: Path) -> None:
    net = network("plain", SIZE[0])
    like = Distributions.of(net, str(photos), SIZE, 1.0)
    sizes = [net.features(read(photos), address).shape[2:] for address in like.targets]
    assert len(set(sizes)) == len(sizes) > 1
    for address, target in like.targets.items():
        expected = torch.stack([net.features(one[None], address)[0].flatten(1).sort(1).values for one in read(photos)]).mean(0)
        torch.testing.assert_close(target, expected, rtol=1e-4, atol=1e-5)


def test_the_picture_gets_the_features_of_the_photographs_and_its_note(photos: Path) -> None:
    net = network("plain", SIZE[0])
    asked = {"recipe": ph.Recipe("r", lr=0.05, steps=40), "frames": 0}
    like = Distributions.of(net, str(photos), SIZE, 1.0)
    drawn = [
        ph.render(net, "logit:1", priors=priors, **asked)  # type: ignore[arg-type]
        for priors in ([], [ph.feature_distributions(1000.0, str(photos))])
    ]
    far, near = (float(like.distance(given(net, one.pictures, like))) for one in drawn)
    assert near < 0.2 * far
    assert drawn[1].items[0].notes[-1].startswith("drawn like 3 reference photographs: what it shows may be theirs")
    assert drawn[1].record.environment["like"].startswith("3 photographs, sha256 ")
    assert drawn[0].items[0].notes == ()


def test_a_picture_does_not_depend_on_its_neighbours(photos: Path) -> None:
    net = network("plain", SIZE[0])
    asked = {"recipe": "gorgun2025", "priors": [ph.feature_distributions(10.0, str(photos))], "steps": 5, "frames": 0}
    both = ph.render(net, ["logit:1", "channel:0:2"], **asked)  # type: ignore[arg-type]
    alone = ph.render(net, "channel:0:2", **asked)  # type: ignore[arg-type]
    torch.testing.assert_close(both.pictures[1], alone.pictures[0], atol=2e-3, rtol=0)


def test_a_dead_unit_is_told_beside_photographs(photos: Path) -> None:
    module = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2))
    with torch.no_grad():
        module[4].weight.zero_()  # type: ignore[operator]
    net = ph.Network(module, ph.Preprocess(size=SIZE))
    item = ph.render(net, "logit:1", priors=[ph.feature_distributions(like=str(photos))], steps=3, frames=0).items[0]
    assert any("a dead unit" in note for note in item.notes)


def test_photographs_are_asked_for_and_named_by_like(photos: Path) -> None:
    net = network("plain", SIZE[0])
    with pytest.raises(ph.PhospheneError, match="--like PHOTOS"):
        ph.render(net, "logit:1", recipe="gorgun2025", steps=1)
    found = changed(find_recipe("gorgun2025", (3, *SIZE)), f"like={photos}")
    assert found.distributions == ph.feature_distributions(1000.0, str(photos))
    added = changed(ph.Recipe("r"), f"like={photos}").distributions
    assert added is not None
    assert added.weight > 0
    assert ph.Recipe.from_dict(found.to_dict()) == found
    with pytest.raises(ph.PhospheneError, match="one FeatureDistributions at most, got 2"):
        ph.Recipe("r", priors=(ph.feature_distributions(like="a"), ph.feature_distributions(like="b")))


@pytest.mark.parametrize("like", ["nowhere", "empty", "broken"])
def test_photographs_that_cannot_be_had_are_one_sentence(tmp_path: Path, like: str) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "a.png").write_bytes(b"no picture")
    net = network("plain", SIZE[0])
    with pytest.raises(ph.PhospheneError) as told:
        ph.render(net, "logit:1", priors=[ph.feature_distributions(like=str(tmp_path / like))], steps=1)
    assert "\n" not in str(told.value)


def test_a_record_that_names_photographs_is_rerun_with_trust_alone(photos: Path, tmp_path: Path) -> None:
    net = ph.load("demo:robust")
    rendering = ph.render(net, "logit:cat", priors=[ph.feature_distributions(like=str(photos))], steps=2, frames=0)
    rendering.save(tmp_path / "out")
    with pytest.raises(ph.PhospheneError, match="--obey"):
        ph.rerun(tmp_path / "out" / "cat.png")
    assert ph.rerun(tmp_path / "out" / "cat.png", trust=True).identical


def test_layers_are_in_the_order_in_which_they_run_and_none_of_them_pads(photos: Path) -> None:
    """Every size of this network is a padding's first, as in networks with TensorFlow's weights."""
    pads = [nn.ZeroPad2d((0, 1, 0, 1)), nn.ReflectionPad2d((0, 1, 0, 1))]
    convolutions = [nn.Conv2d(3, 4, 3, 2), nn.Conv2d(4, 5, 3, 2)]
    head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(5, 2))
    net = ph.Network(nn.Sequential(pads[0], convolutions[0], pads[1], convolutions[1], head), ph.Preprocess(size=SIZE))
    assert [*Distributions.of(net, str(photos), SIZE, 1.0).targets] == ["1", "3"]
    assert [one.layer for one in ph.activations(net, read(photos)[:1]).maps] == ["1", "3"]
