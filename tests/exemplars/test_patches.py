"""Boxes against the support of the gradient, and patches against the original's own pixels."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import pytest
import torch
from PIL import Image, ImageDraw
from torch import Tensor, nn
from torch.nn import functional as F

import phosphene as ph
from phosphene.errors import PictureError
from phosphene.exemplars import sheet
from phosphene.exemplars.examples import Examples
from phosphene.exemplars.patches import original_box
from phosphene.network.preprocess import Placing


class Block(nn.Module):
    """A residual block with a strided shortcut."""

    def __init__(self, channels: int, out: int, stride: int) -> None:
        super().__init__()
        self.one = nn.Conv2d(channels, out, 3, stride, 1)
        self.two = nn.Conv2d(out, out, 3, 1, 1)
        self.short = nn.Conv2d(channels, out, 1, stride)

    def forward(self, x: Tensor) -> Tensor:
        return F.softplus(self.two(F.softplus(self.one(x))) + self.short(x))


# Without rectifiers and maxima, which let no gradient through at some places, the support is the whole field.
BODIES: dict[str, Callable[[], nn.Module]] = {
    "padding": lambda: nn.Conv2d(3, 4, 5, padding=2),
    "no padding": lambda: nn.Conv2d(3, 4, 5),
    "stride": lambda: nn.Sequential(nn.Conv2d(3, 4, 3, 2, 1), nn.Conv2d(4, 4, 3, 2, 1)),
    "dilation": lambda: nn.Conv2d(3, 4, 3, padding=3, dilation=3),
    "oblong": lambda: nn.Conv2d(3, 4, (1, 5), padding=(0, 2)),
    "pooling": lambda: nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.Softplus(), nn.AvgPool2d(3, 2, 1), nn.Conv2d(4, 4, 3)),
    "residual": lambda: nn.Sequential(Block(3, 4, 2), Block(4, 4, 1)),
}
SIZE = (20, 26)


def network(body: nn.Module) -> ph.Network:
    module = nn.Sequential(body, nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3)))
    return ph.Network(module, ph.Preprocess(size=SIZE, mean=0.5, std=0.25))


def supports(net: ph.Network, data: Tensor, found: Examples) -> dict[tuple[int, int], list[int]]:
    """(left, top, right, bottom) of the pixels on which the unit of each (row, rank) depends."""
    cells = [(row, rank) for row in range(len(found)) for rank in range(found.values.shape[1])]
    pictures = data[[int(found.indices[cell]) for cell in cells]]
    seen = ph.explain(net, pictures, [found.unit_at(*cell) for cell in cells], method="gradient").colour
    assert seen is not None
    boxes = {}
    for cell, gradient in zip(cells, seen, strict=True):
        rows, columns = ((gradient != 0).any(0).any(1 - axis).nonzero().flatten().tolist() for axis in (0, 1))
        boxes[cell] = [columns[0], rows[0], columns[-1] + 1, rows[-1] + 1]
    return boxes


@pytest.mark.parametrize("body", BODIES)
def test_boxes_are_the_support_of_the_gradient(body: str) -> None:
    with torch.random.fork_rng():
        torch.manual_seed(3)
        net = network(BODIES[body]())
    data = torch.rand(6, 3, *SIZE, generator=torch.Generator().manual_seed(1))
    found = ph.examples(net, data, "channel:0:*", top=15, one_per_picture=False)
    cut = 0
    for cell, seen in supports(net, data, found).items():
        box = list(found.box(*cell))
        # At a border a dilated kernel may be cut in one of its holes: there the support begins a tap later.
        slack = 2 if body == "dilation" else 0
        assert all(abs(one - other) <= slack * (one in (0, *SIZE)) for one, other in zip(box, seen, strict=True))
        cut += any(side in (0, *SIZE) for side in box)
    assert cut > 0


@pytest.mark.parametrize("layer", ["stem.0", "stage1.0.bn2", "stage2.0.conv2"])
def test_boxes_hold_the_support_in_the_bundled_resnet(standard: ph.Network, layer: str) -> None:
    """Rectifiers may let nothing through near the edges: then the support is smaller, never larger."""
    data = torch.rand(4, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    found = ph.examples(standard, data, f"channel:{layer}:0-2", top=4)
    for cell, seen in supports(standard, data, found).items():
        left, top, right, bottom = found.box(*cell)
        assert (max(left, seen[0]), max(top, seen[1])) == (seen[0], seen[1])
        assert (min(right, seen[2]), min(bottom, seen[3])) == (seen[2], seen[3])
        assert (seen[2] - seen[0]) * (seen[3] - seen[1]) > 0.6 * (right - left) * (bottom - top)


def test_the_value_comes_from_the_patch_alone() -> None:
    """What lies outside of the box is painted over, and the unit does not notice."""
    net = network(BODIES["residual"]())
    data = torch.rand(5, 3, *SIZE)
    found = ph.examples(net, data, "channel:0:*", top=2)
    for row in range(4):
        left, top, right, bottom = found.box(row, 0)
        painted = torch.zeros(1, 3, *SIZE)
        painted[..., top:bottom, left:right] = data[int(found.indices[row, 0])][:, top:bottom, left:right]
        y, x = found.places[row, 0].tolist()
        assert net.features(painted, "0")[0, row, y, x] == pytest.approx(float(found.values[row, 0]), abs=1e-5)


@pytest.mark.parametrize("resize", [None, 24, 40])
@pytest.mark.parametrize("size", [(20, 26), (90, 61), (33, 200), (13, 15)])
def test_patches_are_of_the_original_where_the_unit_looked(size: tuple[int, int], resize: int | None) -> None:
    """A bright spot in the original excites the unit: the patch must hold it, at the original's resolution."""
    detector = nn.Conv2d(3, 4, 3, padding=1)
    with torch.no_grad():
        detector.weight.fill_(0.1)
    net = network(detector)
    net.preprocess = net.preprocess.replace(resize=resize, mean=0.0, std=1.0)
    picture = torch.zeros(1, 3, *size)
    y, x = size[0] // 2, size[1] // 2
    picture[..., y - 1 : y + 2, x - 1 : x + 2] = 1
    found = ph.examples(net, [picture[0]], "channel:0:0", top=1)
    left, top, right, bottom = found.box(0, 0)
    assert x in range(left, right)
    assert y in range(top, bottom)
    ((patch,),) = found.patches()
    assert torch.equal(patch, picture[0, :, top:bottom, left:right])


@pytest.mark.parametrize(
    ("size", "box"), [((64, 64), (16, 16, 48, 48)), ((64, 128), (48, 16, 80, 48)), ((32, 32), (8, 8, 24, 24))]
)
def test_boxes_go_back_through_resizing_and_cropping(size: tuple[int, int], box: tuple[int, int, int, int]) -> None:
    place = ph.Preprocess(size=32, resize=32).placing(size)
    assert original_box((8, 8, 24, 24), place, size) == box


def test_every_pixel_of_the_crop_is_in_some_box() -> None:
    """The windows of neighbours leave no gap and reach the borders of what was cropped, and no farther."""
    place, size = Placing((37, 53), 2, 10), (101, 149)
    boxes = [original_box((x, x, x + 1, x + 1), place, size) for x in range(32)]
    for (_, _, right, bottom), (left, top, _, _) in pairwise(boxes):
        assert left <= right
        assert top <= bottom
    assert boxes[0][0] == 10 * 149 // 53
    assert boxes[-1][2] == -(-42 * 149 // 53)


def test_units_without_places_see_the_whole_picture() -> None:
    net = network(BODIES["padding"]())
    found = ph.examples(net, torch.rand(3, 3, *SIZE), ["logit:1", "channel:1.1:0"], top=1)
    assert found.boxes[:, 0].tolist() == [[0, 0, 26, 20]] * 2
    assert found.places[:, 0].tolist() == [[-1, -1]] * 2


def test_a_picture_that_changed_since_the_scan_is_refused() -> None:
    data = [torch.rand(3, 40, 40), torch.rand(3, 40, 40)]
    found = ph.examples(network(BODIES["padding"]()), data, "channel:0:0", top=1)
    data[int(found.indices[0, 0])] = torch.rand(3, 10, 10)
    with pytest.raises(PictureError, match="has 10×10 pixels and had 40×40"):
        found.patches()


def test_what_stands_at_the_head_of_a_row_is_cut_where_it_does_not_fit(
    standard: ph.Network, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines: list[tuple[str, float]] = []
    monkeypatch.setattr(sheet, "_facts", lambda *_: ["channel 3", "a.very.long.address." * 9 + "end"])
    monkeypatch.setattr(ImageDraw.ImageDraw, "text", lambda self, at, text, colour, font: lines.append((text, font.size)))
    found = ph.examples(standard, torch.rand(4, 3, 32, 32), "channel:stage1.0:3", top=1)
    sheet._headed(found, 0, Image.new("RGB", (150, 90)))
    (whole, large), (cut, small) = lines
    assert large > small
    assert whole == "channel 3"
    assert cut.startswith("…")
    assert cut.endswith(".end")
    assert 10 < len(cut) < 60
    lines.clear()
    sheet._headed(found, 0, Image.new("RGB", (15, 90)))
    assert lines[1][0] == "…"  # two characters are wider
