"""`activations`: what a picture makes of every channel."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import phosphene as ph
from phosphene.errors import RequestError, UnknownNameError
from phosphene.inspection.activations import stages
from phosphene.results.activations import ChannelMaps, sparsity
from tests import nets


@pytest.fixture
def photo() -> Tensor:
    return torch.rand(1, 3, 32, 32, generator=torch.Generator().manual_seed(0))


def test_the_values_are_those_of_the_layer(standard: ph.Network, photo: Tensor) -> None:
    a = ph.activations(standard, photo, ["stage1.0", "stage3.0", "pool"])
    assert a.picture.equal(photo)
    for layer in ("stage1.0", "stage3.0"):
        torch.testing.assert_close(a[layer].values, standard.features(photo, layer)[0], rtol=1e-4, atol=1e-4)
    assert tuple(a["pool"].values.shape) == (256, 1, 1)


def test_by_default_the_last_layer_of_each_size_of_map(standard: ph.Network, photo: Tensor) -> None:
    assert stages(standard) == ("stage1", "stage2", "stage4")
    assert [one.layer for one in ph.activations(standard, photo).maps] == ["stage1", "stage2", "stage4"]


def test_a_run_of_a_shared_module_has_its_own_values() -> None:
    net = nets.network("functional")
    photo = torch.rand(1, 3, 12, 12)
    a = ph.activations(net, photo, ["relu@0", "relu@1"])
    torch.testing.assert_close(a["relu@0"].values, net.features(photo, "relu@0")[0])
    assert not a["relu@0"].values.equal(a["relu@1"].values)


def test_channels_are_ordered_by_the_mean_of_their_sizes(standard: ph.Network, photo: Tensor) -> None:
    one = ph.activations(standard, photo, "stage1.0.conv1")["stage1.0.conv1"]
    sizes = one.values.abs().mean((1, 2))
    assert list(one.order()) == sorted(range(32), key=lambda i: -float(sizes[i]))
    assert one.order("index") == tuple(range(32))


def test_sparsity_of_known_numbers() -> None:
    assert sparsity(torch.full((3, 4, 4), -2.0)) == 0.0
    assert sparsity(torch.zeros(8)) == 0.0
    assert sparsity(torch.eye(1, 50)) == pytest.approx(1.0)
    half = torch.tensor([1.0, 1.0, 0.0, 0.0])
    assert sparsity(half) == pytest.approx((1 - 0.25 / 0.5) / (1 - 0.25))


def test_depth_has_each_rectified_layer_once_in_the_order_of_running() -> None:
    torch.manual_seed(0)
    first = nn.Conv2d(3, 4, 3)
    body = nn.Sequential(first, nn.ReLU())
    module = nn.Sequential(body, nn.Conv2d(4, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(256, 2))
    with torch.no_grad():
        first.weight[1] = 0.0
        first.get_parameter("bias")[1] = -1.0
    net = ph.Network(module, ph.Preprocess(size=12))
    photo = torch.rand(1, 3, 12, 12)
    depth = ph.activations(net, photo, "0.1").depth
    assert [one.layer for one in depth] == ["0.1", "2"]  # "0" gives what "0.1" gave, "3" the same numbers as "2"
    for one in depth:
        given = net.features(photo, one.layer)[0]
        assert one.zeros == pytest.approx(float((given == 0).float().mean()))
        assert one.sparsity == pytest.approx(sparsity(given))
    assert depth[0].silent == 0.25


def test_depth_without_zeros_tells_every_layer() -> None:
    module = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Sigmoid(), nn.Flatten(), nn.Linear(400, 2))
    a = ph.activations(ph.Network(module, ph.Preprocess(size=12)), torch.rand(1, 3, 12, 12), "0")
    assert [one.layer for one in a.depth] == ["0", "1", "3"]
    assert a.depth_chart().width > 500


class Tokens(nn.Module):
    """A class token and one a patch, (b, 17, 6), as vision transformers have them."""

    def __init__(self) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, 6, 8, stride=8)
        self.mixed = nn.Linear(6, 6)
        self.head = nn.Linear(6, 4)

    def forward(self, x: Tensor) -> Tensor:
        tokens = self.patches(x).flatten(2).transpose(1, 2)
        tokens = self.mixed(torch.cat([tokens.mean(1, keepdim=True), tokens], 1))
        scores: Tensor = self.head(tokens[:, 0])
        return scores


def test_tokens_become_maps_and_the_class_token_is_told(photo: Tensor) -> None:
    torch.manual_seed(0)
    net = ph.Network(Tokens(), ph.Preprocess(size=32))
    a = ph.activations(net, photo, "mixed")
    tokens = net.features(photo, "mixed")[0]
    torch.testing.assert_close(a["mixed"].values[:, 1, 2], tokens[1 + 1 * 4 + 2], rtol=1e-4, atol=1e-5)
    assert a["mixed"].notes == ("mixed: 1 of 17 tokens are of no place and left out",)


def maps(values: Tensor) -> ChannelMaps:
    return ChannelMaps(values, "layer", "ReLU", "photo.png", (), ph.filters(ph.load("demo:standard"), "stem.0").record)


def test_the_name_of_the_picture_stands_last_in_the_title_since_it_may_be_cut(standard: ph.Network) -> None:
    found = ph.activations(standard, torch.rand(1, 3, 32, 32), "stem", image="folder/a.png")["stem"]
    assert found._title("own") == "demo:standard · stem, 32 channels, each on its own scale · a.png"


def test_tiles_are_grey_on_one_scale_or_each_on_its_own() -> None:
    one = maps(torch.stack([torch.full((2, 2), 4.0), torch.full((2, 2), 1.0), torch.zeros(2, 2)]))
    assert [one.tile(i).getpixel((0, 0)) for i in range(3)] == [255, 64, 0]
    assert [one.tile(i, scale="own").getpixel((0, 0)) for i in range(3)] == [255, 255, 0]
    assert one.silent == (2,)
    signed = maps(torch.tensor([[[2.0, -2.0, 0.0]]]))
    assert [signed.tile(0).getpixel((x, 0)) for x in range(3)] == [255, 0, 128]


def test_what_is_saved_is_what_was_found(standard: ph.Network, photo: Tensor, tmp_path: Path) -> None:
    a = ph.activations(standard, photo, "stage3.0", image="street.jpg")
    said = json.loads(a.save(tmp_path).read_text("utf-8"))
    (item,) = said["items"]
    assert np.array_equal(np.load(tmp_path / item["array"]), a.maps[0].values.numpy())
    assert (item["image"], item["order"]) == ("street.jpg", list(a.maps[0].order()))
    assert [one["layer"] for one in said["depth"]] == [one.layer for one in a.depth]
    assert (tmp_path / "depth.png").is_file()
    assert "<img" in a._repr_html_()


@pytest.mark.parametrize("habit", nets.HABITS)
def test_the_module_is_left_as_it_was(habit: str) -> None:
    net = nets.network(habit)
    before = {name: value.clone() for name, value in net.module.state_dict().items()}
    state = torch.get_rng_state()
    ph.activations(net, torch.rand(1, 3, 12, 12, generator=torch.Generator().manual_seed(0)))
    assert all(value.equal(before[name]) for name, value in net.module.state_dict().items())
    assert torch.get_rng_state().equal(state)
    assert net.module.training
    assert not any(part._forward_hooks for part in net.module.modules())


def test_a_picture_at_a_time_and_only_layers_that_are_there(standard: ph.Network, photo: Tensor) -> None:
    with pytest.raises(RequestError, match=r"photo is \(2, 3, 32, 32\); one picture, \(1, c, h, w\), is needed"):
        ph.activations(standard, photo.expand(2, -1, -1, -1))
    with pytest.raises(UnknownNameError, match=r"no layer 'stage9'; nearest: stage"):
        ph.activations(standard, photo, "stage9")
    with pytest.raises(RequestError, match=r"scale is 'each'; shared or own is needed"):
        ph.activations(standard, photo, "stem").tiles(scale="each")
    with pytest.raises(UnknownNameError, match=r"no layer 'stage2.0'; nearest: stem"):
        ph.activations(standard, photo, "stem").tiles("stage2.0")
