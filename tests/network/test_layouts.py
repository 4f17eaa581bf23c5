"""Where a layer's channels are, and whether its first axis is the image: one answer for all who ask."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

import phosphene as ph
from phosphene.accumulate.feature_vectors import before_head
from phosphene.errors import RequestError
from phosphene.network.network import _moves_first_two

PICTURES = torch.rand(2, 3, 16, 24, generator=torch.Generator().manual_seed(3))
P = ph.Preprocess(size=(16, 24))


class Permute(nn.Module):
    def __init__(self, *order: int) -> None:
        super().__init__()
        self.order = order

    def forward(self, x: Tensor) -> Tensor:
        return x.permute(self.order)


class ChannelsLast(nn.Module):
    """A block as ConvNeXt's: norm and linear layers see (b, h, w, k)."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.stem, self.back = nn.Conv2d(3, 6, 2, stride=2), nn.Conv2d(6, 6, 3, padding=1)
        self.last, self.wide, self.first = Permute(0, 2, 3, 1), nn.Linear(6, 10), Permute(0, 3, 1, 2)
        self.head = nn.Linear(10, 4)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.head(self.first(self.wide(self.last(self.back(self.stem(x).relu()))).relu()).mean((2, 3)))
        return y


class Windows(nn.Module):
    """Attention-like: its layers see windows of 4 × 4 positions, all images' in one axis."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.stem, self.inner, self.head = nn.Conv2d(3, 5, 1), nn.Linear(5, 5), nn.Linear(5, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        b, k, h, w = x.shape
        windows = x.view(b, k, h // 4, 4, w // 4, 4).permute(0, 2, 4, 3, 5, 1).reshape(-1, 16, k)
        y: Tensor = self.head(self.inner(windows).view(b, -1, k).mean(1))
        return y


@pytest.fixture(scope="module")
def last() -> ph.Network:
    return ph.Network(ChannelsLast(), P)


@pytest.fixture(scope="module")
def windows() -> ph.Network:
    return ph.Network(Windows(), P)


def raw(net: ph.Network) -> Tensor:
    """(b, h, w, k)"""
    given = net.features(PICTURES, "wide")
    assert given.shape == (2, 8, 12, 10)
    return given


def test_shapes_have_their_channels_first(last: ph.Network) -> None:
    assert last.layouts({"wide", "back"}) == ({"wide": (10, 8, 12), "back": (6, 8, 12)}, frozenset({"wide"}))


def test_a_channel_is_a_channel(last: ph.Network) -> None:
    for k in (0, 9):
        found = [item.score for item in ph.explain(last, PICTURES, f"channel:wide:{k}").items]
        torch.testing.assert_close(torch.tensor(found), raw(last)[..., k].mean((1, 2)))
    with pytest.raises(RequestError, match="channel 10 is outside wide, which has 10"):
        ph.explain(last, PICTURES, "channel:wide:10")


def test_a_neuron_is_channel_y_x(last: ph.Network) -> None:
    found = [item.score for item in ph.explain(last, PICTURES, "neuron:wide:9,3,11").items]
    torch.testing.assert_close(torch.tensor(found), raw(last)[:, 3, 11, 9])


def test_a_direction_lies_in_the_channels(last: ph.Network) -> None:
    vector = torch.linspace(-1, 1, 10)
    found = [item.score for item in ph.explain(last, PICTURES, ph.direction("wide", vector)).items]
    torch.testing.assert_close(torch.tensor(found), (raw(last) @ vector).mean((1, 2)))


def test_a_rendered_channel_is_the_one_that_is_told(last: ph.Network) -> None:
    r = ph.render(last, "channel:wide:9", recipe="pixels", steps=2)
    torch.testing.assert_close(r.scores, last.features(r.pictures, "wide")[..., 9].mean((1, 2)), rtol=1e-4, atol=1e-5)


def test_examples_rank_channels_and_know_the_position(last: ph.Network) -> None:
    e = ph.examples(last, PICTURES, "channel:wide:*", top=1)
    flat = raw(last).flatten(0, 2)
    torch.testing.assert_close(e.values[:, 0], flat.max(0).values)
    assert len(e.values) == 10
    best = divmod(int(raw(last)[..., 9].flatten(1).max(0).values.argmax()), 12)
    assert tuple(e.places[9, 0].tolist()) == best


def test_layers_of_windows_are_refused_and_told(windows: ph.Network) -> None:
    by_image = {layer.address: layer.by_image for layer in windows.layers()}
    assert by_image == {"stem": True, "inner": False, "head": True}
    for ask in (
        lambda: windows.features(PICTURES, "inner"),
        lambda: ph.explain(windows, PICTURES, "channel:inner:1"),
        lambda: ph.render(windows, "channel:inner:1", steps=1),
        lambda: ph.examples(windows, PICTURES, "channel:inner:*"),
        lambda: ph.activations(windows, PICTURES[:1], "inner"),
    ):
        with pytest.raises(ph.PhospheneError, match=r"layer inner gives .* its first axis must be the image"):
            ask()
    assert before_head(windows) == "stem"
    assert [maps.layer for maps in ph.activations(windows, PICTURES[:1]).maps] == ["stem"]


def test_maps_whose_shape_happens_to_fit_have_their_channels_first() -> None:
    torch.manual_seed(0)
    narrow = nn.Conv2d(3, 32, 3, padding=1, stride=(1, 2))  # (32, 32, 16) of pictures of 32 × 32
    net = ph.Network(nn.Sequential(narrow, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(32, 3)), ph.Preprocess(size=32))
    pictures = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    assert net.layouts({"0"}) == ({"0": (32, 32, 16)}, frozenset())
    found = [item.score for item in ph.explain(net, pictures, "channel:0:31").items]
    torch.testing.assert_close(torch.tensor(found), net.features(pictures, "0")[:, 31].mean((1, 2)))


def test_an_objective_laid_out_for_one_network_can_be_laid_out_for_another() -> None:
    objective = ph.channel("wide", 1).laid_out({"wide"})
    activations = {"wide": torch.rand(2, 4, 3, 5)}
    assert not torch.equal(objective(activations), ph.channel("wide", 1)(activations))
    assert torch.equal(objective.laid_out(())(activations), ph.channel("wide", 1)(activations))


def test_features_of_another_layout_are_not_compared(last: ph.Network) -> None:
    matched = ph.match("wide", PICTURES[:1])
    assert ph.explain(last, PICTURES[:1], matched).items[0].score == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize(
    ("shape", "larger", "last"),
    [
        ((8, 12, 10), (16, 24, 10), True),
        ((32, 32, 16), (32, 64, 32), False),  # (k, h, w)
        ((8, 8, 64), (8, 16, 64), False),  # heads × tokens × d
        ((8, 8, 64), (16, 8, 64), False),
        ((4, 4, 4), (8, 8, 8), False),
        ((3, 1, 1), (3, 1, 1), False),  # pooled
    ],
)
def test_a_larger_picture_moves_positions_and_no_channels(shape: tuple[int, ...], larger: tuple[int, ...], last: bool) -> None:
    assert _moves_first_two(shape, larger) is last
