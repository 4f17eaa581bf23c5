"""Every kind of picture, given to every verb, is worth what the tensor (b, c, h, w) in [0, 1] is."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor
from torchvision import tv_tensors

import phosphene as ph
from tests.nets import made, of_channels

SIDE = 12
BYTES = torch.randint(0, 256, (3, SIDE, SIDE), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
ROWS = BYTES.permute(1, 2, 0).contiguous().numpy()  # (h, w, c)
PICTURE = BYTES[None].float() / 255
NET = ph.Network(made("plain", SIDE), ph.Preprocess(SIDE, mean=(0.4, 0.5, 0.6), std=(0.2, 0.3, 0.4)))
evaluation: Any = ph.evaluation
Verb = Callable[..., Tensor]


def png() -> bytes:
    file = io.BytesIO()
    Image.fromarray(ROWS).save(file, "PNG")
    return file.getvalue()


def saved(folder: Path) -> Path:
    path = folder / "picture.png"
    path.write_bytes(png())
    return path


def at_url(folder: Path) -> str:
    fsspec.filesystem("memory").pipe("/given/picture.png", png())
    return "memory://given/picture.png"


KINDS: dict[str, Callable[[Path], Any]] = {
    "floats (c, h, w)": lambda folder: PICTURE[0],
    "floats with a gradient": lambda folder: PICTURE.clone().requires_grad_(True),
    "doubles (b, c, h, w)": lambda folder: BYTES[None].double() / 255,
    "bytes (b, c, h, w)": lambda folder: BYTES[None],
    "bytes (c, h, w)": lambda folder: BYTES,
    "bytes (h, w, c)": lambda folder: torch.from_numpy(ROWS),
    "array of bytes (h, w, c)": lambda folder: ROWS,
    "array of bytes (c, h, w)": lambda folder: BYTES.numpy(),
    "array of bytes (b, h, w, c)": lambda folder: ROWS[None],
    "array of floats (h, w, c)": lambda folder: ROWS.astype(np.float32) / 255,
    "array of big-endian floats": lambda folder: (ROWS / 255).astype(">f4"),
    "array that cannot be written": lambda folder: np.frombuffer(ROWS.tobytes(), np.uint8).reshape(ROWS.shape),
    "PIL": lambda folder: Image.fromarray(ROWS),
    "PIL with transparency": lambda folder: Image.fromarray(np.dstack([ROWS, np.full((SIDE, SIDE), 255, np.uint8)])),
    "tv_tensors": lambda folder: tv_tensors.Image(BYTES),
    "path": saved,
    "text of a path": lambda folder: str(saved(folder)),
    "file of this machine by URL": lambda folder: saved(folder).as_uri(),
    "URL": at_url,
    "bytes of a file": lambda folder: png(),
    "open file": lambda folder: io.BytesIO(png()),
}


def index_of(folder: Path) -> ph.FeatureIndex:
    return ph.FeatureIndex.build(
        NET, torch.rand(3, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(1)), folder / "i.lance"
    )


VERBS: dict[str, Verb] = {
    "read": lambda picture, **more: ph.read(picture),
    "explain": lambda picture, **more: ph.explain(NET, picture, "logit:1", **more).values,
    "cam": lambda picture, **more: ph.cam(NET, picture, **more).values,
    "activations": lambda picture, **more: ph.activations(NET, picture, "0", **more).maps[0].values,
    "dream": lambda picture, **more: ph.dream(NET, picture, "logit:1", octaves=1, steps=1, **more).picture,
    "guide": lambda picture, **more: ph.dream(NET, PICTURE, "layer:0", octaves=1, steps=1, guide=picture).picture,
    "insertion_deletion": lambda picture, **more: (
        evaluation.insertion_deletion(NET, picture, "saliency", steps=2, **more).insertion
    ),
    "average_drop": lambda picture, **more: evaluation.average_drop(NET, picture, "saliency", **more).drop,
    "road": lambda picture, **more: evaluation.road(NET, picture, "saliency", **more).most,
    "randomisation": lambda picture, **more: evaluation.randomisation(NET, picture, stages=1, **more).ssim,
    "statistics": lambda picture, **more: ph.statistics(NET, [picture] * 8, "3", **more).layers["3"].mean,
    "match": lambda picture, **more: ph.explain(NET, PICTURE.flip(3), ph.match("0", picture)).values,
    "saliency of a training": lambda picture, **more: ph.training.Saliency(NET, picture)._pictures,
    "recognisability": lambda picture, **more: evaluation.recognisability(picture, ["1"], NET).judgements[0].ranks,
    "examples": lambda picture, **more: ph.examples(NET, [picture], "channel:3:*", top=1, **more).values,
}
NORMALISED = [name for name in VERBS if name not in ("read", "guide", "match", "saliency of a training", "recognisability")]


@pytest.fixture(scope="module")
def right() -> dict[str, Tensor]:
    return {name: verb(PICTURE.clone()) for name, verb in VERBS.items()}


@pytest.mark.parametrize("kind", KINDS)
def test_every_verb_takes_every_kind(kind: str, right: dict[str, Tensor], tmp_path: Path) -> None:
    for name, verb in VERBS.items():
        assert torch.equal(verb(KINDS[kind](tmp_path)), right[name]), name


@pytest.mark.parametrize("name", NORMALISED)
@pytest.mark.parametrize("kind", ["(b, c, h, w)", "(c, h, w)", "array"])
def test_a_network_input_is_taken_back_to_the_picture(name: str, kind: str, right: dict[str, Tensor]) -> None:
    batch = NET.preprocess.forward(PICTURE)
    given = {"(b, c, h, w)": batch, "(c, h, w)": batch[0], "array": batch[0].numpy()}[kind]
    torch.testing.assert_close(VERBS[name](given, normalised=True), right[name], atol=1e-4, rtol=1e-4)


def test_a_query_takes_every_kind(tmp_path: Path) -> None:
    index = index_of(tmp_path)
    vector = index.vector(PICTURE)
    assert all(torch.equal(index.vector(make(tmp_path)), vector) for make in KINDS.values())
    torch.testing.assert_close(index.vector(NET.preprocess.forward(PICTURE), normalised=True), vector)


def test_several_kinds_stand_in_one_list(tmp_path: Path) -> None:
    several = [make(tmp_path) for make in KINDS.values()]
    found = ph.explain(NET, several, "logit:1").values
    assert torch.allclose(found, ph.explain(NET, PICTURE, "logit:1").values.expand_as(found), atol=1e-6)
    assert ph.read(several[:3]).shape == (3, 3, SIDE, SIDE)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (torch.rand(3, 8, 3), r"float32 \(3, 8, 3\) can be \(c, h, w\) or \(h, w, c\). Say which"),
        (np.zeros((2, 3, 8, 3), np.uint8), r"can be \(b, c, h, w\) or \(b, h, w, c\)"),
        (torch.rand(16, 28, 28), r"with 1 or 3 channels, got float32 \(16, 28, 28\). A batch of grey pictures is x\[:, None\]"),
        (torch.rand(2, 2, 3, 8, 8), r"must be \(c, h, w\), \(h, w, c\) or \(b, c, h, w\), got float32 \(2, 2, 3, 8, 8\)"),
        (torch.full((3, 8, 8), 255.0), "Divide it by 255"),
        (torch.randn(3, 8, 8) * 2, "normalised=True if it is the network's input"),
        (torch.full((3, 8, 8), torch.nan), "It holds NaN"),
        (torch.zeros(3, 8, 8, dtype=torch.int64), "is torch.int64, whose white can be 1, 255 or the largest number"),
        (np.array(["a"]), "must be a path, a URL, bytes"),
        ({"a": 1}, "must be a path, a URL, bytes"),
        (b"no picture", "is not a picture that can be read"),
        ("nosuch://place/a.png", "cannot be read"),
        ("memory://nowhere/a.png", "cannot be read"),
        (
            [torch.rand(3, 8, 8), torch.rand(3, 9, 9)],
            r"must have one size to be read together, got \(3, 8, 8\) and \(3, 9, 9\)",
        ),
        ([], "holds no pictures"),
    ],
)
def test_what_can_be_read_in_two_ways_or_none_is_refused(given: Any, words: str) -> None:
    with pytest.raises(ph.PhospheneError, match=words) as caught:
        ph.read(given)
    assert "\n" not in str(caught.value)


GREY = of_channels(1, (SIDE, SIDE))


def test_a_stack_is_a_batch_of_grey_pictures_for_a_network_of_one_channel() -> None:
    stack = torch.rand(5, SIDE, SIDE)
    found, batch = (ph.explain(GREY, given, "logit:1").values for given in (stack, stack[:, None]))
    assert torch.equal(found, batch)
    assert ph.explain(GREY, stack[0], "logit:1").values.shape == (1, SIDE, SIDE)


def test_three_grey_pictures_or_a_coloured_one_are_told_apart_by_the_user() -> None:
    with pytest.raises(ph.PhospheneError, match=r"can be one picture \(c, h, w\) or grey pictures \(b, h, w\)"):
        ph.explain(GREY, torch.rand(3, SIDE, SIDE), "logit:1")


def test_what_was_normalised_with_other_numbers_is_refused() -> None:
    with pytest.raises(ph.PhospheneError, match="normalised with another mean and std"):
        ph.explain(NET, torch.randn(1, 3, SIDE, SIDE) * 4, "logit:1", normalised=True)


@pytest.mark.parametrize("given", [Image.fromarray(ROWS), "a.png", BYTES[None]])
def test_a_file_is_not_normalised(given: Any) -> None:
    with pytest.raises(ph.PhospheneError, match="normalised=True"):
        ph.explain(NET, given, "logit:1", normalised=True)


def test_the_given_tensor_is_left_as_it_was() -> None:
    mine = PICTURE.clone().requires_grad_(True)
    ph.explain(NET, mine, "logit:1")
    assert mine.grad is None
    assert torch.equal(mine, PICTURE)
