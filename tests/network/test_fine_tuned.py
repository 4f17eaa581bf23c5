"""A network of torchvision or timm with a head of five classes, by every way of naming it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import timm
import torch
import torchvision.models as tv
from torch import nn
from torchvision.datasets import ImageFolder

import phosphene as ph
from phosphene.cli.app import main

CLASSES = ("ant", "bee", "cat", "dog", "elk")


def fine_tuned() -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        made: nn.Module = tv.resnet18(num_classes=5).eval()
    return made


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """best.pth, a checkpoint of a loop, one of Lightning, net.py, and an ImageFolder."""
    monkeypatch.chdir(tmp_path)
    state = fine_tuned().state_dict()
    torch.save(state, "best.pth")
    torch.save({"epoch": 3, "model_state_dict": state}, "loop.pt")
    torch.save({"state_dict": {f"model.{name}": tensor for name, tensor in state.items()}}, "lightning.ckpt")
    Path("net.py").write_text(
        "import torchvision\ndef make():\n    return torchvision.models.resnet18(num_classes=5)\ndef _own(): ...\n"
    )
    for name in CLASSES:
        (tmp_path / "train" / name).mkdir(parents=True)
        ph.render(ph.load("demo:robust"), 3, steps=1, recipe="pixels").image(0).save(tmp_path / "train" / name / "a.png")
    return tmp_path


WAYS = [
    "torchvision:resnet18?weights=best.pth",
    "torchvision:resnet18?weights=loop.pt",
    "torchvision:resnet18?weights=lightning.ckpt&classes=train&size=64x64&mean=imagenet",
    "torchvision:resnet18?weights=best.pth&num_classes=5",
    "net.py:make?weights=best.pth&size=64&std=imagenet&classes=train",
]


@pytest.mark.parametrize("way", WAYS)
def test_it_opens_as_it_was_trained(way: str, folder: Path) -> None:
    net = ph.load(way)
    x = torch.rand(2, 3, *net.preprocess.sides)
    torch.testing.assert_close(net.scores(x), fine_tuned()(net.preprocess.forward(x)).detach(), atol=1e-4, rtol=1e-4)
    assert net.classes == (tuple(ImageFolder("train").classes) if "&classes" in way else ("0", "1", "2", "3", "4"))
    assert any("the 5 classes of the checkpoint" in note for note in net.notes) == (
        "torchvision" in way and "num_classes" not in way
    )
    assert net.preprocess.mean == (0.485, 0.456, 0.406)


@pytest.mark.parametrize("way", WAYS[2:4])
@pytest.mark.parametrize(
    "line", ["doctor", "explain sample --method saliency -o why", "class-model -c 1 --size 48 --recipe pixels --steps 1 -o out"]
)
def test_commands_take_it_in_one_line(way: str, line: str, folder: Path) -> None:
    assert main([*line.split(), "-m", way]) == 0


HEADS: list[tuple[str, Callable[[], nn.Module]]] = [
    *(
        (f"torchvision:{name}", lambda name=name: tv.get_model(name, weights=None, num_classes=3))
        for name in ("mobilenet_v2", "squeezenet1_1", "vit_b_16")
    ),
    *(
        (f"timm:{name}", lambda name=name: timm.create_model(name, num_classes=3))
        for name in ("mobilenetv3_small_050", "vit_tiny_patch16_224", "efficientnet_lite0")
    ),
]


@pytest.mark.parametrize(("reference", "make"), HEADS, ids=[name for name, _ in HEADS])
def test_every_kind_of_head_is_built_as_the_checkpoint_has_it(
    reference: str, make: Callable[[], nn.Module], tmp_path: Path
) -> None:
    torch.save(make().state_dict(), tmp_path / "w.pt")
    assert len(ph.load(f"{reference}?weights={tmp_path}/w.pt").classes) == 3


@pytest.mark.parametrize(
    ("reference", "words"),
    [
        ("best.pth", r"'best.pth' is a file of weights, which need their architecture: torchvision:NAME\?weights=best.pth"),
        ("net.py", "'net.py' is Python code; it defines make; give net.py:make"),
        ("torchvision:resnet34?weights=best.pth", "resnet|ResNet"),
        ("torchvision:resnet18?weights=none&num_classes=0", "num_classes is 0; 1 to"),
        ("demo:robust?num_classes=5", "num_classes is of torchvision:NAME and timm:NAME alone"),
        ("net.py:make?weights=best.pth&classes=train/ant", "classes folder 'train/ant' holds no folders"),
        ("net.py:make?size=6xx4", "size="),
    ],
)
def test_what_is_half_a_reference_is_answered_in_a_sentence(reference: str, words: str, folder: Path) -> None:
    with pytest.raises(ph.PhospheneError, match=words) as caught:
        ph.load(reference)
    assert "\n" not in str(caught.value)


def test_code_is_not_run_to_tell_what_it_defines(folder: Path) -> None:
    (folder / "bad.py").write_text("open('ran', 'w')\nclass Net(torch.nn.Module): ...\ndef needs(x): ...\n")
    with pytest.raises(ph.PhospheneError, match=r"it defines Net; give bad\.py:Net"):
        ph.load("bad.py")
    assert not (folder / "ran").exists()
