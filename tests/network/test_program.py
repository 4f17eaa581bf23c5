"""A network as a list of steps gives what its module gives, forwards and backwards, or is not made."""

from __future__ import annotations

import copy
import gc
import weakref
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import phosphene as ph
from phosphene.errors import RequestError
from phosphene.network.packing import pack, packable
from phosphene.network.prepared import Ways
from phosphene.network.program import Another, Convolving, Program, program
from tests.network.test_prepared import SHOWN, Head, network, plain, ways

pytestmark = pytest.mark.skipif(not packable(torch.device("cpu")), reason="this build of torch has no mkldnn")
Code = Callable[["Parts", Tensor], Any]


class Parts(nn.Module):
    """Parts to be put together in many ways."""

    def __init__(self, code: Code) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.code = code
        self.first, self.second, self.third = (nn.Conv2d(n, 4, 3, padding=1) for n in (3, 4, 4))
        self.strided = nn.Conv2d(4, 4, 3, stride=2, padding=1)
        self.skip = nn.Conv2d(4, 4, 1, stride=2)
        self.deep = nn.Conv2d(4, 4, 3, stride=2, padding=1, groups=4)
        self.relu, self.relu6, self.drop = nn.ReLU(inplace=True), nn.ReLU6(), nn.Dropout(0.5)
        self.norm = nn.BatchNorm2d(4)

    def forward(self, x: Tensor) -> Any:
        return self.code(self, x)


def _in_place(m: Parts, x: Tensor) -> Tensor:
    y: Tensor = m.second(m.relu(m.first(x)))
    y += m.third(x[:, :1].expand(-1, 4, -1, -1))
    return m.relu(y)  # type: ignore[no-any-return]


def _squeezed(m: Parts, x: Tensor) -> Tensor:
    y: Tensor = m.first(x)
    return y * torch.sigmoid(m.second(F.relu(m.third(F.adaptive_avg_pool2d(y, 1)))))


def _forked(m: Parts, x: Tensor) -> Tensor:
    y = m.relu(m.first(x))
    return torch.cat([m.second(y).relu(), m.third(y), F.max_pool2d(y, 3, 1, 1), y], 1)


def _residual(m: Parts, x: Tensor) -> Any:
    y = F.relu(m.first(x))
    return m.relu(m.third(m.relu(m.second(y))) + y) + 0.5 * y


def _strided_shortcut(m: Parts, x: Tensor) -> Any:
    y = F.relu(m.first(x))
    return m.relu(m.strided(m.relu(m.second(y))) + m.skip(y))


def _one_gradient_for_two(m: Parts, x: Tensor) -> Any:
    y = F.relu(m.first(x))
    return m.second(F.relu(m.second(y)) + F.relu(m.third(y) + y))


def _method(m: Parts, x: Tensor) -> Any:
    y: Tensor = m.first(x)
    return y.add(m.second(torch.relu(m.third(m.drop(y))))).relu()


# How they are put together, and how many convolutions take something in.
FOLLOWED: dict[str, tuple[Code, int]] = {
    "rectifiers": (lambda m, x: m.second(F.relu6(m.first(m.relu6(m.first(x))[:, :3]))), 2),
    "forked": (_forked, 2),
    "residual": (_residual, 3),
    "strided shortcut": (_strided_shortcut, 3),
    "one gradient for two": (_one_gradient_for_two, 3),
    "skipping first": (lambda m, x: m.second(m.skip(x[:, :1].repeat(1, 4, 1, 1)).relu()), 1),
    "sum in place": (_in_place, 2),
    "sum by a method": (_method, 2),
    "sum of two convolutions": (lambda m, x: m.relu(m.second(m.first(x)) + m.third(m.first(x))), 1),
    "sum with its own input": (lambda m, x: (m.second(x[:, :1].repeat(1, 4, 1, 1)) + x[:, :1].repeat(1, 4, 1, 1)).relu(), 1),
    "sum that is cut at six": (lambda m, x: m.relu6(m.second(m.first(x)) + m.first(x)), 1),
    "used apart from its sum": (lambda m, x: (lambda y: F.relu(y + x[:, :1]) * y)(m.second(m.first(x).relu())), 1),
    "strided": (lambda m, x: m.strided(m.relu(m.first(x))) + m.deep(m.relu(m.first(x))), 3),
    "one pixel": (_squeezed, 1),
    "another part first": (lambda m, x: m.second(m.norm(m.first(x)).relu()).relu(), 1),
    "nothing hangs on the picture": (lambda m, x: m.first(torch.ones(1, 3, 8, 8)).relu() + 0 * x.mean(), 1),
    "shapes": (lambda m, x: m.first(x).relu().reshape(x.size(0), -1), 1),
    "a value nobody uses": (lambda m, x: (m.third(m.first(x)), m.second(m.first(x)).relu())[1], 1),
}
REFUSED: dict[str, Code] = {
    "asks for a value": lambda m, x: m.first(x).relu() if x.mean() > 0 else m.first(x),
    "asks for a shape": lambda m, x: m.first(x).relu() if x.shape[2] > 9 else m.first(x),
    "several at once": lambda m, x: torch.cat([part * 2 for part in m.first(x).chunk(2, 1)][::-1], 1),
    "nothing is taken in": lambda m, x: (lambda y: y + y)(m.second(m.norm(m.first(x)).relu())),
    "gives several": lambda m, x: (m.first(x).relu(), x),
    "a rectifier in place that stands alone": lambda m, x: m.relu(m.norm(m.first(x)) * 2),
    "a method in place": lambda m, x: m.first(x).relu().mul_(2),
}


def both(code: Code, dtype: torch.dtype = torch.float32) -> tuple[nn.Module, Program]:
    module = Parts(code).eval().requires_grad_(False).to(dtype)
    other = copy.deepcopy(module)
    pack(other)
    return module, program(other)


def there_and_back(module: nn.Module, dtype: torch.dtype = torch.float32) -> tuple[Tensor, Tensor]:
    x = SHOWN.to(dtype).contiguous(memory_format=torch.channels_last).requires_grad_(True)
    y = module(x.clone())
    above = torch.rand(y.shape, generator=torch.Generator().manual_seed(1)).to(y)
    (below,) = torch.autograd.grad(y, x, above, allow_unused=True)
    return y.detach(), torch.zeros_like(x) if below is None else below


@pytest.mark.parametrize("kind", FOLLOWED)
def test_it_gives_the_same(kind: str) -> None:
    module, ours = both(FOLLOWED[kind][0])
    for given, right in zip(there_and_back(ours), there_and_back(module), strict=True):
        torch.testing.assert_close(given, right, rtol=1e-4, atol=1e-5)
    with torch.no_grad():
        torch.testing.assert_close(ours(SHOWN), module(SHOWN), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(ours(SHOWN), module(SHOWN), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kind", FOLLOWED)
def test_what_follows_a_convolution_alone_is_taken_in(kind: str) -> None:
    _, ours = both(FOLLOWED[kind][0])
    took = [step for step in ours.steps if isinstance(step, Convolving) and step.takes_in]
    assert len(took) == FOLLOWED[kind][1]


@pytest.mark.parametrize("kind", FOLLOWED)
def test_a_value_is_let_go_once_and_not_before_its_last_use(kind: str) -> None:
    _, ours = both(FOLLOWED[kind][0])
    gone: set[Any] = set()
    for step in ours.steps:
        assert gone.isdisjoint(step.takes)
        assert gone.isdisjoint(step.done_with)
        gone.update(step.done_with)
    assert ours.asked not in gone


@pytest.mark.parametrize("kind", ["residual", "strided", "rectifiers"])
def test_in_bfloat16_it_is_as_near_as_the_module(kind: str) -> None:
    exact = there_and_back(both(FOLLOWED[kind][0])[0])
    module, ours = both(FOLLOWED[kind][0], torch.bfloat16)
    half = torch.bfloat16
    for given, theirs, right in zip(there_and_back(ours, half), there_and_back(module, half), exact, strict=True):
        assert (given - right).norm() <= 1.5 * (theirs - right).norm()


@pytest.mark.parametrize("kind", REFUSED)
def test_what_cannot_be_followed_is_refused(kind: str) -> None:
    with pytest.raises(Exception, match=r"."):
        there_and_back(both(REFUSED[kind])[1])


def test_a_value_that_was_changed_on_the_side_is_missed() -> None:
    def code(m: Parts, x: Tensor) -> Tensor:
        y = m.norm(m.first(x)) * 1
        same = y
        y += 1
        given: Tensor = m.second(same).relu()
        return given

    net = network(nn.Sequential(Parts(code), nn.AdaptiveAvgPool2d(1), nn.Flatten()))
    assert net.preparation({""}, programmed=True).endswith("; no program: its scores or their gradient would differ")


def test_other_modules_mean_what_they_did_while_code_is_followed() -> None:
    other = nn.Linear(2, 2)
    module, ours = both(lambda m, x: m.first(x).relu() + other(torch.ones(1, 2)).sum().item())
    torch.testing.assert_close(ours(SHOWN), module(SHOWN), rtol=1e-4, atol=1e-5)
    assert all("forward" not in vars(part) for part in ours.modules())


def test_hooks_are_not_given_stand_ins() -> None:
    module = Parts(FOLLOWED["residual"][0])
    module.relu.register_forward_hook(lambda *_: None)
    pack(module)
    with pytest.raises(RequestError, match="hooks"):
        program(module)


def test_its_gradient_is_given_once() -> None:
    _, ours = both(FOLLOWED["residual"][0])
    x = SHOWN.clone().requires_grad_(True)
    total = ours(x).sum()
    torch.autograd.grad(total, x, retain_graph=True)
    with pytest.raises(RuntimeError, match="once"):
        torch.autograd.grad(total, x)
    (slope,) = torch.autograd.grad(ours(x).square().sum(), x, create_graph=True)
    with pytest.raises(RuntimeError):
        torch.autograd.grad(slope.sum(), x)


def test_nothing_is_kept_once_the_scores_are_gone() -> None:
    _, ours = both(FOLLOWED["residual"][0])
    x = SHOWN.clone().requires_grad_(True)
    gc.disable()
    try:
        y = ours(x)
        assert y.grad_fn is not None
        seen = weakref.ref(y.grad_fn.tape)
        del y
        assert seen() is None
    finally:
        gc.enable()


class Block(Head):
    def maps(self, x: Tensor) -> Tensor:
        before: Tensor = self.norm(self.conv(x)).relu()
        maps: Tensor = (self.other(before) + before).relu()
        return maps

    def __init__(self) -> None:
        super().__init__()
        self.other = nn.Conv2d(6, 6, 3, padding=1)


class Asking(Block):
    def maps(self, x: Tensor) -> Tensor:
        return super().maps(x) if x.shape[2] > 9 else x


def programmed(net: ph.Network, half: bool = False) -> Ways:
    with net._twin.running() as module:
        return net._ways(module, half, programmed=True)


def test_scores_alone_come_from_a_program() -> None:
    net = network(Block())
    found = programmed(net)
    assert isinstance(found.of({""}).module, Program)
    assert found.of({"other"}) is found.fast is found.of({"other", ""})
    assert found.told_of({""}).endswith("packed, run as a program")
    assert found.told_of({"other"}) == ways(net).told
    assert not isinstance(ways(net).of({""}).module, Program)
    shown = SHOWN.clone().requires_grad_(True)
    with net.reading(programmed=True) as read:
        scores = read(shown, {""})[""]
        (ours,) = torch.autograd.grad(scores.square().sum(), shown)
        given = read(SHOWN, {"other", ""})
    torch.testing.assert_close(scores.detach(), plain(net), rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(given["other"], plain(net, "other"), rtol=1e-4, atol=1e-6)
    (theirs,) = torch.autograd.grad(net.module.eval()(net.preprocess.forward(shown)).square().sum(), shown)
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-6)


def test_where_no_program_can_be_made_the_record_tells_why() -> None:
    net = network(Asking())
    assert programmed(net).scores is None
    assert "; no program: symbolically traced variables" in net.preparation({""}, programmed=True)
    assert "program" not in net.preparation({""})
    with net.reading(programmed=True) as read, torch.no_grad():
        assert read(SHOWN, {""})[""].shape == (3, 5)


def test_a_program_follows_the_user_s_values() -> None:
    module = Block()
    net = network(module)
    with net.reading(programmed=True) as read, torch.no_grad():
        read(SHOWN, {""})
    module.other.weight.data *= 1.5
    with net.reading(programmed=True) as read, torch.no_grad():
        torch.testing.assert_close(read(SHOWN, {""})[""], plain(net), rtol=1e-4, atol=1e-6)


def test_pictures_are_drawn_by_a_program(robust: ph.Network) -> None:
    told = ph.render(robust, "logit:cat", recipe="pixels", steps=1).record.environment["prepared"]
    assert told.endswith("run as a program")


def test_steps_are_of_two_kinds() -> None:
    _, ours = both(FOLLOWED["forked"][0])
    kinds = [type(step) for step in ours.steps]
    assert kinds == [Convolving, Convolving, Convolving, Another, Another]
