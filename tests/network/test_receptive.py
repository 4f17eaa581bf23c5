from __future__ import annotations

from collections.abc import Sequence

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F

import phosphene as ph
from phosphene.network.demo import DemoNet
from phosphene.network.layers import Layer
from phosphene.network.receptive import Axis, Field, ReceptiveField, Windows
from phosphene.network.tracing import Tracer

Box = tuple[int, int, int, int]


def positive(module: nn.Module) -> nn.Module:
    """All weights positive, so that no gradient cancels and no rectifier stops it."""
    with torch.no_grad():
        for weight in module.parameters():
            weight.copy_(torch.rand_like(weight) + 0.1)
    return module.double().eval().requires_grad_(False)


def seen(units: Tensor, inputs: Tensor) -> Box | None:
    """(left, top, right, bottom) of the pixels that these units depend on."""
    (gradient,) = torch.autograd.grad(units.sum(), inputs, retain_graph=True)
    rows, columns = (gradient != 0).any(0).any(0).nonzero().T
    return (int(columns.min()), int(rows.min()), int(columns.max()) + 1, int(rows.max()) + 1) if len(rows) else None


def traced(module: nn.Module, size: tuple[int, int]) -> tuple[ReceptiveField | None, Tensor, Tensor]:
    """The field by arithmetic, and the output with its graph down to the inputs."""
    inputs = torch.rand((1, 2, *size), dtype=torch.float64).requires_grad_(True)
    with torch.no_grad(), Tracer(inputs) as tracer:
        field = tracer.of(module(inputs))
    return field, module(inputs), inputs


def whole(box: Box, field: ReceptiveField) -> bool:
    """Whether the border does not clip the box."""
    return (box[2] - box[0], box[3] - box[1]) == field.size[::-1]


def inside(a: Box, b: Box) -> bool:
    return a[0] >= b[0] and a[1] >= b[1] and a[2] <= b[2] and a[3] <= b[3]


def agrees(field: ReceptiveField | None, output: Tensor, inputs: Tensor) -> bool:
    """Corners and middle see their boxes and nothing else; at the border, where a box can have gaps, no more than it."""
    if field is None or not field.exact:
        return False
    size = (inputs.shape[2], inputs.shape[3])
    rows, columns = ({0, n // 2, n - 1} for n in output.shape[2:])
    boxes = ((field.box(y, x, size), seen(output[:, :, y, x], inputs)) for y in rows for x in columns)
    return all(found == box if whole(box, field) else found is None or inside(found, box) for box, found in boxes)


pairs = st.tuples(st.integers(1, 3), st.integers(1, 3))


@st.composite
def convolutions(draw: st.DrawFn) -> nn.Module:
    kernel, stride, dilation = draw(pairs), draw(st.tuples(st.integers(1, 2), st.integers(1, 2))), draw(pairs)
    padding = draw(st.tuples(st.integers(0, 2), st.integers(0, 2)))
    groups = draw(st.sampled_from([1, 2]))
    return nn.Conv2d(2, 2, kernel, stride, padding, dilation, groups)


@st.composite
def poolings(draw: st.DrawFn) -> nn.Module:
    kernel = draw(st.integers(1, 3))
    stride = draw(st.integers(1, 2))
    return nn.AvgPool2d(kernel, stride, draw(st.integers(0, kernel // 2)), ceil_mode=draw(st.booleans()))


simple = st.sampled_from([nn.ReLU(), nn.Identity(), nn.ZeroPad2d((1, 0, 2, 1)), nn.ELU(), nn.BatchNorm2d(2), nn.Dropout()])
stacks = st.lists(st.one_of(convolutions(), poolings(), simple), min_size=1, max_size=3)


@settings(max_examples=40)
@given(stacks, st.integers(0, 3))
def test_the_arithmetic_agrees_with_the_gradient(parts: Sequence[nn.Module], wider: int) -> None:
    module = positive(nn.Sequential(*parts))
    field, output, inputs = traced(module, (44, 44 + wider))
    assert agrees(field, output, inputs)


@settings(max_examples=25)
@given(st.integers(1, 3), st.integers(1, 3), st.integers(1, 2), st.integers(0, 1))
def test_a_maximum_sees_its_window(kernel: int, stride: int, dilation: int, padding: int) -> None:
    pool = nn.MaxPool2d(kernel, stride, min(padding, kernel // 2), dilation)
    (with_max, _, _), (with_conv, _, _) = (
        traced(module, (12, 15))
        for module in (pool, nn.Conv2d(2, 2, kernel, stride, min(padding, kernel // 2), dilation).double())
    )
    assert with_max == with_conv


class Residual(nn.Module):
    def __init__(self, body: nn.Module, shortcut: nn.Module) -> None:
        super().__init__()
        self.body, self.shortcut = body, shortcut

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.body(x) + self.shortcut(x)
        return y


@pytest.mark.parametrize("stride", [1, 2])
def test_a_shortcut_joins_what_its_branches_see(stride: int) -> None:
    narrow, wide = nn.Conv2d(2, 2, 1, stride), nn.Conv2d(2, 2, 5, stride, 2)
    module = positive(nn.Sequential(nn.Conv2d(2, 2, 3), Residual(narrow, wide), Residual(nn.Identity(), nn.ReLU())))
    field, output, inputs = traced(module, (16, 19))
    assert agrees(field, output, inputs)
    assert field == ReceptiveField((7, 7), (stride, stride), (-2, -2))


class Concatenated(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.one, self.three = nn.Conv2d(2, 1, 1), nn.Conv2d(2, 1, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        left, right = torch.cat([self.one(x), self.three(x)], 1).chunk(2, dim=1)
        return torch.cat([left, right], 1)


class Part(nn.Module):
    """A shortcut to some channels alone, written in place, as RexNet has it; then rows and columns from one on, each second."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.three = nn.Conv2d(2, 3, 3, padding=1), nn.Conv2d(2, 2, 5, padding=2)

    def forward(self, x: Tensor) -> Tensor:
        y = self.one(x)
        y[:, 0:2] += self.three(x)
        sliced: Tensor = y[:, :, 1:, -5:][:, 1:, ::2]
        return sliced


def test_parts_of_channels_and_of_rows_are_followed() -> None:
    field, output, inputs = traced(positive(Part()), (9, 8))
    assert field == ReceptiveField((5, 5), (2, 1), (-1, 1), reach=((0, 9), (1, 8)))
    for y in range(4):
        for x in range(5):
            assert seen(output[:, :1, y, x], inputs) == field.box(y, x, (9, 8))


class Shuffled(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        b, c, h, w = x.shape
        return x.view(b, 2, c // 2, h, w).transpose(1, 2).reshape(b, c, h, w)


def test_concatenation_splitting_and_shuffling_of_channels_are_followed() -> None:
    module = positive(nn.Sequential(Concatenated(), Shuffled(), nn.Conv2d(2, 2, 2, 2)))
    field, output, inputs = traced(module, (8, 9))
    assert agrees(field, output, inputs)


class Gated(nn.Module):
    """Squeeze and excitation, with convolutions as torchvision has it."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.gate = nn.Conv2d(2, 2, 3, padding=1), nn.Conv2d(2, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(x)
        y: Tensor = x * torch.sigmoid(self.gate(x.mean((2, 3), keepdim=True)))
        return y


def test_behind_a_gate_every_unit_sees_everything() -> None:
    field, output, inputs = traced(positive(Gated()), (6, 7))
    assert field == ReceptiveField((6, 7), (0, 0), (0, 0))
    assert seen(output[:, :, 0, 0], inputs) == (0, 0, 7, 6)


class Strip(nn.Module):
    """Adds to each place the mean of its row."""

    def forward(self, x: Tensor) -> Tensor:
        return x + F.avg_pool2d(x, (1, x.shape[3]))


def test_a_strip_pooling_sees_its_rows() -> None:
    field, output, inputs = traced(Strip(), (6, 7))
    assert agrees(field, output, inputs)
    assert field == ReceptiveField((1, 7), (1, 0), (0, 0))


class Norms(nn.Module):
    def __init__(self, norm: nn.Module) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(2, 2, 3, padding=1), norm

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.norm(self.conv(x))
        return y


@pytest.mark.parametrize(
    "norm", [nn.GroupNorm(2, 2), nn.InstanceNorm2d(2), nn.BatchNorm2d(2, track_running_stats=False), nn.LayerNorm((2, 6, 7))]
)
def test_norms_over_places_see_everything(norm: nn.Module) -> None:
    field, output, inputs = traced(positive(Norms(norm)), (6, 7))
    assert seen(output[0, 0, 0, 0], inputs) == (0, 0, 7, 6)
    assert field == ReceptiveField((6, 7), (0, 0), (0, 0))


def test_a_norm_does_not_see_what_no_unit_sees() -> None:
    module = positive(nn.Sequential(nn.Conv2d(2, 2, 2, 2), nn.GroupNorm(1, 2)))
    field, output, inputs = traced(module, (5, 6))
    assert field == ReceptiveField((4, 6), (0, 0), (0, 0))
    assert seen(output[0, 0, 1, 1], inputs) == (0, 0, 6, 4)


@pytest.mark.parametrize("pool", [nn.AdaptiveAvgPool2d(2), nn.AdaptiveMaxPool2d((2, 3)), nn.AdaptiveAvgPool2d((3, 6))])
def test_even_bins_are_windows(pool: nn.Module) -> None:
    field, output, _ = traced(pool, (12, 12))
    rows, columns = 12 // output.shape[2], 12 // output.shape[3]
    assert field == ReceptiveField((rows, columns), (rows, columns), (0, 0))


def test_uneven_bins_are_unknown() -> None:
    assert traced(nn.AdaptiveAvgPool2d(5), (12, 12))[0] is None


class Head(nn.Module):
    def __init__(self, how: str) -> None:
        super().__init__()
        self.how, self.linear = how, nn.Linear(2 if how != "places" else 24, 3)

    def forward(self, x: Tensor) -> Tensor:
        pooled = {
            "mean": lambda: x.mean((2, 3)),
            "max": lambda: F.adaptive_max_pool2d(x, 1).flatten(1),
            "places": lambda: x.flatten(1),
        }
        y: Tensor = self.linear(pooled[self.how]())
        return y


@pytest.mark.parametrize("how", ["mean", "max", "places"])
def test_a_head_sees_all_that_the_map_below_sees(how: str) -> None:
    field, _, _ = traced(positive(nn.Sequential(nn.Conv2d(2, 2, 3), Head(how))), (5, 6))
    assert field is not None
    assert (field.size, field.offset) == ((5, 6), (0, 0))


class Mixed(nn.Module):
    """Flattened places: a feature sees one window or another."""

    def forward(self, x: Tensor) -> Tensor:
        return x.flatten(1)


def test_flattened_places_have_no_common_field() -> None:
    assert traced(Mixed(), (5, 6))[0] is None


class Written(nn.Module):
    """Shifts a map by writing through a view."""

    def forward(self, x: Tensor) -> Tensor:
        shifted = torch.zeros(x.shape, dtype=x.dtype)
        shifted[:, :, 2:] = x[:, :, :-2]
        return x + shifted


class Dynamic(nn.Module):
    """Convolves with weights that it makes of the picture."""

    def forward(self, x: Tensor) -> Tensor:
        return F.conv2d(x, x.mean((0, 2, 3)).view(1, 2, 1, 1))


class Turned(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.transpose(2, 3)


class MeanOfRows(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.mean(2, keepdim=True)


class BatchPadded(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return F.pad(x, (0, 0, 0, 0, 1, 1))


UNKNOWN: list[nn.Module] = [
    nn.ConvTranspose2d(2, 2, 2, 2),
    nn.Upsample(scale_factor=2),
    nn.PixelShuffle(1),
    Written(),
    Dynamic(),
    Turned(),
    MeanOfRows(),
    BatchPadded(),
]


@pytest.mark.parametrize("module", UNKNOWN, ids=lambda m: type(m).__name__)
def test_what_has_no_rule_is_unknown_and_so_is_what_follows(module: nn.Module) -> None:
    follow = nn.Sequential(
        module.double(), nn.ReLU(), nn.AvgPool2d(1), nn.MaxPool2d(1), nn.AdaptiveAvgPool2d(1), nn.ZeroPad2d(1)
    )
    size = (5, 6)
    assert traced(module, size)[0] is None
    assert traced(follow, size)[0] is None


def layers_of(module: nn.Module, size: int = 16) -> dict[str, Layer]:
    return {layer.address: layer for layer in ph.Network(module, ph.Preprocess(size=size)).layers()}


def headed(*parts: nn.Module) -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(*parts, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 5))


def test_where_units_follow_no_line_each_has_its_window() -> None:
    with torch.random.fork_rng():
        found = layers_of(headed(nn.Conv2d(3, 4, 3, padding=1), nn.Upsample(scale_factor=2), nn.Conv2d(4, 4, 1)))
    assert found["0"].receptive_field == ReceptiveField((3, 3), (1, 1), (-1, -1))
    field = found["2"].receptive_field
    assert isinstance(field, Windows)
    assert (field.size, field.exact) == ((3, 3), True)
    assert [field.box(i, 31 - i, (16, 16)) for i in (0, 1, 2, 31)] == [
        (14, 0, 16, 2),
        (14, 0, 16, 2),
        (13, 0, 16, 3),
        (0, 14, 2, 16),
    ]


def test_a_network_of_channels_last_is_followed() -> None:
    class Last(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(3, 4, 3, 2)

        def forward(self, x: Tensor) -> Tensor:
            y: Tensor = self.conv(x.permute(0, 3, 1, 2))
            return y.mean((2, 3))

    (layer,) = ph.Network(Last(), ph.Preprocess(size=(9, 13), layout="bhwc")).layers()
    assert layer.receptive_field == ReceptiveField((3, 3), (2, 2), (0, 0))


def test_a_layer_that_the_picture_does_not_reach_has_no_field() -> None:
    class Deaf(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.constant, self.dead, self.conv = nn.Identity(), nn.Identity(), nn.Conv2d(3, 4, 3)

        def forward(self, x: Tensor) -> Tensor:
            y: Tensor = self.conv(x)
            self.constant(torch.ones(2, 3, 4, 4))
            self.dead(torch.zeros_like(x).flip(2))
            return y.mean((2, 3))

    found = layers_of(Deaf())
    assert found["constant"].receptive_field is None
    assert found["dead"].receptive_field is None


def test_the_layers_of_the_demo_agree_with_the_gradient() -> None:
    module = positive(DemoNet(widths=(2, 2, 2, 2)))
    with torch.no_grad():
        for part in module.modules():
            if isinstance(part, nn.BatchNorm2d):
                part.running_mean = torch.zeros(2, dtype=torch.float64)
    inputs = torch.rand(1, 3, 96, 96, dtype=torch.float64)
    fields = {layer.address: layer.receptive_field for layer in ph.Network(module, ph.Preprocess(size=96)).layers()}
    inputs.requires_grad_(True)
    with torch.enable_grad():
        x = inputs
        for stage in ("stem", "stage1", "stage2", "stage3"):
            x = module.get_submodule(stage)(x)
            field, middle = fields[stage], (x.shape[2] // 2, x.shape[3] // 2)
            assert field is not None
            assert seen(x[:, :, middle[0], middle[1]], inputs) == field.box(*middle, (96, 96))


def test_every_layer_of_the_demo_has_an_exact_field(robust: ph.Network) -> None:
    fields = {layer.address: layer.receptive_field for layer in robust.layers()}
    assert all(field is not None and field.exact for field in fields.values())
    assert fields["stem"] == ReceptiveField((5, 5), (1, 1), (-2, -2))
    assert fields["stage2"] == ReceptiveField((27, 27), (2, 2), (-13, -13))


def test_layers_come_in_the_order_in_which_they_end(robust: ph.Network) -> None:
    order = [layer.address for layer in robust.layers()]
    assert order.index("stem.0") < order.index("stem") < order.index("stage1.0") < order.index("classifier")


def test_layers_tell_kind_shape_and_runs(robust: ph.Network) -> None:
    found = {layer.address: layer for layer in robust.layers(size=(40, 48))}
    assert (found["stage2"].kind, found["stage2"].shape, found["stage2"].calls) == ("Sequential", (64, 20, 24), 1)
    assert found["classifier"].to_dict()["shape"] == (10,)


@pytest.mark.parametrize(
    ("y", "x", "box"),
    [(0, 0, (0, 0, 4, 4)), (2, 1, (1, 3, 6, 8)), (3, 3, (5, 5, 8, 8)), (9, 9, (8, 8, 8, 8)), (-9, 0, (0, 0, 4, 0))],
)
def test_a_box_is_clipped_to_the_picture(y: int, x: int, box: Box) -> None:
    assert ReceptiveField(size=(5, 5), stride=(2, 2), offset=(-1, -1)).box(y, x, (8, 8)) == box


def test_a_unit_of_padding_alone_has_an_empty_box() -> None:
    field, _, _ = traced(nn.ZeroPad2d(3), (4, 4))
    assert field is not None
    left, top, right, bottom = field.box(0, 9, (4, 4))
    assert (top, bottom) == (0, 0)
    assert left == right == 4


@given(st.integers(-9, 9), st.integers(1, 9), st.integers(0, 3), st.integers(-5, 30), st.integers(1, 20))
def test_a_box_lies_in_the_picture(offset: int, size: int, stride: int, unit: int, side: int) -> None:
    left, top, right, bottom = ReceptiveField((size, size), (stride, stride), (offset, offset)).box(unit, unit, (side, side))
    assert 0 <= left <= right <= side
    assert 0 <= top <= bottom <= side


def test_axes_of_different_strides_do_not_join() -> None:
    whole = (0, 9)
    assert Axis(0, 3, 1, whole).joined(Axis(0, 3, 2, whole)) is None
    assert Axis(0, 3, 1, whole).joined(Axis(0, 5, 0, whole)) is None
    assert Axis(0, 3, 1, whole).joined(Axis(-1, 11, 0, whole)) == Axis(0, 9, 0, whole)
    assert Axis(0, 9, 0, whole).joined(Axis(0, 3, 1, whole)) == Axis(0, 9, 0, whole)


def test_axes_of_different_reach_join_where_one_sees_all_that_the_other_does() -> None:
    wide, narrow = Axis(-1, 5, 2, (0, 9)), Axis(0, 3, 2, (0, 8))
    assert wide.joined(narrow) == narrow.joined(wide) == wide
    assert Axis(0, 3, 2, (0, 9)).joined(Axis(-1, 5, 2, (0, 8))) is None
    assert Axis(-1, 3, 2, (0, 9)).joined(Axis(0, 3, 2, (0, 9))) == Axis(-1, 4, 2, (0, 9))
    assert Axis(0, 8, 0, (0, 8)).joined(narrow) == Axis(0, 8, 0, (0, 8))
    assert Axis(0, 8, 0, (0, 8)).joined(wide) is None


@pytest.mark.parametrize(("h", "w"), [(16, 19), (17, 18)])
def test_windows_end_where_a_stride_without_padding_left_pixels_out(h: int, w: int) -> None:
    module = nn.Sequential(
        nn.Conv2d(3, 4, 3, stride=2),
        nn.AvgPool2d(3, 2, ceil_mode=True),
        nn.Conv2d(4, 4, 3, padding=1),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
    )
    fields = {row.address: row.receptive_field for row in ph.Network(positive(module), ph.Preprocess(size=(h, w))).layers()}
    x = inputs = torch.rand(1, 3, h, w, dtype=torch.float64, requires_grad=True)
    for i, part in enumerate(module[:4]):
        x = part(x)
        field = fields[str(i)]
        assert field is not None
        for y in range(x.shape[2]):
            for at in range(x.shape[3]):
                assert seen(x[:, :, y, at], inputs) == field.box(y, at, (h, w)), (i, y, at)


def test_mixed_fields_do_not_join() -> None:
    field = Field(Axis(0, 1, 1, (0, 4)), Axis(0, 1, 1, (0, 4)))
    assert field.joined(Field(field.y, field.x, mixed=True)) is None
    assert field.joined(field) == field
