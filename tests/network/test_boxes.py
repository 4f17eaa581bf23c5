"""Boxes of random small networks against the support of the gradient, of every unit, also at the border."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import phosphene as ph
from phosphene.network.boxes import BoxTracer
from phosphene.network.grid import Grid
from phosphene.network.layers import Layer
from phosphene.network.receptive import Windows, of_windows

Op = Callable[[Tensor], Tensor]


def reaches(function: Op, inputs: Tensor) -> Tensor:
    """(left, top, right, bottom) of every number of the output, (…, 4), by following; a box of nothing is four zeros."""
    with torch.no_grad(), BoxTracer(inputs) as tracer:
        output = function(inputs.clone())
    found = tracer.reaches(output)
    assert found is not None
    assert bool(torch.isfinite(found).all())
    up, down, left, right = found
    h, w = inputs.shape[2:]
    boxes = torch.stack([w - left, h - up, right, down], -1)
    return torch.where((down > 0)[..., None], boxes, 0).long()


def supports(function: Op, inputs: Tensor) -> Tensor:
    """The same by gradient, of the pictures' first."""
    inputs = inputs.clone().requires_grad_(True)
    output = function(inputs * 1)
    found = []
    for unit in output.flatten():
        (gradient,) = torch.autograd.grad(unit, inputs, retain_graph=True)
        seen = (gradient != 0).any(0).any(0)
        rows, columns = seen.any(1).nonzero().flatten().tolist(), seen.any(0).nonzero().flatten().tolist()
        found.append([columns[0], rows[0], columns[-1] + 1, rows[-1] + 1] if rows else [0, 0, 0, 0])
    return torch.tensor(found).view(*output.shape, 4)


def convolved(x: Tensor, k: int, stride: int, padding: int, transposed: bool = False, groups: int = 1) -> Tensor:
    g = torch.Generator().manual_seed(k)
    weight = torch.rand((2, 2 // groups, k, k), generator=g, dtype=x.dtype) + 0.1
    if transposed:
        return F.conv_transpose2d(x, weight, stride=stride, padding=padding, output_padding=stride - 1, groups=groups)
    return F.conv2d(x, weight, stride=stride, padding=padding, groups=groups)


def windows(x: Tensor) -> Tensor:
    """Means over shifted 2×2 windows, as attention in them mixes."""
    b, k, h, w = x.shape
    x = F.pad(x, (0, w % 2, 0, h % 2)).roll((-1, -1), (2, 3)).permute(0, 2, 3, 1)
    parts = x.reshape(b, (h + 1) // 2, 2, (w + 1) // 2, 2, k).transpose(2, 3).reshape(-1, 4, k)
    mixed = (torch.full((4, 4), 0.25, dtype=x.dtype) @ parts).view(b, (h + 1) // 2, (w + 1) // 2, 2, 2, k)
    return mixed.transpose(2, 3).reshape(b, (h + 1) // 2 * 2, -1, k).roll((1, 1), (1, 2))[:, :h, :w].permute(0, 3, 1, 2)


def written(x: Tensor) -> Tensor:
    shifted = torch.zeros_like(x)
    shifted[:, :, 1:] = x[:, :, :-1]
    shifted[:, :1].add_(x[:, 1:])
    return shifted


def copied(x: Tensor) -> Tensor:
    """A picture's rows and a constant, written over parts of another tensor."""
    made = torch.zeros_like(x)
    made[:, :, 1:3].copy_(x[:, :, :2])
    made[:, :1, 4:].copy_(torch.ones_like(x[:, :1, 4:]).detach())
    return made


OPS: dict[str, Op] = {
    "conv": lambda x: convolved(x, 3, 1, 1),
    "strided": lambda x: convolved(x, 3, 2, 0),
    "grouped": lambda x: convolved(x, 2, 1, 1, groups=2),
    "transposed": lambda x: convolved(x, 3, 2, 1, transposed=True),
    "grouped transposed": lambda x: convolved(x, 2, 1, 0, transposed=True, groups=2),
    "nearest": lambda x: F.interpolate(x, scale_factor=1.5),
    "bilinear": lambda x: F.interpolate(x, size=(6, 7), mode="bilinear"),
    "aligned": lambda x: F.interpolate(x, size=(5, 7), mode="bilinear", align_corners=True),
    "bicubic": lambda x: F.interpolate(x, size=(6, 5), mode="bicubic"),
    "ceiling": lambda x: F.avg_pool2d(x, 2, 2, ceil_mode=True),
    "maximum": lambda x: F.max_pool2d(x, 3, 1, 1) + F.avg_pool2d(x, 3, 1, 1),  # a maximum's gradient is of one pixel
    "adaptive": lambda x: F.adaptive_avg_pool2d(x, 4),
    "flip": lambda x: x.flip(3),
    "roll": lambda x: x.roll(2, 2),
    "slices": lambda x: torch.cat([x[:, :1, ::2, ::2], x[:, 1:, ::2, ::2]], 1),
    "turned": lambda x: x.transpose(2, 3),
    "picked": lambda x: x[:, [1, 0]] + x.index_select(2, torch.arange(x.shape[2]).flip(0)),
    "stacked": lambda x: torch.stack(x.unbind(1), 1).sum(1, keepdim=True).expand_as(x),
    "shuffled": lambda x: F.pixel_shuffle(torch.cat([x, x], 1), 2).expand(-1, 2, -1, -1),
    "unshuffled": lambda x: F.pixel_unshuffle(F.pad(x, (0, x.shape[3] % 2, 0, x.shape[2] % 2)), 2)[:, :2],
    "reflected": lambda x: F.pad(x, (1, 0, 0, 1), mode="reflect"),
    "norm of channels": lambda x: F.layer_norm(x.permute(0, 2, 3, 1).square(), (2,)).permute(0, 3, 1, 2),
    "linear": lambda x: (x.movedim(1, -1) @ torch.tensor([[1.0, 2], [3, 4]], dtype=x.dtype)).movedim(-1, 1),
    "shifted windows": windows,
    "written": written,
    "masked": lambda x: torch.where(torch.eye(x.shape[2], x.shape[3]) > 0, x, x.mean(1, keepdim=True)),
    "rows": lambda x: x + x.mean(3, keepdim=True),
    "padded with a number": lambda x: F.pad(x, (1, 2, 0, 1), value=0.5),
    "pooled by rounding down": lambda x: F.max_pool2d(x, 2) + F.avg_pool2d(x, 2),
    "copied": copied,
    "leaky": lambda x: F.leaky_relu_(x.clone(), 0.1) * x.sigmoid(),
}


@pytest.mark.parametrize("name", OPS)
def test_every_operation_moves_boxes_as_it_moves_gradients(name: str) -> None:
    torch.manual_seed(0)
    inputs = torch.rand(1, 2, 5, 6, dtype=torch.float64) + 0.1
    followed, true = reaches(OPS[name], inputs), supports(OPS[name], inputs)
    assert torch.equal(followed, true)


@pytest.mark.parametrize("seed", range(40))
def test_boxes_of_random_networks_are_the_supports(seed: int) -> None:
    draw = random.Random(seed)
    chain = [draw.choice([*OPS]) for _ in range(3)]

    def network(x: Tensor) -> Tensor:
        for name in chain:
            x = OPS[name](x)
        return x[:, :, :6, :6]

    torch.manual_seed(seed)
    inputs = torch.rand(1, 2, 6, 7, dtype=torch.float64) + 0.1
    followed, true = reaches(network, inputs), supports(network, inputs)
    empty = true[..., 2] == 0  # a gradient can cancel; a box is never narrower
    assert bool(((followed[..., :2] <= true[..., :2]) & (followed[..., 2:] >= true[..., 2:]) | empty[..., None]).all()), chain
    unlike = int((followed != true).any(-1).sum())
    assert unlike == 0 or {"maximum", "norm of channels", "masked"} & {*chain}, chain


def test_attention_sees_all_keys_and_its_own_query() -> None:
    def attend(x: Tensor) -> Tensor:
        tokens = x.flatten(2).movedim(1, 2)[:, None]
        return F.scaled_dot_product_attention(tokens, tokens[:, :, :2], tokens[:, :, :2])

    inputs = torch.rand(1, 4, 3, 3)
    found = reaches(attend, inputs)[0, 0, :, 0]
    assert found[0].tolist() == [0, 0, 2, 1]
    assert found[8].tolist() == [0, 0, 3, 3]


@pytest.mark.parametrize(
    "function", [lambda x: x.sort(2).values, lambda x: F.grid_sample(x, torch.zeros(1, 2, 2, 2), align_corners=False)]
)
def test_what_has_no_rule_is_unknown(function: Op) -> None:
    inputs = torch.rand(1, 2, 4, 4)
    with torch.no_grad(), BoxTracer(inputs) as tracer:
        output = function(inputs).relu()
    assert tracer.of(output, Grid("bkhw", (output.shape[2], output.shape[3]))) is None


class Last(nn.Module):
    """A convolution, then maps with their channels last, then tokens."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.norm, self.mix, self.tokens = nn.Conv2d(3, 5, 4, 4), nn.LayerNorm(5), nn.Linear(5, 7), nn.Identity()
        self.up, self.pool, self.head = nn.ConvTranspose2d(7, 2, 2, 2), nn.AdaptiveAvgPool2d(1), nn.Linear(2, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.mix(self.norm(self.stem(x).permute(0, 2, 3, 1)))
        self.tokens(x.flatten(1, 2))
        scores: Tensor = self.head(self.pool(self.up(x.permute(0, 3, 1, 2))).flatten(1))
        return scores


@pytest.fixture(scope="module")
def last() -> ph.Network:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return ph.Network(Last(), ph.Preprocess(size=(24, 32)))


def test_channels_last_and_tokens_have_fields(last: ph.Network) -> None:
    rows: dict[str, Layer] = {row.address: row for row in last.layers()}
    for address in ("stem", "norm", "mix", "tokens"):
        field = rows[address].receptive_field
        assert field is not None
        assert (field.size, field.stride, field.offset, field.exact) == ((4, 4), (4, 4), (0, 0), True), address
    up = rows["up"].receptive_field
    assert isinstance(up, Windows)
    assert up.box(5, 15, (24, 32)) == (28, 8, 32, 12)
    pooled = rows["pool"].receptive_field
    assert pooled is not None
    assert pooled.box(0, 0, (24, 32)) == (0, 0, 32, 24)


def test_layers_are_found_once_until_the_module_is_another(last: ph.Network) -> None:
    first = last.layers()
    assert last.layers() is first
    assert last.layers((32, 32)) is not first
    stem, last.module.stem = last.module.stem, nn.Conv2d(3, 5, 4, 4)
    assert last.layers() is not first
    last.module.stem = stem


def test_examples_cut_the_window_of_each_place() -> None:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        body = nn.Sequential(nn.Conv2d(3, 4, 3, 2, 1), nn.Upsample(scale_factor=2), nn.Conv2d(4, 4, 1))
        net = ph.Network(nn.Sequential(body, nn.AdaptiveAvgPool2d(1), nn.Flatten()), ph.Preprocess(size=16))
        found = ph.examples(net, torch.rand(6, 3, 16, 16), "channel:0.2:*", top=2)
    for (y, x), (left, top, right, bottom) in zip(
        found.places.flatten(0, 1).tolist(), found.windows.flatten(0, 1).tolist(), strict=True
    ):
        across, down = x // 2 * 2, y // 2 * 2
        assert (left, top, right, bottom) == (max(across - 1, 0), max(down - 1, 0), across + 2, down + 2)


def test_windows_on_a_line_are_told_as_that_line() -> None:
    windows = [(max(2 * i - 3, 0), min(2 * i + 4, 20)) for i in range(10)]
    field = of_windows(windows, windows, (20, 20), True)
    assert (field.size, field.stride, field.offset) == ((7, 7), (2, 2), (-3, -3))
    bent = [*windows[:-1], (0, 20)]
    assert isinstance(of_windows(bent, windows, (20, 20), True), Windows)


def test_windows_that_follow_no_line_have_neither_stride_nor_offset() -> None:
    field = of_windows([(0, 3), (1, 9)], [(0, 2), (5, 6)], (20, 20), True)
    assert isinstance(field, Windows)
    assert (field.size, field.stride, field.offset) == ((8, 2), (0, 0), (0, 0))
