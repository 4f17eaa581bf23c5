"""Statistics of layers: what batch norms learned, where it can be read, what photographs show, and files of it."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

import phosphene as ph
from phosphene.network.statistics import LEAST_SPREAD, QUIET, Channels, read_statistics
from tests.network.test_prepared import Norm, normed

PHOTOS = [photo[None] for photo in torch.rand(9, 3, 12, 12, generator=torch.Generator().manual_seed(5))]


def network(*parts: nn.Module, channels: int = 3) -> ph.Network:
    torch.manual_seed(0)
    module = nn.Sequential(*parts, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.LazyLinear(5))
    module(torch.rand(2, channels, 12, 12))
    return ph.Network(module, ph.Preprocess(size=12, mean=0.5, std=0.25, channels=channels))


class ThenRectified(nn.BatchNorm2d):
    """As timm's: the rectifier is inside, behind a dropout that does nothing."""

    def __init__(self, count: int) -> None:
        super().__init__(count)
        self.drop, self.act = nn.Identity(), nn.ReLU(inplace=True)
        self.load_state_dict(normed(count).state_dict())

    def forward(self, x: Tensor) -> Tensor:
        maps: Tensor = self.act(self.drop(super().forward(x)))
        return maps


class Frozen(nn.Module):
    """As torchvision's: all four are buffers."""

    def __init__(self, count: int) -> None:
        super().__init__()
        for name, value in normed(count).state_dict().items():
            self.register_buffer(name, value)

    def forward(self, x: Tensor) -> Tensor:
        mean, variance, weight, bias = (
            getattr(self, name)[:, None, None] for name in ("running_mean", "running_var", "weight", "bias")
        )
        maps: Tensor = (x - mean) * (variance + 1e-5).rsqrt() * weight + bias
        return maps


class Twice(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.norm = normed(3)

    def forward(self, x: Tensor) -> Tensor:
        maps: Tensor = self.norm(self.norm(x))
        return maps


NORMS: dict[str, tuple[Callable[[], nn.Module], list[str]]] = {
    "plain": (lambda: normed(3), ["0"]),
    "rectified inside": (lambda: ThenRectified(3), ["0.drop"]),
    "frozen": (lambda: Frozen(3), ["0"]),
    "squashed by a subclass": (lambda: Norm(3), []),
    "of two runs": (Twice, []),
    "without statistics": (lambda: nn.BatchNorm2d(3, track_running_stats=False), []),
    "of no positions": (
        lambda: nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.BatchNorm1d(3), nn.Unflatten(1, (3, 1, 1))),
        [],
    ),
}


@pytest.mark.parametrize("kind", NORMS)
@pytest.mark.filterwarnings("ignore:Lazy modules")
def test_batch_norms_are_read_where_what_they_give_stands(kind: str) -> None:
    make, expected = NORMS[kind]
    found = network(make()).statistics
    assert [*(found.layers if found else ())] == expected


@pytest.mark.filterwarnings("ignore:Lazy modules")
def test_what_a_batch_norm_learned_is_the_mean_and_variance_of_what_it_gives() -> None:
    norm = normed(3)
    draws = torch.Generator().manual_seed(0)
    assert norm.running_mean is not None
    assert norm.running_var is not None
    x = torch.randn(64, 3, 40, 40, generator=draws).double()
    x = x * norm.running_var.sqrt()[:, None, None] + norm.running_mean[:, None, None]
    with torch.no_grad():
        variance, mean = torch.var_mean(norm.eval().double()(x), (0, 2, 3))
    found = network(norm.float()).statistics
    assert found is not None
    channels = found.layers["0"]
    torch.testing.assert_close(channels.mean, mean, rtol=0, atol=0.02)
    torch.testing.assert_close(channels.log, (variance * (1 + QUIET)).log() / 2, rtol=0, atol=0.02)
    torch.testing.assert_close(channels.floor, QUIET * variance, rtol=0.03, atol=0)
    assert found.source == "1 batch norms"


@pytest.mark.filterwarnings("ignore:Lazy modules")
def test_a_batch_norm_that_gives_nothing_is_left_out() -> None:
    """As those that begin with a weight of zero (`zero_init_residual`)."""
    silent = normed(3)
    with torch.no_grad():
        silent.weight.zero_()
    assert network(silent).statistics is None
    net = network(normed(3), nn.Conv2d(3, 3, 1), silent)
    assert [*net.statistics.layers] == ["0"]  # type: ignore[union-attr]
    rendering = ph.render(net, "logit:1", recipe="natural-fast", steps=2, frames=0)
    assert bool(rendering.pictures.isfinite().all())
    assert math.isfinite(rendering.items[0].distance or math.nan)


@pytest.mark.filterwarnings("ignore:Lazy modules")
def test_weights_that_change_change_the_statistics() -> None:
    norm = normed(3)
    net = network(norm)
    before = net.statistics
    with torch.no_grad():
        norm.bias.add_(1)
    after = net.statistics
    assert before is not None
    assert after is not None
    torch.testing.assert_close(after.layers["0"].mean, before.layers["0"].mean + 1)
    assert before.sha256 != after.sha256


def test_measured_statistics_are_those_of_the_photographs() -> None:
    net = ph.load("demo:robust")
    photos = list(torch.rand(9, 1, 3, 32, 32, generator=torch.Generator().manual_seed(1)))
    found = ph.statistics(net, photos, "stage1.0.bn1")
    maps = torch.cat([net.features(photo, "stage1.0.bn1") for photo in photos]).double()
    (channels,) = found.layers.values()
    means, variances = maps.mean((2, 3)), maps.var((2, 3), correction=0)
    typical = variances.mean(0)
    torch.testing.assert_close(channels.mean, means.mean(0))
    torch.testing.assert_close(channels.mean_spread, means.std(0).maximum(LEAST_SPREAD * typical.sqrt()))
    logs = (variances + QUIET * typical).log() / 2
    torch.testing.assert_close(channels.log, logs.mean(0))
    torch.testing.assert_close(channels.log_spread, logs.std(0).clamp(min=LEAST_SPREAD))
    assert found.source == "9 photographs"
    assert repr(found) == "Statistics(1 layers, of 9 photographs)"


@pytest.mark.filterwarnings("ignore:Lazy modules")
def test_which_layers_are_measured() -> None:
    photos = list(PHOTOS)
    norms = [nn.Sequential(nn.Conv2d(6, 6, 3, padding=1), nn.GroupNorm(2, 6)) for _ in range(4)]
    assert [*ph.statistics(network(nn.Conv2d(3, 6, 3), *norms), photos).layers] == ["1.1", "2.1", "3.1", "4.1"]
    assert [*ph.statistics(network(nn.Conv2d(3, 6, 3), norms[0]), photos).layers] == ["0", "1.0"]


def test_too_few_photographs_and_layers_without_positions_are_refused() -> None:
    net = ph.load("demo:robust")
    with pytest.raises(ph.PhospheneError, match="at least 8 photographs, got 3"):
        ph.statistics(net, PHOTOS[:3])
    with pytest.raises(ph.PhospheneError, match=r"layer classifier must have positions, got \(10,\)"):
        ph.statistics(net, PHOTOS, "classifier")


def saved(path: Path, net: ph.Network) -> Path:
    tensors, about = ph.statistics(net, PHOTOS, ["stem.1", "stage1.0.bn1"]).to_tensors()
    save_file(tensors, path, about)
    return path


def test_a_file_gives_back_what_was_measured(tmp_path: Path) -> None:
    net = ph.load("demo:robust")
    file = saved(tmp_path / "a&b.safetensors", net)
    again = ph.load(f"demo:robust?statistics={tmp_path}/a%26b.safetensors").statistics
    assert again is not None
    assert again.sha256 == ph.statistics(net, PHOTOS, ["stem.1", "stage1.0.bn1"]).sha256
    assert [*again.layers] == ["stem.1", "stage1.0.bn1"]
    assert ph.Network(net.module, net.preprocess, statistics=file).statistics.source == "9 photographs"  # type: ignore[union-attr]


def test_statistics_of_another_network_are_refused(tmp_path: Path) -> None:
    file = saved(tmp_path / "of.safetensors", ph.load("demo:robust"))
    with pytest.raises(ph.PhospheneError, match="no layer"):
        ph.Network(network(nn.Conv2d(3, 5, 3)).module, ph.Preprocess(size=12), statistics=file)
    tensors, about = ph.statistics(ph.load("demo:robust"), PHOTOS, ["stem.1"]).to_tensors()
    save_file({name: tensor[:7].clone() for name, tensor in tensors.items()}, file, about)
    with pytest.raises(ph.PhospheneError, match="must be of its 32 channels, got 7: they are of another network"):
        ph.load(f"demo:robust?statistics={file}")


def test_a_network_of_one_batch_size_takes_none() -> None:
    found = ph.statistics(ph.load("demo:robust"), PHOTOS, ["stem.1"])
    module, preprocess = ph.load("demo:robust").module, ph.load("demo:robust").preprocess
    with pytest.raises(ph.PhospheneError, match="takes 2 pictures at once alone"):
        ph.Network(module, preprocess, batch=2, statistics=found)
    assert ph.Network(module, preprocess, batch=2).statistics is None


def test_files_of_strangers_end_in_one_sentence(tmp_path: Path) -> None:
    file = tmp_path / "x.safetensors"
    tensors, about = ph.statistics(ph.load("demo:robust"), PHOTOS, ["stem.1"]).to_tensors()
    broken = {
        "holds none of layers": (tensors, {}),
        "cannot be read": (tensors, about | {"layers": "["}),
        "it names no layers": (tensors, about | {"layers": "[]"}),
        "mean of layer": (tensors | {"stem.1/mean": tensors["stem.1/mean"] / 0}, about),
        "log_spread of layer": (tensors | {"stem.1/log_spread": -tensors["stem.1/log_spread"]}, about),
        "floor of layer": (tensors | {"stem.1/floor": torch.ones(3)}, about),
        "log of layer": (tensors | {"stem.1/log": torch.ones(32, dtype=torch.long)}, about),
        "statistics": ({"stem.1/mean": torch.ones(32)}, about),
    }
    for sentence, (held, said) in broken.items():
        save_file(held, file, said)
        with pytest.raises(ph.PhospheneError, match=sentence):
            read_statistics(file)
    file.write_bytes(b"\x00" * 40)
    with pytest.raises(ph.PhospheneError, match="cannot be read"):
        read_statistics(file)
    with pytest.raises(ph.PhospheneError, match="cannot be read"):
        read_statistics(tmp_path)


@pytest.mark.filterwarnings("ignore:Lazy modules")
def test_layers_that_give_nothing_are_not_measured() -> None:
    silent = nn.Conv2d(6, 4, 1)
    with torch.no_grad():
        silent.weight.zero_()
    net = network(nn.Conv2d(3, 6, 3), silent)
    assert [*ph.statistics(net, PHOTOS).layers] == ["0"]
    with pytest.raises(ph.PhospheneError, match="no channel of 1 varies in these photographs"):
        ph.statistics(net, PHOTOS, "1")


def test_a_channel_that_never_varies_has_a_spread() -> None:
    still = torch.zeros(8, 2)
    channels = Channels.measured(still, still)
    assert all(bool(tensor.isfinite().all()) for tensor in vars(channels).values())
    assert bool((channels.mean_spread > 0).all())
