"""Passes through one network: in turns, with numbers of their own, each from the same state."""

from __future__ import annotations

import pickle
import random
import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import phosphene as ph
from phosphene.network.leftovers import Leftovers
from phosphene.network.passes import Nature
from phosphene.network.probe import Twin, watching

P = ph.Preprocess(size=12)
PICTURES = torch.rand(8, 3, 12, 12, generator=torch.Generator().manual_seed(1))


class Small(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.a, self.b, self.head = nn.Conv2d(3, 6, 3, padding=1), nn.Conv2d(6, 8, 3, padding=1), nn.Linear(8, 4)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.head(self.b(self.a(x).relu()).relu().mean((2, 3)))
        return y


class WithDropout(Small):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(F.dropout(x, 0.3))


class WithPythonNumbers(Small):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x * random.random() + float(np.random.rand()))


class Seeding(Small):
    def forward(self, x: Tensor) -> Tensor:
        torch.manual_seed(3)
        return super().forward(x + 0.1 * torch.randn_like(x))


class Hidden(Small):
    """Keeps what it saw in every way there is."""

    count: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.last: Any = 0.0
        self.seen: list[float] = []
        self.queue: deque[float] = deque([1.0], maxlen=2)
        self.plain: Tensor = torch.zeros(())
        self.register_buffer("count", torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:
        y = super().forward(x + self.last) + len(self.seen) + self.count + self.plain + self.queue[-1]
        self.last = x.mean()
        self.seen.append(1.0)
        self.queue.append(2.0)
        self.plain += 1
        self.count += 1
        self.new = 1
        return y


class Uncopyable(nn.Module):
    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner, self.lock = inner, threading.Lock()

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.inner(x)
        return y


VERBS: dict[str, Callable[[ph.Network, int], Tensor]] = {
    "scores": lambda net, i: net.scores(PICTURES[i : i + 1]),
    "features": lambda net, i: net.features(PICTURES[i : i + 1], "b"),
    "unit": lambda net, i: ph.explain(net, PICTURES[i : i + 1], f"channel:b:{i}").values,
    "saliency": lambda net, i: ph.explain(net, PICTURES[i : i + 1], "logit:1").values,
    "guided": lambda net, i: ph.explain(net, PICTURES[i : i + 1], "logit:1", method="guided_backprop").values,
    "occlusion": lambda net, i: ph.explain(net, PICTURES[i : i + 1], "logit:1", method="occlusion").values,
    "cam": lambda net, i: ph.cam(net, PICTURES[i : i + 1], "logit:1").values,
    "grad_cam": lambda net, i: ph.cam(net, PICTURES[i : i + 1], "logit:1", method="grad_cam").values,
    "ablation_cam": lambda net, i: ph.cam(net, PICTURES[i : i + 1], "logit:1", method="ablation_cam").values,
    "render": lambda net, i: ph.render(net, f"channel:b:{i}", steps=3).pictures,
    "activations": lambda net, i: ph.activations(net, PICTURES[i : i + 1], "a").maps[0].values,
    "filters": lambda net, i: ph.filters(net).values,
    "examples": lambda net, i: ph.examples(net, PICTURES, f"channel:b:{i}", top=2).values,
    "layers": lambda net, i: torch.tensor([len(net.layers())]),
}


@pytest.mark.parametrize("make", [Small, WithDropout, lambda: Uncopyable(Small())], ids=["plain", "dropout", "lent"])
def test_eight_threads_are_as_one(make: Callable[[], nn.Module]) -> None:
    module = make()
    net = ph.Network(module, P)
    prefix = "inner." if isinstance(module, Uncopyable) else ""
    verbs = VERBS if not prefix else {name: VERBS[name] for name in ("scores", "saliency", "guided", "grad_cam", "cam")}
    jobs = [(verb, i) for i in range(8) for verb in verbs]
    alone = [verbs[verb](net, i) for verb, i in jobs]
    with ThreadPoolExecutor(8) as pool:
        together = list(pool.map(lambda job: verbs[job[0]](net, job[1]), jobs))
    assert [job for job, a, b in zip(jobs, alone, together, strict=True) if not torch.equal(a, b)] == []


def test_another_threads_numbers_are_its_own() -> None:
    net = ph.Network(WithDropout(), P)
    torch.manual_seed(5)
    expected = [float(torch.rand(())) for _ in range(300)]
    torch.manual_seed(5)
    found: list[float] = []
    drawing = threading.Thread(target=lambda: found.extend(float(torch.rand(())) for _ in range(300)))
    drawing.start()
    for _ in range(5):
        ph.explain(net, PICTURES, "logit:1")
        ph.render(net, ["logit:1", "channel:b:2"], steps=2)
    drawing.join()
    assert found == expected


def test_weights_that_change_meanwhile_reach_the_next_call_alone() -> None:
    net = ph.Network(Small(), P)
    before = net.scores(PICTURES)
    with net.reading() as read:
        net.module.get_parameter("head.bias").data += 1
        torch.testing.assert_close(net.scores(PICTURES), before + 1)
        assert torch.equal(read(PICTURES, {""})[""].detach(), before)


def test_who_is_inside_keeps_the_values_there_were() -> None:
    module = Small()
    twin = Twin(module)
    with twin.running() as outer:
        before = outer.get_parameter("head.bias").clone()
        module.get_parameter("head.bias").data += 1
        with twin.running() as inner:
            torch.testing.assert_close(inner.get_parameter("head.bias"), before + 1)
        assert torch.equal(outer.get_parameter("head.bias"), before)


def test_a_pass_in_another_thread_is_not_watched() -> None:
    module, seen = Small(), []
    with watching(module, {"a"}, lambda path, run, given: seen.append((path, run))):
        other = threading.Thread(target=lambda: module(PICTURES))
        other.start()
        other.join()
        assert seen == []
        module(PICTURES)
    assert seen == [("a", 0)]


@pytest.mark.parametrize(
    ("make", "nature"),
    [
        (Small, Nature()),
        (WithDropout, Nature("torch")),
        (WithPythonNumbers, Nature("any")),
        (Seeding, Nature("any")),
        (Hidden, Nature(leaves=True)),
    ],
)
def test_the_first_pass_shows_what_a_network_draws_and_leaves(make: Callable[[], nn.Module], nature: Nature) -> None:
    assert ph.Network(make(), P)._passes.nature == nature


@pytest.mark.parametrize("make", [WithDropout, WithPythonNumbers, Seeding])
def test_a_network_that_draws_repeats_itself_and_takes_none_of_the_callers_numbers(make: Callable[[], nn.Module]) -> None:
    net = ph.Network(make(), P)
    random.seed(1), np.random.seed(1), torch.manual_seed(1)
    expected = random.random(), float(np.random.rand()), float(torch.rand(()))
    random.seed(1), np.random.seed(1), torch.manual_seed(1)
    first = net.scores(PICTURES)
    assert (random.random(), float(np.random.rand()), float(torch.rand(()))) == expected
    assert torch.equal(net.scores(PICTURES), first)


@pytest.mark.parametrize("lent", [False, True])
def test_each_pass_starts_from_the_same_state(lent: bool) -> None:
    module = Hidden()
    expected = Hidden()(P.forward(PICTURES)).detach()
    net = ph.Network(Uncopyable(module) if lent else module, P)
    for _ in range(3):
        torch.testing.assert_close(net.scores(PICTURES), expected)
    first, second = (ph.explain(net, PICTURES, "logit:1").values for _ in range(2))
    assert torch.equal(first, second)
    assert (module.last, module.seen, list(module.queue), float(module.plain)) == (0.0, [], [1.0], 0.0)
    assert float(module.get_buffer("count")) == 0
    assert not hasattr(module, "new")


def test_leftovers_are_seen_and_put_back() -> None:
    module = Hidden()
    leftovers = Leftovers(module)
    assert not leftovers.changed()
    module(PICTURES)
    assert leftovers.changed()
    leftovers.put_back()
    assert not leftovers.changed()


def test_a_used_network_can_be_pickled(standard: ph.Network) -> None:
    pictures = torch.rand(1, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    ph.render(standard, ["logit:1", "logit:2"], steps=1)
    other = pickle.loads(pickle.dumps(standard))
    assert torch.equal(other.scores(pictures), standard.scores(pictures))
    assert (other.classes, other.notes, other.sha256()) == (standard.classes, standard.notes, standard.sha256())


def test_a_pickled_network_still_knows_that_it_draws() -> None:
    net = ph.Network(WithDropout(), P)
    other = pickle.loads(pickle.dumps(net))
    assert other._passes.nature == Nature("torch")
    assert torch.equal(other.scores(PICTURES), net.scores(PICTURES))


SEEN: list[float] = []


def record(module: nn.Module, args: Any, output: Tensor) -> None:
    SEEN.append(float(output.detach().mean()))


def test_the_users_recording_hooks_are_not_told_of_our_passes() -> None:
    module, own = Small(), []

    class Recorder:
        def __init__(self) -> None:
            self.seen: list[int] = []

        def hook(self, module: nn.Module, args: Any, output: Tensor) -> None:
            self.seen.append(len(output))

    recorder = Recorder()
    module.a.register_forward_hook(record)
    module.a.register_forward_hook(lambda *_: own.append(1))
    module.b.register_forward_hook(recorder.hook)
    module.b.register_forward_pre_hook(lambda module, args: own.append(2))
    net = ph.Network(module, P)
    ph.explain(net, PICTURES, "logit:1")
    assert (SEEN, own, recorder.seen) == ([], [], [])
    with net._twin.running() as twin:
        assert not any(part._forward_hooks or part._forward_pre_hooks for part in twin.modules())


def doubled(module: nn.Module, args: Any, output: Tensor) -> Tensor:
    return 2 * output


def in_place(module: nn.Module, args: Any, output: Tensor) -> None:
    output.mul_(2)


def smaller_weights(module: nn.Module, args: Any) -> None:
    with torch.no_grad():
        module.get_parameter("weight").clamp_(-0.1, 0.1)


@pytest.mark.parametrize("hook", [doubled, in_place])
def test_hooks_that_change_what_a_module_gives_are_obeyed(hook: Any) -> None:
    module = Small()
    module.a.register_forward_hook(hook)
    net = ph.Network(module, P)
    for _ in range(2):
        torch.testing.assert_close(net.scores(PICTURES), module(P.forward(PICTURES)).detach())


def test_hooks_that_change_the_module_are_obeyed() -> None:
    module = Small()
    module.a.register_forward_pre_hook(smaller_weights)
    net = ph.Network(module, P)
    scores = net.scores(PICTURES)
    assert float(module.a.weight.detach().abs().max()) > 0.1
    torch.testing.assert_close(scores, module(P.forward(PICTURES)).detach())


def test_torchs_own_hooks_run() -> None:
    module = Small()
    module.a = nn.utils.spectral_norm(module.a)
    torch.testing.assert_close(ph.Network(module, P).scores(PICTURES), module.eval()(P.forward(PICTURES)).detach())
