"""What every method of `cam` promises: neighbours, habits of networks, modes, kinds of numbers, nothing left behind."""

from __future__ import annotations

import gc
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import phosphene as ph
from phosphene.cams.cam import methods
from phosphene.errors import RequestError
from tests.cams.pooled import SIZE, close, module, net, pictures
from tests.nets import HABITS, made, network, of_channels

POOLED = ("plain", "functional", "dict", "tuple", "frozen")
RELUS = ("plain", "inplace", "functional", "random at training", "frozen")  # the others end in ELU
CELLS = [
    (method, habit)
    for method in methods()
    for habit in HABITS
    if (method != "cam" or habit in POOLED) and (method != "guided_grad_cam" or habit in RELUS)
]


@pytest.mark.parametrize(("method", "habit"), CELLS)
def test_a_map_is_the_same_whatever_its_neighbours(method: str, habit: str) -> None:
    of, shown = network(habit), pictures(3, (12, 12))
    asked = ["logit:0", "logit:4 - logit:2", "logit:1"]
    together = ph.cam(of, shown, asked, method=method)
    assert bool(torch.isfinite(together.values).all())
    for i in range(3):
        alone = ph.cam(of, shown[i : i + 1], asked[i], method=method)
        assert close(together.values[i : i + 1], alone.values, 1e-4)
        assert together.items[i].score == pytest.approx(alone.items[0].score, rel=1e-4, abs=1e-5)


@pytest.mark.parametrize("method", methods())
def test_a_map_does_not_depend_on_the_chunk(method: str) -> None:
    of, shown = net(nn.ReLU()), pictures(3)
    small, large = (ph.cam(of, shown, "logit:a", method=method, chunk=chunk) for chunk in (1, 64))
    assert close(small.values, large.values, 1e-4)


@pytest.mark.parametrize("method", methods())
def test_it_works_where_gradients_are_switched_off(method: str) -> None:
    of, shown = net(nn.ReLU()), pictures()
    wanted = ph.cam(of, shown, "logit:a", method=method).values
    with torch.no_grad():
        assert torch.equal(ph.cam(of, shown, "logit:a", method=method).values, wanted)
    with torch.inference_mode():
        assert torch.equal(ph.cam(of, shown, "logit:a", method=method).values, wanted)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
@pytest.mark.parametrize("method", methods())
def test_half_and_double_precision_give_much_the_same_map(method: str, dtype: torch.dtype) -> None:
    shown = pictures()
    other = ph.Network(module(nn.ReLU()).to(dtype), ph.Preprocess(size=SIZE, mean=0.5, std=0.25), list("abcde"))
    h, wanted = (ph.cam(of, shown, "logit:a", method=method) for of in (other, net(nn.ReLU())))
    assert h.values.dtype == torch.float32
    assert close(h.values, wanted.values, 0.1 if dtype != torch.float64 else 1e-4)


@pytest.mark.parametrize("method", methods())
def test_a_rectifier_in_place_changes_nothing(method: str) -> None:
    shown = pictures()
    layer = None if method == "cam" else "0"
    inside, beside = (ph.cam(net(nn.ReLU(inplace=way)), shown, "logit:a", method=method, layer=layer) for way in (True, False))
    assert torch.equal(inside.values, beside.values)


def everything(module: nn.Module) -> list[Any]:
    values = [t.detach().clone() for t in (*module.parameters(), *module.buffers())]
    hooks = [len(part._forward_hooks) + len(part._backward_hooks) for part in module.modules()]
    grads = [(p.grad is None, p.requires_grad) for p in module.parameters()]
    return [values, hooks, grads, [part.training for part in module.modules()], torch.get_rng_state()]


@pytest.mark.parametrize("fails", [False, True])
@pytest.mark.parametrize("method", methods())
def test_nothing_is_left_behind(method: str, fails: bool) -> None:
    theirs = made("plain")
    of, shown = ph.Network(theirs, ph.Preprocess(size=12)), pictures(2, (12, 12))
    before, given = everything(theirs), shown.clone()
    asked = ph.custom(lambda a: a[""][:, 0] / (1 // 0), [""], "wrong") if fails else ph.logit(0)
    try:
        ph.cam(of, shown, asked, method=method)
    except (ZeroDivisionError, RequestError):
        assert fails
    after = everything(theirs)
    assert all(torch.equal(a, b) for a, b in zip(before.pop(0), after.pop(0), strict=True))
    assert torch.equal(before.pop(), after.pop())
    assert before == after
    assert torch.equal(shown, given)


def test_no_graph_is_kept() -> None:
    def tensors() -> int:
        gc.collect()
        return sum(issubclass(type(one), Tensor) for one in gc.get_objects())

    of, shown = net(nn.ReLU()), pictures()
    ph.cam(of, shown, "logit:a", method="grad_cam")
    before = tensors()
    for _ in range(3):
        ph.cam(of, shown, "logit:a", method="grad_cam")
    assert tensors() <= before


@pytest.mark.parametrize("channels", [1, 2, 3, 11])
@pytest.mark.parametrize("method", methods())
def test_pictures_may_have_any_number_of_channels(method: str, channels: int) -> None:
    h = ph.cam(of_channels(channels), torch.rand(2, channels, 12, 16), method=method)
    assert bool(torch.isfinite(h.values).all())
    assert h.overlay().size[0] > 0


@pytest.mark.parametrize("method", methods())
def test_dark_and_constant_pictures_give_finite_maps(method: str) -> None:
    shown = torch.cat([torch.full((1, 3, *SIZE), level) for level in (0.0, 0.5, 1.0)])
    h = ph.cam(net(nn.ReLU()), shown, "logit:a", method=method)
    assert bool(torch.isfinite(h.values).all())


@pytest.mark.parametrize("method", ["grad_cam", "ablation_cam", "score_cam", "cam"])
def test_running_out_of_memory_halves_the_chunk_and_goes_on(method: str, monkeypatch: pytest.MonkeyPatch) -> None:
    of, shown = net(nn.ReLU()), pictures(5)
    wanted = ph.cam(of, shown, "logit:a", method=method)
    read = of._read_once

    def scarce(way: Any, given: Tensor, wanted: Any, changes: Any, rows: int, numbers: Any) -> Any:
        if max(len(given), rows) > 2:
            raise torch.OutOfMemoryError
        return read(way, given, wanted, changes, rows, numbers)

    monkeypatch.setattr(of, "_read_once", scarce)
    assert close(ph.cam(of, shown, "logit:a", method=method, chunk=4).values, wanted.values)


def test_a_network_for_one_batch_size_is_refused_by_those_that_need_any() -> None:
    of = ph.Network(module(nn.ReLU()), ph.Preprocess(size=SIZE), batch=2)
    with pytest.raises(RequestError, match="takes 2 pictures at once and no other number"):
        ph.cam(of, pictures(1), method="grad_cam")
