"""Where a layer's channels are, and whether its first axis is the image: one answer for all who ask."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

import phosphene as ph
from phosphene.accumulate.feature_vectors import before_head
from phosphene.errors import RequestError
from phosphene.network.grid import Grid
from phosphene.network.layout import Layout

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
    found = last.layouts({"wide", "back", ""})
    firsts = {address: layout.channels_first for address, layout in found.items()}
    assert firsts == {"wide": (10, 8, 12), "back": (6, 8, 12), "": (4,)}
    assert found["wide"] == Layout((8, 12, 10), -1, Grid("bhwk", (8, 12)))
    assert found["back"] == Layout((6, 8, 12), 1, Grid("bkhw", (8, 12)))


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
    assert net.layouts({"0"}) == {"0": Layout((32, 32, 16), 1, Grid("bkhw", (32, 16)))}
    found = [item.score for item in ph.explain(net, pictures, "channel:0:31").items]
    torch.testing.assert_close(torch.tensor(found), net.features(pictures, "0")[:, 31].mean((1, 2)))


def test_an_objective_laid_out_for_one_network_can_be_laid_out_for_another() -> None:
    objective = ph.channel("wide", 1).laid_out({"wide": Layout((4, 3, 5), -1)})
    activations = {"wide": torch.rand(2, 4, 3, 5)}
    assert not torch.equal(objective(activations), ph.channel("wide", 1)(activations))
    assert torch.equal(objective.laid_out({"wide": Layout((4, 3, 5))})(activations), ph.channel("wide", 1)(activations))


def test_features_of_another_layout_are_not_compared(last: ph.Network) -> None:
    matched = ph.match("wide", PICTURES[:1])
    assert ph.explain(last, PICTURES[:1], matched).items[0].score == pytest.approx(0, abs=1e-6)


class Attention(nn.Module):
    """Tokens with a class token, heads, a matrix between tokens, a table, and a fixed number of tokens."""

    def __init__(self, side: int | None = None) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.side = side
        self.patch, self.act = nn.Conv2d(3, 10, 4, stride=4), nn.ReLU()
        self.tokens, self.heads, self.softmax = nn.Linear(10, 12), nn.Identity(), nn.Softmax(-1)
        self.table, self.transposed, self.mixed = nn.Embedding(2, 12), nn.Identity(), nn.Linear(12, 12)
        self.few, self.one, self.pairs = nn.Identity(), nn.Identity(), nn.Identity()
        self.head = nn.Linear(12, 3)

    def forward(self, x: Tensor) -> Tensor:
        if self.side is not None and x.shape[-1] != self.side:
            raise ValueError("another size")
        b = len(x)
        x = self.act(self.patch(x)).flatten(2).mT
        x = self.tokens(torch.cat([torch.zeros(b, 1, 10), x], 1))
        x = x + self.table(torch.zeros(2, dtype=torch.long)).mean(0)
        heads = self.heads(x.unflatten(2, (4, 3)).movedim(2, 1))
        matrix = self.softmax(heads @ heads.mT)
        self.pairs(matrix.movedim(1, 3))
        self.one(x[:, :1].repeat(1, 1, 2))
        x = (matrix @ heads).movedim(1, 2).flatten(2)
        x = self.mixed(self.transposed(x.mT).mT)
        y: Tensor = self.head(self.few(x[:, :4]).mean(1))
        return y


@pytest.mark.parametrize("side", [None, 24])
def test_tokens_have_positions_and_matrices_between_them_have_none(side: int | None) -> None:
    net = ph.Network(Attention(side), P)
    found = net.layouts(net.calls, every=False)
    tokens = Grid("bnk", (4, 6), 1)
    assert found["tokens"] == Layout((25, 12), -1, tokens)
    assert found["transposed"] == Layout((12, 25), 1, Grid("bkn", (4, 6), 1))
    assert found["softmax"] == Layout((4, 25, 25), None, None)
    assert [found[a].grid for a in ("heads", "few", "one", "pairs")] == [None] * 4
    assert found["one"].axis == -1
    assert (found["table"].by_image, found["few"].axis) == (False, -1)
    assert found["act"] == Layout((10, 4, 6), 1, Grid("bkhw", (4, 6)))


def test_a_table_of_as_many_rows_as_there_are_pictures_is_no_layer_of_images() -> None:
    net = ph.Network(Attention(), P)
    with pytest.raises(RequestError, match=r"layer table gives .* its first axis must be the image"):
        net.features(PICTURES, "table")
    assert [layer.address for layer in net.layers() if not layer.by_image] == ["table"]


def test_examples_and_neurons_of_tokens_know_their_position() -> None:
    net = ph.Network(Attention(), P)
    given = net.features(PICTURES, "tokens")
    for channel, unit in ((5, "channel:tokens:5"), (2, "channel:transposed:2")):
        layer = unit.split(":")[1]
        of = given if layer == "tokens" else net.features(PICTURES, layer).mT
        e = ph.examples(net, PICTURES, unit, top=2)
        best, token = divmod(int(of[..., channel].argmax()), 25)
        assert int(e.indices[0, 0]) == best
        assert tuple(e.places[0, 0].tolist()) == ((-1, -1) if token == 0 else divmod(token - 1, 6))
        torch.testing.assert_close(e.values[0, 0], of[best, token, channel])
        for rank in range(2):
            if e.places[0, rank, 0] >= 0:
                picture = PICTURES[int(e.indices[0, rank])][None]
                assert ph.explain(net, picture, e.unit_at(0, rank)).items[0].score == pytest.approx(float(e.values[0, rank]))
    e = ph.examples(net, PICTURES, "neuron:tokens:5,8", top=1)
    assert tuple(e.places[0, 0].tolist()) == (1, 1)
    assert e.windows[0, 0].tolist() == [4, 4, 8, 8]


class Signal(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.body = nn.Sequential(
            nn.Conv1d(1, 8, 5), nn.ReLU(), nn.Conv1d(8, 12, 5, stride=2), nn.ReLU(), nn.AdaptiveAvgPool1d(1)
        )
        self.head = nn.Linear(12, 2)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.head(self.body(x.squeeze(2)).flatten(1))
        return y


def test_layers_of_signals_have_their_channels_first_and_positions_in_a_row() -> None:
    net = ph.Network(Signal(), ph.Preprocess(size=(1, 64), channels=1))
    signals = torch.rand(2, 1, 1, 64, generator=torch.Generator().manual_seed(1))
    found = net.layouts(net.calls)
    assert found["body.1"] == Layout((8, 60), 1, Grid("bkn", (1, 60)))
    assert found["body.3"] == Layout((12, 28), 1, Grid("bkn", (1, 28)))
    assert found["body.4"].axis == 1
    given = net.features(signals, "body.3")
    scores = [item.score for item in ph.explain(net, signals, "channel:body.3:11").items]
    torch.testing.assert_close(torch.tensor(scores), given[:, 11].mean(1))
    scores = [item.score for item in ph.explain(net, signals, "neuron:body.3:11,20").items]
    torch.testing.assert_close(torch.tensor(scores), given[:, 11, 20])
    e = ph.examples(net, signals, "channel:body.3:*", top=1)
    assert len(e) == 12
    assert int(e.places[3, 0, 1]) == int(given[:, 3].flatten().argmax()) % 28
    assert e.windows[3, 0].tolist()[2] - e.windows[3, 0].tolist()[0] == 9
    torch.testing.assert_close(ph.activations(net, signals[:1], "body.3")["body.3"].values, given[0][:, None])


def test_channels_of_volumes_are_known_and_those_of_several_branches_are_not() -> None:
    class Branches(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            torch.manual_seed(0)
            self.conv, self.act, self.stacked, self.head = nn.Conv3d(3, 6, 1), nn.ReLU(), nn.Identity(), nn.Linear(6, 2)

        def forward(self, x: Tensor) -> Tensor:
            volume = self.act(self.conv(torch.stack([x, x.flip(3)], 2)))
            two = self.stacked(torch.stack([volume, volume.sin()], 1).mean(3))
            y: Tensor = self.head(two.sum(1).mean((2, 3)))
            return y

    net = ph.Network(Branches(), P)
    given = net.features(PICTURES, "act")
    found = [item.score for item in ph.explain(net, PICTURES, "channel:act:5").items]
    torch.testing.assert_close(torch.tensor(found), given[:, 5].mean((1, 2, 3)))
    found = [item.score for item in ph.explain(net, PICTURES, "neuron:act:5,1,2,3").items]
    torch.testing.assert_close(torch.tensor(found), given[:, 5, 1, 2, 3])
    with pytest.raises(RequestError, match=r"which axis of \(2, 6, 16, 24\) layer stacked has them on cannot be known"):
        ph.explain(net, PICTURES, "channel:stacked:1")
    assert ph.explain(net, PICTURES[:1], "layer:stacked").items[0].score == pytest.approx(
        float(net.features(PICTURES[:1], "stacked").sum())
    )


@pytest.mark.parametrize("side", [None, 24])
def test_maps_that_a_function_pools_are_known_by_their_number_of_channels(side: int | None) -> None:
    class Pooled(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            torch.manual_seed(0)
            self.conv, self.drop, self.last, self.blocks = nn.Conv2d(3, 7, 3), nn.Dropout(), nn.Identity(), nn.Identity()
            self.head = nn.Linear(63, 2)

        def forward(self, x: Tensor) -> Tensor:
            if side is not None and x.shape[-1] != side:
                raise ValueError("another size")
            x = self.drop(torch.nn.functional.adaptive_avg_pool2d(self.conv(x), 3))
            self.last(x.permute(0, 2, 3, 1))
            self.blocks(x[:, :4].repeat(1, 1, 1, 2))
            y: Tensor = self.head(x.flatten(1))
            return y

    net = ph.Network(Pooled(), P)
    found = net.layouts(net.calls)
    assert found["drop"] == Layout((7, 3, 3), 1, Grid("bkhw", (3, 3)))
    assert found["last"] == Layout((3, 3, 7), -1, Grid("bhwk", (3, 3)))
    assert (found["blocks"].axis, found["blocks"].grid) == (None, None)


def test_a_plain_network_is_not_run_again_to_know_its_layouts() -> None:
    module = nn.Sequential(
        nn.Conv2d(3, 8, 3, stride=2), nn.ReLU(), nn.Conv2d(8, 6, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()
    )
    net = ph.Network(module, ph.Preprocess(size=40))
    net.layouts(net.calls)
    assert list(net._layouts._by_size) == [(40, 40)]
