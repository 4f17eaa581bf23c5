"""`filters`: the weights as they are, and the first layer's in picture space."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

import phosphene as ph
from phosphene.errors import RequestError, UnknownNameError
from phosphene.pictures import colourmap, contact_sheet, files
from phosphene.results.filters import _diverging, parted
from tests import nets


def of(*layers: nn.Module, classes: int = 3, **preprocess: object) -> ph.Network:
    torch.manual_seed(0)
    module = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.LazyLinear(classes))
    settings = {"size": 12, "mean": (0.4, 0.5, 0.6), "std": (0.1, 0.2, 0.4)} | preprocess
    p = ph.Preprocess(**settings)  # type: ignore[arg-type]  # as the test gives them
    with torch.no_grad():
        module(torch.rand(2, p.channels, *p.sides))
    return ph.Network(module, p)


def weight(net: ph.Network, address: str) -> Tensor:
    found = net.module.get_submodule(address).weight
    assert isinstance(found, Tensor)
    return found.detach()


def test_a_first_layer_is_given_per_unit_of_each_display_colour() -> None:
    net = of(nn.Conv2d(3, 4, 3), nn.ReLU())
    f = ph.filters(net, "0")
    gain = 1 / torch.tensor([0.1, 0.2, 0.4]).view(1, 3, 1, 1)
    assert f.colour
    torch.testing.assert_close(f.values, weight(net, "0") * gain)


def test_what_a_network_takes_as_bgr_bytes_is_shown_in_rgb() -> None:
    net = of(nn.Conv2d(3, 4, 3), nn.ReLU(), order="bgr", range=(0.0, 255.0), mean=(104.0, 117.0, 123.0), std=1.0)
    torch.testing.assert_close(ph.filters(net, "0").values, weight(net, "0").flip(1) * 255)


@pytest.mark.parametrize(
    "first",
    [
        nn.Conv2d(3, 4, 3, padding=1, stride=2),
        nn.Conv2d(3, 4, (3, 5), dilation=2, padding="same"),
        nn.Conv2d(3, 4, 4, stride=4),
        nn.Conv2d(3, 4, 3, padding=1, padding_mode="reflect"),
    ],
)
def test_stride_padding_and_dilation_leave_the_filters_as_they_are(first: nn.Conv2d) -> None:
    f = ph.filters(of(first, nn.ReLU(), mean=0.0, std=0.5), "0")
    assert f.colour
    torch.testing.assert_close(f.values, first.weight.detach() * 2)


def test_a_linear_step_of_the_networks_own_before_the_layer_counts() -> None:
    class Own(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return (x - 0.3) * 4

    net = of(Own(), nn.Conv2d(3, 4, 3), mean=0.0, std=1.0)
    torch.testing.assert_close(ph.filters(net, "1").values, weight(net, "1") * 4)


def test_a_layer_behind_a_rectifier_is_none_of_pictures() -> None:
    net = of(nn.Conv2d(3, 3, 1), nn.ReLU(), nn.Conv2d(3, 4, 3))
    f = ph.filters(net, "2")
    assert not f.colour
    torch.testing.assert_close(f.values, weight(net, "2"))


def test_without_a_layer_the_first_convolution_is_meant_and_of_a_block_its_first() -> None:
    net = ph.load("demo:standard")
    assert ph.filters(net).layer == "stem.0"
    f = ph.filters(net, "stage1.0")
    assert f.layer == "stage1.0.conv1"
    assert f.notes[0] == "stage1.0 is a block (BasicBlock): these are the filters of stage1.0.conv1"


def test_linear_layers_and_transposed_convolutions_have_filters_too() -> None:
    net = of(nn.Conv2d(3, 6, 3), nn.ReLU(), nn.ConvTranspose2d(6, 4, 3, groups=2))
    turned = ph.filters(net, "2")
    raw = weight(net, "2")  # (6, 2, 3, 3): outputs 0 and 1 read inputs 0 to 2
    assert tuple(turned.values.shape) == (4, 3, 3, 3)
    torch.testing.assert_close(turned.values[3, 1], raw[4, 1])
    torch.testing.assert_close(ph.filters(net, "5").values[:, :, 0, 0], weight(net, "5"))


@pytest.mark.parametrize("transposed", [False, True])
def test_kernels_of_signals_are_one_high_and_those_of_volumes_are_shown_in_slices(transposed: bool) -> None:
    class Both(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            one, three = (nn.ConvTranspose1d, nn.ConvTranspose3d) if transposed else (nn.Conv1d, nn.Conv3d)
            self.one, self.three = one(3, 4, 5), three(4, 6, (2, 3, 5))

        def forward(self, x: Tensor) -> Tensor:
            y: Tensor = self.three(self.one(x.flatten(2))[:, :, :240].view(len(x), 4, -1, 4, 5)).mean((2, 3, 4))
            return y

    net = ph.Network(Both().eval(), ph.Preprocess(size=16))
    one, three = (weight(net, address) for address in ("one", "three"))
    signal, volume = ph.filters(net, "one").values, ph.filters(net, "three").values
    assert (signal.shape, volume.shape) == ((4, 3, 1, 5), (6, 4, 3, 10))
    torch.testing.assert_close(signal[3, 1, 0], one[1, 3] if transposed else one[3, 1])
    torch.testing.assert_close(volume[5, 2, :, 5:], (three[2, 5] if transposed else three[5, 2])[1])


def test_dead_filters_and_duplicates_are_named() -> None:
    conv = nn.Conv2d(3, 6, 3)
    with torch.no_grad():
        conv.weight[2] = 0
        conv.weight[4] = 2.5 * conv.weight[1]
        conv.weight[5] = -conv.weight[1]
    f = ph.filters(of(conv, nn.ReLU(), std=1.0), "0")
    assert (f.dead, f.duplicates) == ((2,), ((1, 4),))
    assert f.notes == ("1 dead filter of 6: 2", "1 duplicate filter: 1 = 4")


def test_filters_of_different_groups_read_different_inputs_and_are_no_duplicates() -> None:
    same = torch.ones(4, 2, 3, 3)
    assert parted(same, 1)[1] == ((0, 1, 2, 3),)
    assert parted(same, 2)[1] == ((0, 1), (2, 3))
    assert parted(same, 4)[1] == ()


def test_all_tiles_share_one_scale() -> None:
    conv = nn.Conv2d(3, 2, 2)
    with torch.no_grad():
        conv.weight[0], conv.weight[1] = 1.0, 0.5
    f = ph.filters(of(conv, nn.ReLU(), mean=0.0, std=1.0), "0")
    assert f.tile(0).getpixel((0, 0)) == (255, 255, 255)
    assert f.tile(1).getpixel((0, 0)) == (191, 191, 191)
    assert f.tile(1, shared=False).getpixel((0, 0)) == (255, 255, 255)


def test_the_matrix_has_a_tile_per_filter_and_input() -> None:
    net = of(nn.Conv2d(3, 5, 3), nn.ReLU(), nn.Conv2d(5, 4, 3), nn.Conv2d(4, 6, 1))
    assert ph.filters(net, "2").matrix().size == (5 * 4 - 1, 4 * 4 - 1)
    assert ph.filters(net, "3").matrix().size == (4, 6)
    depthwise = ph.filters(of(nn.Conv2d(3, 6, 1), nn.ReLU(), nn.Conv2d(6, 6, 3, groups=6)), "2")
    assert tuple(depthwise.values.shape) == (6, 1, 3, 3)
    assert depthwise.tile(0).size == (48, 48)


@pytest.mark.parametrize("habit", nets.HABITS)
def test_the_module_is_left_as_it_was(habit: str) -> None:
    net = nets.network(habit)
    module = net.module
    before = {name: value.clone() for name, value in module.state_dict().items()}
    state = torch.get_rng_state()
    with torch.no_grad():
        ph.filters(net)
    assert all(value.equal(before[name]) for name, value in module.state_dict().items())
    assert torch.get_rng_state().equal(state)
    assert all(p.grad is None for p in module.parameters())
    assert module.training
    assert not any(part._forward_hooks for part in module.modules())


def test_what_has_no_filters_is_refused() -> None:
    net = ph.load("demo:standard")
    with pytest.raises(RequestError, match=r"layer 'stem.2' is ReLU, without filters; .* such as stem.0, is needed"):
        ph.filters(net, "stem.2")
    with pytest.raises(UnknownNameError, match=r"no layer 'stem.9'; nearest: stem"):
        ph.filters(net, "stem.9")


@pytest.mark.parametrize("channels", [1, 2, 3, 11])
def test_pictures_of_any_number_of_channels(channels: int) -> None:
    f = ph.filters(nets.of_channels(channels))
    assert f.colour
    assert f.values.shape[1] == channels
    assert f.sheet().width > 100


def test_what_is_saved_is_what_was_found(tmp_path: Path) -> None:
    f = ph.filters(ph.load("demo:standard"), "stem.0")
    said = json.loads(f.save(tmp_path).read_text("utf-8"))
    item = said["items"][0]
    assert np.array_equal(np.load(tmp_path / item["array"]), f.values.numpy())
    image, record = files.read_png(tmp_path / item["file"])
    assert image.tobytes() == f.image().tobytes()
    assert json.loads(record)["verb"] == "filters"
    assert (said["command"], item["shape"]) == ("filters", [32, 3, 5, 5])
    assert "<img" in f._repr_html_()


def test_levels_are_colours_from_the_lowest_to_the_highest() -> None:
    table = colourmap.diverging()
    assert torch.equal(_diverging(torch.tensor([[-1.0, 0.0, 1.0]]))[:, 0].T, table[[0, 128, 255]])


@pytest.mark.parametrize(("layer", "tiles"), [("0", 6), ("2", 6), ("3", 1)])
def test_a_sheet_has_a_tile_per_filter_where_one_tile_shows_it(monkeypatch: pytest.MonkeyPatch, layer: str, tiles: int) -> None:
    """Of pictures, or of one channel each; else it is the matrix."""
    counts: list[int] = []
    sheet = contact_sheet.contact_sheet

    def counted(given: list[contact_sheet.Tile], **how: Any) -> Image.Image:
        counts.append(len(given))
        return sheet(given, **how)

    monkeypatch.setattr(contact_sheet, "contact_sheet", counted)
    net = of(nn.Conv2d(3, 6, 3), nn.ReLU(), nn.Conv2d(6, 6, 3, groups=6), nn.Conv2d(6, 4, 1))
    ph.filters(net, layer).sheet()
    assert counts == [tiles]
