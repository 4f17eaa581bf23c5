"""The prepared network gives what the plain one gives, wherever it is read, and is prepared only where that holds."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

import phosphene as ph
from phosphene.network.prepared import Ways
from phosphene.seeding import private_rng
from tests.nets import HABITS, made

SHOWN = torch.rand(3, 3, 12, 12, generator=torch.Generator().manual_seed(2))


def normed(count: int) -> nn.BatchNorm2d:
    """A batch norm that is far from doing nothing."""
    norm = nn.BatchNorm2d(count)
    draws = torch.Generator().manual_seed(count)
    with torch.no_grad():
        for tensor in (norm.weight, norm.bias, norm.running_mean, norm.running_var):
            assert tensor is not None
            tensor.copy_(torch.rand(count, generator=draws) + 0.5)
    return norm


def convolution(count: int = 6, given: int = 3, bias: bool = True) -> nn.Conv2d:
    torch.manual_seed(count)
    return nn.Conv2d(given, count, 3, padding=1, bias=bias)


class Head(nn.Module):
    """What is common to those below: scores of maps."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm, self.last = convolution(bias=False), normed(6), convolution(5, 6)

    def forward(self, x: Tensor) -> Tensor:
        scores: Tensor = self.last(self.maps(x)).mean((2, 3))
        return scores

    def maps(self, x: Tensor) -> Tensor:
        maps: Tensor = self.norm(self.conv(x)).relu()
        return maps


class UsedTwice(Head):
    def maps(self, x: Tensor) -> Tensor:
        kept: Tensor = self.conv(x)
        maps: Tensor = self.norm(kept).relu() + kept
        return maps


class RunTwice(Head):
    def __init__(self) -> None:
        super().__init__()
        self.conv = convolution(3, bias=False)
        self.norm, self.other = normed(3), normed(6)
        self.last = convolution(5, 3)

    def maps(self, x: Tensor) -> Tensor:
        maps: Tensor = self.conv(self.norm(self.conv(x)))
        return maps


class Tied(Head):
    def __init__(self) -> None:
        super().__init__()
        self.tied = convolution(bias=False)
        self.tied.weight = self.conv.weight

    def maps(self, x: Tensor) -> Tensor:
        maps: Tensor = self.norm(self.conv(x)).relu() + self.tied(x)
        return maps


class Viewing(Head):
    """Cannot be given what lies channels-last."""

    def forward(self, x: Tensor) -> Tensor:
        scores: Tensor = self.last(self.maps(x)).view(len(x), -1)[:, :5]
        return scores


class Hidden(Head):
    """Uses what the convolution gives in a way that no gradient shows."""

    def maps(self, x: Tensor) -> Tensor:
        kept: Tensor = self.conv(x)
        maps: Tensor = self.norm(kept).relu() + kept.detach().sign()
        return maps


class Norm(nn.BatchNorm2d):
    def forward(self, x: Tensor) -> Tensor:
        maps: Tensor = super().forward(x).tanh()
        return maps


def subclass() -> nn.Module:
    module = Head()
    module.norm = Norm(6)
    return module


def hooked() -> nn.Module:
    module = Head()
    module.conv.register_forward_hook(lambda _module, _inputs, given: given * 2)
    return module


def network(module: nn.Module) -> ph.Network:
    return ph.Network(module, ph.Preprocess(size=12, mean=0.5, std=0.25))


def ways(net: ph.Network, half: bool = False) -> Ways:
    with net._twin.running() as module:
        return net._ways(module, half)


def plain(net: ph.Network, address: str = "") -> Tensor:
    """What the user's module gives, by torch alone."""
    with torch.no_grad():
        inputs = net.preprocess.forward(SHOWN)
        if not address:
            scores: Tensor = net.module.eval()(inputs)
            return scores
        kept: list[Tensor] = []
        with net.module.get_submodule(address).register_forward_hook(lambda _m, _i, given: kept.append(given.clone())):
            net.module.eval()(inputs)
        return kept[-1]


FOLDED: dict[str, Callable[[], nn.Module]] = {"usual": Head, "viewing": Viewing}
LEFT: dict[str, Callable[[], nn.Module]] = {
    "used twice": UsedTwice,
    "run twice": RunTwice,
    "tied": Tied,
    "hidden": Hidden,
    "subclass": subclass,
    "hooked": hooked,
}


@pytest.mark.parametrize("kind", FOLDED)
def test_a_batch_norm_goes_into_the_convolution_before_it(kind: str) -> None:
    net = network(FOLDED[kind]())
    found = ways(net)
    assert found.fast
    assert isinstance(found.fast.module.norm, nn.Identity)
    assert found.fast.channels_last == (kind != "viewing")
    assert found.changed == {"conv"}
    assert found.told.startswith(
        "1 batch norms folded, channels-last" if kind == "usual" else "1 batch norms folded; not more: "
    )
    torch.testing.assert_close(net.scores(SHOWN), plain(net), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("kind", LEFT)
def test_one_that_cannot_be_folded_is_left(kind: str) -> None:
    net = network(LEFT[kind]())
    found = ways(net)
    assert not found.changed
    torch.testing.assert_close(net.scores(SHOWN), plain(net), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("address", ["conv", "norm", "last"])
def test_every_address_gives_what_it_does_in_the_user_s_network(address: str) -> None:
    net = network(Head())
    torch.testing.assert_close(net.features(SHOWN, address), plain(net, address), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("habit", HABITS)
def test_networks_of_every_habit_give_the_same_scores(habit: str) -> None:
    net = network(made(habit))
    prepared = ways(net)
    with torch.no_grad(), private_rng(0):
        expected = net._read(Ways(prepared.plain), SHOWN, {""})[""]
    with torch.no_grad(), private_rng(0):
        torch.testing.assert_close(net._read(prepared, SHOWN, {""})[""], expected, rtol=1e-4, atol=1e-5)


def test_the_user_s_module_is_left_as_it_was() -> None:
    module = Head()
    before = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    network(module).scores(SHOWN)
    assert type(module.norm) is nn.BatchNorm2d
    assert module.state_dict().keys() == before.keys()
    assert all(torch.equal(tensor, before[name]) for name, tensor in module.state_dict().items())


def test_it_follows_the_user_s_values() -> None:
    module = Head()
    net = network(module)
    net.scores(SHOWN)
    assert module.norm.running_mean is not None
    with torch.no_grad():
        module.norm.running_mean += 0.3
        module.conv.weight.data *= 1.5
    torch.testing.assert_close(net.scores(SHOWN), plain(net), rtol=1e-4, atol=1e-6)


def test_the_hash_follows_the_user_s_values() -> None:
    module = Head()
    net, same = network(module), network(Head())
    first = net.sha256()
    assert first == same.sha256()
    module.conv.weight.data *= 2
    assert net.sha256() != first
    module.conv.weight.data /= 2
    assert net.sha256() == first


def test_half_is_folded_too_and_reads_every_address() -> None:
    net = network(Head())
    assert ways(net, half=True).changed == {"conv"}
    with net.reading(half=True) as read, torch.no_grad():
        given = read(SHOWN, {"", "conv"})
    torch.testing.assert_close(given["conv"], plain(net, "conv"), rtol=0.05, atol=0.05)
    torch.testing.assert_close(given[""], plain(net), rtol=0.05, atol=0.05)


def test_gradients_are_those_of_the_plain_network() -> None:
    net = network(Head())
    shown = SHOWN.clone().requires_grad_(True)
    with net.reading() as read:
        (ours,) = torch.autograd.grad(read(shown, {""})[""].square().sum(), shown)
    (theirs,) = torch.autograd.grad(net.module.eval()(net.preprocess.forward(shown)).square().sum(), shown)
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-6)


def test_a_record_tells_how_the_network_was_prepared(robust: ph.Network) -> None:
    done = ph.render(robust, "logit:cat", recipe="pixels", steps=1).record.environment["prepared"]
    assert re.match(r"\d+ batch norms folded, channels-last", done)
    plain = ph.render(network(Head()), "channel:conv:0", recipe="pixels", steps=1).record.environment["prepared"]
    assert plain == "as it is: conv gives something else once its batch norm is folded into it"
    seen = ph.explain(robust, SHOWN[:1].repeat(1, 1, 3, 3)[..., :32, :32], "logit:cat").record.environment["prepared"]
    assert re.match(r"\d+ batch norms folded, channels-last", seen)
    few = ph.Network(nn.Sequential(nn.Conv2d(3, 4, 12), nn.Flatten()), ph.Preprocess(size=12))
    assert "fewer than two convolutions" in few.preparation({""})
