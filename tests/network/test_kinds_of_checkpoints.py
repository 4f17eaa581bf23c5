"""Checkpoints as training loops leave them: what is around the weights, several sets of weights, other kinds of numbers."""

from __future__ import annotations

import argparse
import io
import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

import phosphene as ph
from phosphene.errors import WeightsError
from phosphene.network import checkpoint


def net() -> nn.Sequential:
    torch.manual_seed(3)
    return nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2)
    )


STATE = {name: tensor.clone() for name, tensor in net().state_dict().items()}
OTHER = {name: tensor + 1 for name, tensor in STATE.items()}


def under(prefix: str, state: dict[str, Tensor] = STATE) -> dict[str, Tensor]:
    return {prefix + name: tensor for name, tensor in state.items()}


def taken(path: Path, content: Any, chosen: str | None = None) -> tuple[nn.Module, tuple[str, ...]]:
    file = path / "w.pth"
    torch.save(content, file)
    module = net()
    nn.init.zeros_(module.get_parameter("5.weight"))
    return module, checkpoint.load_into(module, checkpoint.read_all(file), file.name, chosen)


def same(module: nn.Module, state: dict[str, Tensor] = STATE) -> bool:
    return all(torch.equal(tensor, state[name]) for name, tensor in module.state_dict().items())


@pytest.mark.parametrize(
    ("content", "left"),
    [
        ({"state_dict": under("model.") | {"criterion.pos_weight": torch.ones(2)}}, "criterion.pos_weight"),  # Lightning
        ({"state_dict": STATE | {"train_acc.confmat": torch.ones(2, 2)}}, "train_acc.confmat"),
        (under("module.") | {"n_averaged": torch.tensor(3)}, "n_averaged"),  # AveragedModel
        ({"module": under("module."), "client_state": {"lr": 0.1}}, ""),  # DeepSpeed
        ({"model": under("_orig_mod."), "optimizer": {"state": {0: {"exp_avg": torch.ones(4)}}}, "epoch": 3}, "optimizer"),
        ({"params_ema": STATE}, ""),
        ({"student": {"backbone": under("a.b.")}}, ""),
        (under("net.0._orig_mod."), ""),
        (STATE | {"total_ops": torch.ones(1), "0.total_params": torch.ones(1)}, "total_ops"),  # a profiler's
        ({"model": {**STATE}, "args": argparse.Namespace(lr=0.1), "out": Path("x"), "best": np.float64(0.9)}, ""),
        ({"model": {**STATE}, "history": np.zeros((2, 2), ">f4"), "names": np.array(["a", "b"])}, "history"),
        ({name: tensor.numpy() for name, tensor in STATE.items()}, ""),
    ],
)
def test_the_weights_are_found_and_the_rest_is_told(tmp_path: Path, content: Any, left: str) -> None:
    module, notes = taken(tmp_path, content)
    assert same(module)
    assert left in " ".join(notes)
    assert bool(left) == bool(notes)


@pytest.mark.parametrize(
    ("one", "two"),
    [("student", "teacher"), ("model", "model_ema"), ("state_dict", "state_dict_ema"), ("online_model", "ema_model")],
)
def test_of_several_sets_of_weights_none_is_guessed(tmp_path: Path, one: str, two: str) -> None:
    content = {one: under("module."), two: under("module.", OTHER)}
    with pytest.raises(WeightsError, match=rf"2 sets of weights that fit: .*{one}.*Choose one, as in &state=") as caught:
        taken(tmp_path, content)
    assert two in str(caught.value)
    assert f"&state={max(one, two)}" in str(caught.value)
    assert same(taken(tmp_path, content, one)[0])
    assert same(taken(tmp_path, content, two)[0], OTHER)
    with pytest.raises(WeightsError, match="no weights of Sequential under 'other'"):
        taken(tmp_path, content, "other")


def test_a_larger_network_is_not_cut_to_fit(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"1 unexpected \(6.weight\)"):
        taken(tmp_path, under("model.") | {"model.6.weight": torch.ones(2, 2)})


def test_what_is_inside_is_named_where_nothing_fits(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"Inside w.pth are optimizer \(1\), scaler \(1\)"):
        taken(tmp_path, {"optimizer": {"a": torch.ones(2)}, "scaler": {"b": torch.ones(2)}})


def replaced(tensor: Tensor) -> dict[str, Tensor]:
    return STATE | {"5.weight": tensor}


@pytest.mark.parametrize(
    ("made", "words"),
    [
        (lambda: torch.ones(2, 4).to_sparse(), "5.weight is sparse"),
        (lambda: torch.ones(2, 4).to_sparse_csr(), "5.weight is sparse"),
        (lambda: torch.ones(2, 4, device="meta"), "5.weight has no values"),
        (lambda: torch.quantize_per_tensor(torch.ones(2, 4), 0.1, 0, torch.qint8), "5.weight is quantised"),
        (lambda: torch.ones(2, 4, dtype=torch.complex64), "5.weight holds complex64 numbers; float32 is needed"),
        (lambda: torch.ones(2, 4, dtype=torch.int8), "5.weight holds int8 numbers"),
        (lambda: torch.ones(2, 4, dtype=torch.bool), "5.weight holds bool numbers"),
    ],
)
@pytest.mark.filterwarnings("ignore")  # torch's of sparse and quantised tensors
def test_other_kinds_of_tensors_are_refused(tmp_path: Path, made: Callable[[], Tensor], words: str) -> None:
    with pytest.raises(WeightsError, match=words):
        taken(tmp_path, replaced(made()))


def test_weights_of_eight_bits_are_told(tmp_path: Path) -> None:
    _, notes = taken(tmp_path, replaced(STATE["5.weight"].to(torch.float8_e4m3fn)))
    assert notes[0].startswith("w.pth holds float8_e4m3fn weights (5.weight first)")


def script() -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr("net/constants.pkl", b"")
    return stream.getvalue()


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("w.h5", b"\x89HDF\r\n", "HDF5"),
        ("w.onnx", b"\x08\x07", "network of another format"),
        ("w.pt", b"version https://git-lfs.github.com/spec/v1", "Git LFS pointer"),
        ("w.pth", b"<!DOCTYPE html>", "web page"),
        ("w.pt", b"", "empty"),
        ("w.pt", script(), "TorchScript archive"),
    ],
)
def test_files_of_other_kinds_are_named(tmp_path: Path, name: str, content: bytes, words: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(WeightsError, match=f"{name} is not a checkpoint: it is .*{words}"):
        checkpoint.read_all(tmp_path / name)


def test_metadata_of_any_depth_is_text(tmp_path: Path) -> None:
    save_file(STATE, tmp_path / "w.safetensors", {"size": "[" * 100_000, "classes": json.dumps(["a"])})
    assert checkpoint.metadata_of(tmp_path / "w.safetensors")["classes"] == ["a"]


@pytest.mark.parametrize("name", ["run+1.pth", "a b.pth", "ü%.pth", "R%26D.pth", "a%2B.pth"])
def test_a_path_in_a_reference_is_taken_as_it_stands(tmp_path: Path, name: str) -> None:
    folder = tmp_path / "c++ & nets"
    folder.mkdir()
    (folder / "nets.py").write_text(
        "from torch import nn\ndef make():\n    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), "
        "nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2))\n"
    )
    written = str(folder / name).replace("R%26D", "R&D").replace("%2B", "+")
    torch.save(STATE, written)
    text = str(folder / name).replace(" & ", " %26 ")
    assert same(ph.load(f"{folder}/nets.py:make?weights={text}&size=8").module)


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ("size=٣", "whole number"),
        ("mean=٣", "numbers joined"),
        ("size=1_6", "whole number"),
        ("size=16&size=32", "size must be given once"),
        ("size", "must be key=value"),
        ("state=x", "add weights=FILE"),
    ],
)
def test_options_of_a_reference_are_exact(query: str, words: str) -> None:
    with pytest.raises(ph.PhospheneError, match=words):
        ph.load(f"demo:standard?{query}")
