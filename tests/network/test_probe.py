from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import phosphene as ph
from phosphene.errors import ModelError, RequestError, UnknownNameError
from phosphene.network.probe import forward
from tests.nets import CLASSES, HABITS, Functional, made, network, plain
from tests.network import traces

P = ph.Preprocess(size=12, mean=0.5, std=0.25)
PICTURES = torch.rand(3, 3, 12, 12, generator=torch.Generator().manual_seed(0))
INPUTS = (PICTURES - 0.5) / 0.25


class Uncopyable(nn.Module):
    """Holds what cannot be copied, as networks with open files or locks do."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def __deepcopy__(self, memo: dict[int, Any]) -> nn.Module:
        raise TypeError("cannot be copied")

    def forward(self, x: Tensor) -> Any:
        return self.module(x)


class Shared(Uncopyable):
    """Gives itself for a copy."""

    def __deepcopy__(self, memo: dict[int, Any]) -> nn.Module:
        return self


class Failing(nn.Module):
    """Takes any number of pictures but three."""

    def __init__(self) -> None:
        super().__init__()
        self.body = made("random at training")

    def forward(self, x: Tensor) -> Any:
        scores = self.body(x)
        if len(x) == 3:
            raise ValueError("three is a crowd")
        return scores


def scored(net: ph.Network) -> None:
    net.scores(PICTURES)


def listed(net: ph.Network) -> None:
    net.layers()


def read_all(net: ph.Network) -> None:
    with net.reading() as read:
        read(PICTURES, set(net.calls) | {""})


def differentiated(net: ph.Network) -> None:
    with torch.inference_mode(False), torch.enable_grad(), net.reading() as read:
        pictures = PICTURES.clone().requires_grad_(True)
        read(pictures, {""})[""].sum().backward()


def drawn(net: ph.Network) -> None:
    noisy = ph.custom(lambda activations: activations[""].sum(1) * torch.rand(()), [""], "noisy")
    ph.explain(net, PICTURES, noisy)


CALLS = [scored, listed, read_all, differentiated, drawn]
WRAPPERS: list[Callable[[nn.Module], nn.Module]] = [lambda m: m, Uncopyable, Shared]


@pytest.mark.parametrize("wrapped", WRAPPERS, ids=["copied", "lent", "its own copy"])
@pytest.mark.parametrize("habit", HABITS)
def test_nothing_is_left_behind(habit: str, wrapped: Callable[[nn.Module], nn.Module]) -> None:
    module = wrapped(made(habit))
    with traces.none_left(module):
        net = ph.Network(module, P)
        for call in CALLS:
            call(net)


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
@pytest.mark.parametrize("habit", HABITS)
def test_nothing_is_left_behind_without_gradients(habit: str, mode: Callable[[], Any]) -> None:
    module = made(habit)
    with mode(), traces.none_left(module):
        net = ph.Network(module, P)
        for call in CALLS:
            call(net)


@pytest.mark.parametrize("wrapped", WRAPPERS, ids=["copied", "lent", "its own copy"])
def test_nothing_is_left_behind_when_the_network_raises(wrapped: Callable[[nn.Module], nn.Module]) -> None:
    module = wrapped(Failing()).train()
    net = ph.Network(module, P, name="it")
    with traces.none_left(module), pytest.raises(ModelError, match=r"it does not run on pictures \(3, 3, 12, 12\): three"):
        net.scores(PICTURES)


def test_nothing_is_left_behind_when_the_first_run_raises() -> None:
    module = made("functional")
    with traces.none_left(module), pytest.raises(ModelError, match="Functional does not run on pictures"):
        ph.Network(module, ph.Preprocess(size=12, channels=4))


def test_nothing_is_left_behind_when_the_user_raises() -> None:
    net = network("random at training")
    with traces.none_left(net.module), pytest.raises(ZeroDivisionError), net.reading() as read:
        assert len(read(PICTURES, {"0", ""})) // 0


@pytest.mark.parametrize("mode", [torch.enable_grad, torch.no_grad, torch.inference_mode])
@pytest.mark.parametrize("habit", HABITS)
def test_scores_are_those_of_the_module_in_eval_mode(habit: str, mode: Callable[[], Any]) -> None:
    module = made(habit)
    with mode():
        scores = ph.Network(module, P).scores(PICTURES)
    output = copy.deepcopy(module).eval()(INPUTS)
    expected = output["logits"] if habit == "dict" else output[0] if habit == "tuple" else output
    torch.testing.assert_close(scores, expected.detach())
    assert not scores.requires_grad
    assert not scores.is_inference()


def test_scores_of_no_pictures_are_none() -> None:
    assert network("plain").scores(PICTURES[:0]).shape == (0, CLASSES)


@pytest.mark.parametrize("wrapped", WRAPPERS, ids=["copied", "lent", "its own copy"])
@pytest.mark.parametrize("habit", HABITS)
def test_gradients_reach_the_pictures_and_not_the_weights(habit: str, wrapped: Callable[[nn.Module], nn.Module]) -> None:
    module = wrapped(made(habit))
    pictures = PICTURES.clone().requires_grad_(True)
    with ph.Network(module, P).reading() as read:
        read(pictures, {""})[""].sum().backward()
    assert pictures.grad is not None
    assert pictures.grad.abs().sum() > 0
    assert all(weight.grad is None for weight in module.parameters())


def test_the_gradient_is_that_of_the_module() -> None:
    module = made("functional")
    pictures, inputs = PICTURES.clone().requires_grad_(True), INPUTS.clone().requires_grad_(True)
    with ph.Network(module, P).reading() as read:
        (found,) = torch.autograd.grad(read(pictures, {""})[""][:, 2].sum(), pictures)
    (expected,) = torch.autograd.grad(copy.deepcopy(module).eval()(inputs)[:, 2].sum(), inputs)
    torch.testing.assert_close(found, expected / 0.25)


def test_an_in_place_rectifier_does_not_overwrite_what_was_read() -> None:
    net = network("inplace")
    first, third = net.module.get_submodule("0"), net.module.get_submodule("2")
    with torch.no_grad(), net.reading() as read:
        given = read(PICTURES, {"0", "1", "2", "3"})
    convolved = first(INPUTS)
    torch.testing.assert_close(given["0"], convolved)
    torch.testing.assert_close(given["1"], convolved.relu())
    torch.testing.assert_close(given["2"], third(convolved.relu()))
    torch.testing.assert_close(given["3"], F.relu6(third(convolved.relu())))
    assert given["0"].min() < 0


def test_the_last_address_alone_is_what_the_convolution_gave() -> None:
    net = network("inplace")
    with torch.no_grad(), net.reading() as read:
        alone = read(PICTURES, {"0"})["0"]
        together = read(PICTURES, {"0", ""})["0"]
    torch.testing.assert_close(alone, together)
    assert alone.min() < 0


def test_a_reused_module_is_read_by_run() -> None:
    net = network("functional")
    m = copy.deepcopy(net.module).eval()
    assert isinstance(m, Functional)
    with torch.no_grad(), net.reading() as read:
        given = read(PICTURES, {"relu", "relu@0", "relu@1"})
        x = F.relu(m.norm(m.one(INPUTS)))
        first = F.relu(m.two(x))
    torch.testing.assert_close(given["relu@0"], first)
    torch.testing.assert_close(given["relu@1"], F.relu(first + x))
    assert torch.equal(given["relu"], given["relu@1"])


def test_the_forward_pass_stops_at_the_last_address() -> None:
    class Counted(nn.Module):
        runs = 0

        def forward(self, x: Tensor) -> Tensor:
            Counted.runs += 1
            return x

    module = nn.Sequential(nn.Conv2d(3, 4, 3), Counted(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    net = ph.Network(module, P)
    before = Counted.runs
    with net.reading() as read:
        read(PICTURES, {"0"})
        assert Counted.runs == before
        read(PICTURES, {"0", "1"})
        read(PICTURES, {""})
    assert Counted.runs == before + 2


def test_a_network_that_swallows_exceptions_stops_all_the_same() -> None:
    class Careful(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body = plain()

        def forward(self, x: Tensor) -> Any:
            try:
                return self.body(x)
            except Exception:
                return None

    with ph.Network(Careful(), P).reading() as read:
        assert read(PICTURES, {"body.0"})["body.0"].shape == (3, 8, 12, 12)


def test_only_what_was_asked_for_is_given() -> None:
    with network("plain").reading() as read:
        assert set(read(PICTURES, {"3"})) == {"3"}
        assert set(read(PICTURES, {"3", ""})) == {"3", ""}


def test_reading_an_unknown_layer_tells_the_nearest() -> None:
    with network("functional").reading() as read, pytest.raises(UnknownNameError, match="no layer 'twoo'; nearest: two"):
        read(PICTURES, {"twoo"})


def test_a_layer_that_did_not_run_this_time_is_named() -> None:
    class Moody(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.extra = nn.Conv2d(3, 4, 3), nn.Identity()

        def forward(self, x: Tensor) -> Tensor:
            y: Tensor = self.conv(x)
            return (self.extra(y) if len(x) == 2 else y).mean((2, 3))

    net = ph.Network(Moody(), P)
    with net.reading() as read, pytest.raises(ModelError, match="extra did not run in this forward pass"):
        read(PICTURES, {"extra"})


class Pair(nn.Module):
    """Gives several things at once; what is no tensor comes first."""

    def __init__(self, empty: bool = False) -> None:
        super().__init__()
        self.empty = empty

    def forward(self, x: Tensor) -> Any:
        return {"none": None, "state": ()} if self.empty else {"none": None, "parts": [(), (x, x + 1)]}


class Holder(nn.Module):
    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.conv, self.inner = nn.Conv2d(3, 4, 3), inner

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.conv(x)
        self.inner(y)
        return y.mean((2, 3))


def test_of_several_things_the_first_tensor_is_read() -> None:
    with ph.Network(Holder(Pair()), P).reading() as read:
        given = read(PICTURES, {"conv", "inner"})
    assert torch.equal(given["conv"], given["inner"])


def test_a_module_that_gives_no_tensor_is_no_layer() -> None:
    net = ph.Network(Holder(Pair(empty=True)), P)
    assert list(net.calls) == ["conv"]
    assert [layer.address for layer in net.layers()] == ["conv"]


def test_the_hooks_of_the_user_stay() -> None:
    module, heard = made("plain"), []
    module.register_forward_hook(lambda *_: heard.append(1))
    ph.Network(module, P).layers()
    assert len(module._forward_hooks) == 1


def test_the_twin_follows_weights_that_change() -> None:
    module = made("plain")
    net = ph.Network(module, P)
    before = net.scores(PICTURES)
    with torch.no_grad():
        for weight in module.parameters():
            weight.mul_(0.5)
    after = net.scores(PICTURES)
    assert not torch.allclose(before, after)
    torch.testing.assert_close(after, copy.deepcopy(module).eval()(INPUTS).detach())


def test_the_twin_follows_running_statistics() -> None:
    module = made("functional")
    net = ph.Network(module, P)
    module.train()
    module(INPUTS * 3)
    torch.testing.assert_close(net.scores(PICTURES), copy.deepcopy(module).eval()(INPUTS).detach())


def test_the_twin_follows_a_module_that_is_exchanged() -> None:
    module = nn.Sequential(*plain().children())
    net = ph.Network(module, P)
    module[7] = nn.Linear(12, CLASSES)
    torch.testing.assert_close(net.scores(PICTURES), module(INPUTS).detach())


def test_the_twin_follows_a_weight_that_is_exchanged() -> None:
    module = nn.Sequential(*plain().children())
    net = ph.Network(module, P)
    module[7].register_parameter("weight", nn.Parameter(torch.ones(7, 12)))
    module[7].register_parameter("bias", None)
    torch.testing.assert_close(net.scores(PICTURES), module(INPUTS).detach())


def test_the_twin_follows_another_precision() -> None:
    module = plain()
    net = ph.Network(module, P)
    module.double()
    assert net.scores(PICTURES).dtype == torch.float64


def test_training_may_go_on_between_two_looks() -> None:
    module = made("random at training")
    net = ph.Network(module, P)
    optimiser = torch.optim.SGD(module.parameters(), lr=0.1)
    for _ in range(2):
        net.layers(), net.scores(PICTURES)
        optimiser.zero_grad()
        module(INPUTS).square().sum().backward()
        optimiser.step()
    assert module.training
    torch.testing.assert_close(net.scores(PICTURES), copy.deepcopy(module).eval()(INPUTS).detach())


def test_a_fixed_batch_gives_what_a_free_one_gives() -> None:
    module = made("functional")
    free, fixed = ph.Network(module, P), ph.Network(module, P, batch=2)
    with free.reading() as one, fixed.reading() as two:
        a, b = one(PICTURES, {"two", ""}), two(PICTURES, {"two", ""})
    torch.testing.assert_close(a, b)


def test_a_fixed_batch_is_kept_to() -> None:
    class Fixed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(3, 4, 3)

        def forward(self, x: Tensor) -> Tensor:
            assert len(x) == 2
            scores: Tensor = self.conv(x).mean((2, 3))
            return scores

    net = ph.Network(Fixed(), P, batch=2)
    assert [net.scores(PICTURES[:n]).shape[0] for n in (1, 2, 3)] == [1, 2, 3]


def test_random_layers_give_the_same_for_one_seed() -> None:
    class Noisy(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(3, 4, 3)

        def forward(self, x: Tensor) -> Tensor:
            return F.dropout(self.conv(x), 0.5).mean((2, 3))

    net = ph.Network(Noisy(), P)
    given = []
    for seed in (1, 1, 2):
        with torch.no_grad(), net.reading(seed) as read:
            given.append(read(PICTURES, {""})[""])
    assert torch.equal(given[0], given[1])
    assert not torch.equal(given[0], given[2])


def test_pictures_are_not_changed() -> None:
    before = PICTURES.clone()
    net = ph.Network(nn.Sequential(nn.ReLU(inplace=True), *plain().children()), ph.Preprocess(size=12))
    net.scores(PICTURES)
    with net.reading() as read:
        read(PICTURES, {"1", ""})
    assert torch.equal(PICTURES, before)


def test_wrong_pictures_are_refused_in_words() -> None:
    net = network("plain")
    file: Any = "cat.jpg"
    with pytest.raises(RequestError, match=r"pictures are torch.uint8 \(1, 3, 12, 12\); a float tensor \(b, c, h, w\)"):
        net.scores(torch.zeros(1, 3, 12, 12, dtype=torch.uint8))
    with pytest.raises(RequestError, match=r"pictures are torch.float32 \(3, 12, 12\); a float tensor"):
        net.scores(torch.zeros(3, 12, 12))
    with pytest.raises(RequestError, match=r"pictures are 'cat.jpg'; a float tensor"):
        net.scores(file)
    with pytest.raises(RequestError, match=r"pictures are \(1, 4, 12, 12\); \(b, 3, h, w\) is needed"):
        net.scores(torch.zeros(1, 4, 12, 12))


class Around(nn.Module):
    """Reads a part of itself on its way."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU())

    def forward(self, x: Tensor) -> Tensor:
        found, _ = forward(self.inner, x, ["1"], {"0": 1, "1": 1})
        return found["1"].mean((2, 3))


def test_a_pass_inside_a_pass_lets_the_outer_one_end_where_it_has_enough() -> None:
    module = Around().eval()
    found, output = forward(module, INPUTS, ["inner.0"], {"inner.0": 1})
    assert output is None
    torch.testing.assert_close(found["inner.0"], module.inner[0](INPUTS))
