"""Files of weights of anyone's: weights that fit or a PhospheneError, and no code of the file's is run."""

from __future__ import annotations

import io
import os
import pickle
import pickletools
import random
import struct
import zipfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save
from torch import nn

from phosphene.errors import PhospheneError, WeightsError
from phosphene.network import checkpoint
from phosphene.network.sources.exported import open_export

from .damage import damaged
from .held import held

STATE = {"0.weight": torch.rand(2, 3, 3, 3), "0.bias": torch.rand(2), "3.weight": torch.rand(2, 2), "3.bias": torch.rand(2)}


def module() -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(3, 2, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(2, 2))


NET = module()  # made once, since its first weights are drawn


def saved(content: Any, **options: Any) -> bytes:
    memory = io.BytesIO()
    torch.save(content, memory, **options)
    return memory.getvalue()


def script() -> bytes:
    memory = io.BytesIO()
    torch.jit.save(torch.jit.trace(module().eval(), torch.rand(1, 3, 8, 8)), memory)
    return memory.getvalue()


def loaded(file: Path) -> tuple[str, ...]:
    notes = checkpoint.load_into(NET, checkpoint.read_all(file), file.name)
    checkpoint.metadata_of(file)
    return notes


def zipped(content: bytes) -> bytes:
    """A pickle in the archive that torch.save makes."""
    memory = io.BytesIO()
    with zipfile.ZipFile(memory, "w") as archive:
        archive.writestr("archive/data.pkl", content)
        archive.writestr("archive/version", "3\n")
    return memory.getvalue()


@pytest.mark.filterwarnings("ignore:`torch.jit")
@pytest.mark.parametrize("count", [100, pytest.param(6000, marks=pytest.mark.slow)])
def test_damaged_files(tmp_path: Path, count: int) -> None:
    draw = random.Random(38)
    whole = [
        ("a.safetensors", save(STATE, {"size": "[8, 8]", "classes": '["a", "b"]'})),
        ("a.pt", saved({"epoch": 3, "state_dict": STATE, "optimizer": {"lr": 0.1}})),
        ("a.pth", saved(STATE, _use_new_zipfile_serialization=False)),
        ("a.bin", pickle.dumps({"state_dict": {"0.weight": [1.0]}})),
        ("a.pt", script()),
    ]
    for i in range(count):
        name, content = whole[i % len(whole)]
        (tmp_path / name).write_bytes(damaged(content, draw))
        held(partial(loaded, tmp_path / name))


# What a pickle might call, each with an argument from which it makes the marker.
CALLS: tuple[tuple[str, Callable[[str], object]], ...] = (
    ("os system", lambda marker: f"touch {marker}"),
    ("posix mkdir", str),
    ("builtins eval", lambda marker: f"__import__('os').mkdir({marker!r})"),
    ("builtins exec", lambda marker: f"__import__('os').mkdir({marker!r})"),
    ("subprocess getoutput", lambda marker: f"touch {marker}"),
    ("pathlib Path.touch", str),
    ("torch.serialization load", str),
    ("numpy load", str),
    ("torch.hub load", str),
    ("_codecs encode", str),
    ("numpy.core.multiarray _reconstruct", str),
    ("torch._utils _rebuild_tensor_v2", str),
    ("collections OrderedDict", str),
    ("builtins getattr", str),
    ("operator methodcaller", str),
)


def pickled(call: str, argument: object, way: int, draw: random.Random) -> bytes:
    """A state dict whose value is called, put together by opcode."""
    place, name = call.split(" ")
    if isinstance(argument, str):
        text = argument.encode()
        value = b"X" + struct.pack("<I", len(text)) + text
    else:
        value = b"N"
    called = {
        0: f"c{place}\n{name}\n".encode() + value + b"\x85R",  # GLOBAL, REDUCE
        1: b"(" + value + f"i{place}\n{name}\n".encode(),  # INST
        2: b"\x8c"
        + bytes([len(place)])
        + place.encode()
        + b"\x8c"
        + bytes([len(name)])
        + name.encode()
        + b"\x93"
        + value
        + b"\x85R",
        3: f"(c{place}\n{name}\n".encode() + value + b"o",  # OBJ
        4: f"c{place}\n{name}\n".encode() + value + b"\x85\x81",  # NEWOBJ
        5: f"c{place}\n{name}\n)R}}".encode() + value + value + b"sb",  # BUILD with a state
        6: value + b"Q",  # a persistent id
    }[way]
    return b"\x80\x02}X\x08\x00\x00\x000.weight" + called + b"s" + draw.choice((b".", b"", b"0.", b"."))


@pytest.mark.parametrize("count", [200, pytest.param(10_000, marks=pytest.mark.slow)])
def test_pickles_that_would_run_code(tmp_path: Path, count: int) -> None:
    draw, marker = random.Random(39), tmp_path / "sprung"
    folder = tmp_path / "files"
    folder.mkdir()
    for i in range(count):
        call, argument = CALLS[i % len(CALLS)]
        content = pickled(call, argument(str(marker)), draw.randrange(7), draw)
        content = damaged(content, draw) if draw.random() < 0.3 else content
        file = folder / draw.choice(("a.pt", "a.pth", "a.bin", "a.ckpt", "a.safetensors"))
        file.write_bytes(zipped(content) if draw.random() < 0.5 else content)
        assert isinstance(held(partial(loaded, file)), PhospheneError)
        file.unlink()
        assert os.listdir(tmp_path) == ["files"]


@pytest.mark.parametrize("count", [150, pytest.param(6000, marks=pytest.mark.slow)])
def test_opcodes_at_random(tmp_path: Path, count: int) -> None:
    draw, file = random.Random(40), tmp_path / "a.pt"
    codes = [code.code.encode("latin-1") for code in pickletools.opcodes]
    for _ in range(count):
        body = b"".join(draw.choice(codes) + draw.choice((b"", b"\n", b"os\nsystem\n", draw.randbytes(4))) for _ in range(30))
        content = b"\x80\x02" + body + b"."
        file.write_bytes(zipped(content) if draw.random() < 0.5 else content)
        assert isinstance(held(partial(loaded, file)), WeightsError)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_damaged_exports(tmp_path: Path) -> None:
    draw, file = random.Random(41), tmp_path / "a.pt2"
    torch.export.save(torch.export.export(module().eval(), (torch.rand(1, 3, 8, 8),)), file)
    whole = file.read_bytes()
    for _ in range(300):
        file.write_bytes(damaged(whole, draw))
        held(partial(open_export, str(file)), seconds=20)
