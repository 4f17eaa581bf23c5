"""Packed convolutions give what torch's own give, forwards and backwards, whatever their settings."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F

import phosphene as ph
from phosphene.network.packing import Packed, pack, packable, unpacked
from tests.network.test_prepared import Head, network, ways

CPU = torch.device("cpu")
SHOWN = torch.rand(3, 3, 12, 12, generator=torch.Generator().manual_seed(2))
pytestmark = pytest.mark.skipif(not packable(CPU), reason="this build of torch has no mkldnn")


def packed(part: nn.Conv2d) -> nn.Conv2d:
    other = copy.deepcopy(part).requires_grad_(False)
    pack(other)
    assert type(other) is Packed
    return other


def both(part: nn.Conv2d, x: Tensor) -> tuple[Tensor, Tensor]:
    """What it gives, and a gradient towards its input."""
    x = x.detach().to(part.weight.dtype).contiguous(memory_format=torch.channels_last).requires_grad_(True)
    y = part(x)
    above = torch.rand(y.shape, generator=torch.Generator().manual_seed(1)).to(y)
    (below,) = torch.autograd.grad(y, x, above)
    return y.detach(), below


@st.composite
def convolutions(draw: st.DrawFn) -> tuple[nn.Conv2d, tuple[int, int]]:
    groups = draw(st.sampled_from([1, 1, 2, 4]))
    taps = draw(st.tuples(st.integers(1, 7), st.integers(1, 7)))
    dilation = draw(st.sampled_from([1, 1, 2, 3]))
    part = nn.Conv2d(
        groups * draw(st.integers(1, 3)),
        groups * draw(st.integers(1, 3)),
        taps,
        stride=draw(st.sampled_from([(1, 1), (1, 1), (2, 2), (3, 3), (2, 1)])),
        padding=draw(st.tuples(st.integers(0, 4), st.integers(0, 4))),
        dilation=dilation,
        groups=groups,
        bias=draw(st.booleans()),
    )
    least = dilation * 6 + 1
    return part, (draw(st.integers(least, least + 9)), draw(st.integers(least, least + 9)))


@settings(max_examples=150)
@given(convolutions(), st.integers(1, 3))
def test_any_convolution_gives_the_same(made: tuple[nn.Conv2d, tuple[int, int]], count: int) -> None:
    part, size = made
    x = torch.rand((count, part.in_channels, *size), generator=torch.Generator().manual_seed(0)) - 0.5
    for ours, theirs in zip(both(packed(part), x), both(part, x), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("stride", "taps", "phases"), [(1, 3, 1), (2, 7, 2), (4, 4, 4), (16, 16, 16), (2, 3, 0), (2, 1, 1)])
def test_strided_gradients_are_one_convolution_where_little_is_wasted(stride: int, taps: int, phases: int) -> None:
    part = packed(nn.Conv2d(3, 4, taps, stride=stride))
    assert isinstance(part, Packed)
    assert part.phases == phases


def test_shapes_and_kinds_may_change_from_call_to_call() -> None:
    part = nn.Conv2d(3, 5, 3, padding=1)
    ours = packed(part)
    for shape in ((2, 3, 8, 9), (1, 3, 20, 7), (2, 3, 8, 9), (3, 3, 1, 1)):
        x = torch.rand(shape)
        torch.testing.assert_close(ours(x), part(x), rtol=1e-5, atol=1e-6)
    assert ours(torch.rand(3, 6, 6)).shape == (5, 6, 6)
    assert ours(torch.rand(0, 3, 6, 6)).shape == (0, 5, 6, 6)
    ours.to(torch.bfloat16)
    x = torch.rand(2, 3, 8, 9)
    torch.testing.assert_close(ours(x.bfloat16()).float(), part(x), rtol=0.02, atol=0.02)


def test_bfloat16_is_as_near_as_torch_s_own() -> None:
    part = nn.Conv2d(3, 16, 7, stride=2, padding=3)
    x = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    exact = both(part, x)
    for ours, theirs, right in zip(both(packed(part).bfloat16(), x), both(part.bfloat16(), x), exact, strict=True):
        assert (ours - right).norm() <= 1.5 * (theirs - right).norm()


@pytest.mark.parametrize("size", [(12, 15), (13, 12), (7, 9)])
@pytest.mark.parametrize(
    ("taps", "stride", "padding", "dilation"),
    [(3, 2, 1, 1), (5, 2, 2, 1), (3, (2, 3), 0, 1), (3, 2, 2, 2), (1, 2, 0, 1), (3, 2, 3, 1), (2, 3, 0, 1)],
)
def test_strided_channels_alone_have_the_same_gradient_in_bfloat16(
    taps: int, stride: int, padding: int, dilation: int, size: tuple[int, int]
) -> None:
    torch.manual_seed(0)
    part = nn.Conv2d(6, 12, taps, stride, padding, dilation, groups=6)
    x = torch.rand((2, 6, *size), generator=torch.Generator().manual_seed(0)) - 0.5
    _, right = both(part, x)
    _, ours = both(packed(part).bfloat16(), x)
    assert ours.shape == right.shape
    assert (ours - right).norm() <= 0.01 * right.norm()


def test_what_is_not_plain_is_left() -> None:
    class Own(nn.Conv2d):
        pass

    parts = nn.ModuleList([Own(3, 3, 1), nn.Conv2d(3, 3, 3, padding="same"), nn.Conv2d(3, 3, 3, 1, 1, padding_mode="reflect")])
    pack(parts)
    assert not any(isinstance(part, Packed) for part in parts)


@pytest.mark.parametrize("half", [False, True])
def test_a_prepared_network_is_packed_and_its_module_is_not(half: bool) -> None:
    net = network(Head())
    found = ways(net, half)
    assert found.fast
    assert type(found.fast.module.conv) is Packed
    assert type(net.module.conv) is type(found.plain.module.conv) is nn.Conv2d


class Twisted(Head):
    """Gives other gradients where its convolutions are not torch's own."""

    def maps(self, x: Tensor) -> Tensor:
        maps: Tensor = super().maps(x)
        return maps if type(self.conv) is nn.Conv2d else maps.detach() + 0 * maps


def test_a_network_whose_gradients_would_differ_is_not_packed() -> None:
    net = network(Twisted())
    found = ways(net)
    assert found.fast
    assert type(found.fast.module.conv) is nn.Conv2d
    shown = SHOWN.clone().requires_grad_(True)
    with net.reading() as read:
        (uphill,) = torch.autograd.grad(read(shown, {""})[""].sum(), shown)
    assert uphill.any()


def test_a_second_gradient_is_refused() -> None:
    part = packed(nn.Conv2d(3, 4, 3))
    x = torch.rand(1, 3, 8, 8, requires_grad=True)
    (once,) = torch.autograd.grad(part(x).square().sum(), x, create_graph=True)
    with pytest.raises(RuntimeError):
        torch.autograd.grad(once.sum(), x)


def test_threads_do_not_meet_in_what_is_kept() -> None:
    from concurrent.futures import ThreadPoolExecutor

    net = ph.load("demo:robust")
    shown = [torch.rand(1 + i % 3, 3, 32, 32, generator=torch.Generator().manual_seed(i)) for i in range(24)]
    expected = [net.scores(pictures) for pictures in shown]
    with ThreadPoolExecutor(4) as pool:
        for given_, right in zip(pool.map(net.scores, shown), expected, strict=True):
            torch.testing.assert_close(given_, right, rtol=1e-5, atol=1e-5)


class SamePadding(nn.Conv2d):
    """Pads as TensorFlow does: as much more below and to the right as the size asks for."""

    def forward(self, x: Tensor) -> Tensor:
        high, wide = ((-(-side // self.stride[0]) - 1) * self.stride[0] + 3 - side for side in x.shape[2:])
        x = F.pad(x, (wide // 2, wide - wide // 2, high // 2, high - high // 2))
        return F.conv2d(x, self.weight, self.bias, self.stride, self.padding, groups=self.groups)


class StaticPadding(nn.Conv2d):
    def __init__(self, *settings: Any, **more: Any) -> None:
        super().__init__(*settings, **more)
        self.static = nn.ZeroPad2d((0, 1, 0, 1))

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(self.static(x))


class Standardised(nn.Conv2d):
    def forward(self, x: Tensor) -> Tensor:
        return F.conv2d(x, self.weight - self.weight.mean((1, 2, 3), keepdim=True), self.bias, self.stride)


@pytest.mark.parametrize("kind", [SamePadding, StaticPadding, Standardised])
@pytest.mark.parametrize("stride", [1, 2])
def test_subclasses_keep_what_they_do_around_the_convolution(kind: type[nn.Conv2d], stride: int) -> None:
    part = kind(4, 6, 3, stride=stride)
    ours = copy.deepcopy(part).requires_grad_(False)
    pack(ours)
    assert isinstance(ours, kind)
    for copied in (ours, copy.deepcopy(ours)):
        for shape in ((2, 4, 12, 12), (1, 4, 9, 14)):
            x = torch.rand(shape, generator=torch.Generator().manual_seed(0))
            for mine, theirs in zip(both(copied, x), both(part, x), strict=True):
                torch.testing.assert_close(mine, theirs, rtol=1e-4, atol=1e-5)
    (inner,) = (each for each in ours.modules() if type(each) is Packed)
    assert (inner._forwards is None) is (kind is Standardised)
    assert unpacked(ours) is ours
    assert type(ours) is kind
    assert [*ours.state_dict()] == [*part.state_dict()]


class Padded(Head):
    """Its convolution pads the input itself."""

    def __init__(self, kind: type[nn.Conv2d]) -> None:
        super().__init__()
        torch.manual_seed(3)
        self.conv = kind(3, 6, 3, bias=False)


def test_networks_of_subclasses_are_folded_packed_and_run_as_a_program() -> None:
    net = network(Padded(StaticPadding))
    told = net.preparation({""}, half=False, programmed=True)
    assert told == "1 batch norms folded, channels-last, packed, run as a program"
    with net.reading(programmed=True) as read:
        torch.testing.assert_close(read(SHOWN, {""})[""], net.module.eval()(net.preprocess.forward(SHOWN)))
    assert not any(isinstance(part, Packed) for part in net.module.modules())


def test_a_batch_norm_is_not_folded_into_weights_made_in_forward() -> None:
    assert ways(network(Padded(Standardised))).told.startswith("0 batch norms folded")
