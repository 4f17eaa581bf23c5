from __future__ import annotations

import json
import os
import pickle
import struct
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file
from torch import Tensor, nn

from phosphene.errors import PhospheneError, WeightsError
from phosphene.network import checkpoint

STATE = {"weight": torch.arange(6.0).view(3, 2), "bias": torch.ones(3)}
FILES = ("w.safetensors", "w.pt")


class Malicious:
    """Its pickle writes a file when it is opened."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.path),)


def saved(path: Path, state: dict[str, Tensor]) -> Path:
    if path.suffix == ".safetensors":
        save_file(state, path)
    else:
        torch.save(state, path)
    return path


def layer() -> nn.Linear:
    return nn.Linear(2, 3)


@pytest.mark.parametrize("name", [*FILES, "w.pth", "w.ckpt"])
def test_weights_come_back_as_they_were_saved(tmp_path: Path, name: str) -> None:
    state, _ = checkpoint.read(saved(tmp_path / name, STATE))
    assert all(torch.equal(state[key], STATE[key]) for key in STATE)


def test_an_old_pickle_of_tensors_is_read(tmp_path: Path) -> None:
    torch.save(STATE, tmp_path / "w.pt", _use_new_zipfile_serialization=False)
    assert torch.equal(checkpoint.read(tmp_path / "w.pt")[0]["bias"], STATE["bias"])


@pytest.mark.parametrize("key", checkpoint.INSIDE)
def test_the_state_is_found_inside_a_checkpoint(tmp_path: Path, key: str) -> None:
    torch.save({"epoch": 3, key: {**STATE, "version": 1}, "optimiser": {"lr": 0.1}}, tmp_path / "w.pt")
    assert set(checkpoint.read(tmp_path / "w.pt")[0]) == set(STATE)


@pytest.mark.parametrize("prefix", ["", "module.", "_orig_mod.", "model.", "module.model.", "_orig_mod.module.net."])
@pytest.mark.parametrize("name", FILES)
def test_prefixes_of_wrappers_are_taken_off(tmp_path: Path, name: str, prefix: str) -> None:
    path = saved(tmp_path / name, {prefix + key: value for key, value in STATE.items()})
    module = layer()
    checkpoint.load_into(module, checkpoint.read(path)[0], name)
    assert torch.equal(module.weight, STATE["weight"])


def test_a_prefix_that_the_network_has_itself_is_kept() -> None:
    module = nn.ModuleDict({"model": layer()})
    checkpoint.load_into(module, {f"module.model.{key}": value for key, value in STATE.items()}, "w")
    assert torch.equal(module.get_parameter("model.bias"), STATE["bias"])


def test_counts_of_batches_may_be_missing() -> None:
    module = nn.BatchNorm2d(2)
    state = {key: value + 1 for key, value in module.state_dict().items() if key != "num_batches_tracked"}
    checkpoint.load_into(module, state, "w")
    assert module.running_mean is not None
    assert module.running_mean.tolist() == [1, 1]


@pytest.mark.parametrize(
    ("state", "words"),
    [
        ({"weight": STATE["weight"]}, r"w.pt does not fit Linear: 1 missing \(bias\)"),
        ({**STATE, "extra": STATE["bias"]}, r"does not fit Linear: 1 unexpected \(extra\)"),
        ({f"l{i}.w": STATE["bias"] for i in range(5)}, r"2 missing \(bias, weight\) 5 unexpected \(l0.w, l1.w, l2.w, …\)"),
        ({**STATE, "bias": torch.ones(4)}, r"w.pt: bias is \(4,\); the network has \(3,\)"),
        ({}, r"2 missing \(bias, weight\)"),
        ({"module.a": STATE["bias"]}, r"1 unexpected \(module.a\)"),
    ],
)
def test_weights_that_do_not_fit_are_refused_and_change_nothing(state: dict[str, Tensor], words: str) -> None:
    module = layer()
    before = module.weight.detach().clone()
    with pytest.raises(WeightsError, match=words):
        checkpoint.load_into(module, state, "w.pt")
    assert torch.equal(module.weight, before)


def test_metadata_is_read_as_json_where_it_is(tmp_path: Path) -> None:
    said = {"size": "[4, 6]", "mean": "0.5", "classes": '["a"]', "author": "somebody"}
    save_file(STATE, tmp_path / "w.safetensors", said)
    expected = {"size": [4, 6], "mean": 0.5, "classes": ["a"], "author": "somebody"}
    assert checkpoint.metadata_of(tmp_path / "w.safetensors") == expected


@pytest.mark.parametrize("protocol", [None, 2])
def test_a_malicious_pickle_is_refused_and_does_not_run(tmp_path: Path, protocol: int | None) -> None:
    path, trap = tmp_path / "w.pt", tmp_path / "trap"
    content = {"state_dict": STATE, "x": Malicious(trap)}
    torch.save(content, path) if protocol is None else path.write_bytes(pickle.dumps(Malicious(trap), protocol))
    with pytest.raises(WeightsError, match=r"w.pt holds code \(\w+.mkdir\), not tensors alone; refused, since unpickling"):
        checkpoint.read(path)
    assert not trap.exists()


def test_a_malicious_pickle_of_a_newer_protocol_does_not_run(tmp_path: Path) -> None:
    (tmp_path / "w.pt").write_bytes(pickle.dumps(Malicious(tmp_path / "trap"), 4))
    with pytest.raises(WeightsError, match=r"w.pt is not a checkpoint of tensors alone: ") as caught:
        checkpoint.read(tmp_path / "w.pt")
    assert "weights_only" not in str(caught.value)
    assert not (tmp_path / "trap").exists()


def test_a_pickled_module_is_refused_with_the_remedy(tmp_path: Path) -> None:
    torch.save(layer(), tmp_path / "w.pt")
    with pytest.raises(WeightsError, match=r"holds code \(torch.nn.modules.linear.Linear\).*save the state_dict, best as"):
        checkpoint.read(tmp_path / "w.pt")


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.9])
def test_a_truncated_file_is_refused(tmp_path: Path, name: str, share: float) -> None:
    path = saved(tmp_path / name, STATE)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * share)])
    with pytest.raises(WeightsError, match=f"{name} is not a "):
        checkpoint.read(path)


@pytest.mark.parametrize("name", FILES)
def test_what_is_not_there_or_a_folder_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(WeightsError, match="is not there; a file is needed"):
        checkpoint.read(tmp_path / name)
    (tmp_path / name).mkdir()
    with pytest.raises(WeightsError, match="is a folder; a file is needed"):
        checkpoint.read(tmp_path / name)


def test_a_file_that_cannot_be_read_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def denied(*_: Any, **__: Any) -> None:
        raise PermissionError("Permission denied")

    path = saved(tmp_path / "w.pt", STATE)
    monkeypatch.setattr("builtins.open", denied)
    with pytest.raises(WeightsError, match=r"w.pt cannot be read: Permission denied"):
        checkpoint.read(path)


@pytest.mark.parametrize("content", [[1, 2], {"a": 1}, {}, {1: torch.ones(1)}, torch.ones(2)])
def test_what_holds_no_named_tensors_is_refused(tmp_path: Path, content: Any) -> None:
    torch.save(content, tmp_path / "w.pt")
    with pytest.raises(WeightsError, match=r"holds \w+ without named tensors; a state_dict is needed"):
        checkpoint.read(tmp_path / "w.pt")


def test_text_is_no_checkpoint(tmp_path: Path) -> None:
    (tmp_path / "w.pt").write_text("hello\nworld")
    with pytest.raises(WeightsError, match=r"w.pt is not a whole checkpoint: KeyError"):
        checkpoint.read(tmp_path / "w.pt")


def legacy(state: dict[str, Tensor], path: Path) -> None:
    torch.save(state, path, _use_new_zipfile_serialization=False)


SAVERS: dict[str, Callable[[dict[str, Tensor], Path], None]] = {"a.pt": torch.save, "b.pt": legacy, "c.safetensors": save_file}


@pytest.mark.parametrize("name", SAVERS)
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(places=st.lists(st.tuples(st.floats(0, 1), st.integers(0, 255)), min_size=1, max_size=4), share=st.floats(0.5, 1))
def test_damage_is_refused_or_harmless(tmp_path: Path, name: str, places: list[tuple[float, int]], share: float) -> None:
    path = tmp_path / name
    SAVERS[name](STATE, path)
    content = bytearray(path.read_bytes())
    for place, value in places:
        content[int(place * (len(content) - 1))] = value
    path.write_bytes(content[: int(len(content) * share)] if share < 0.9 else content)
    try:
        checkpoint.read(path)
    except PhospheneError:
        pass


@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(content=st.binary(max_size=64))
def test_any_bytes_are_refused(tmp_path: Path, suffix: str, content: bytes) -> None:
    path = tmp_path / f"w{suffix}"
    path.write_bytes(content)
    with pytest.raises(WeightsError):
        checkpoint.read(path)


def test_weights_of_as_many_numbers_in_another_shape_are_refused() -> None:
    with pytest.raises(WeightsError, match=r"weight is \(2, 3\); the network has \(3, 2\)"):
        checkpoint.load_into(layer(), {**STATE, "weight": STATE["weight"].reshape(2, 3)}, "w")


@pytest.mark.parametrize("name", ["running_mean", "running_var"])
def test_each_statistic_of_a_batch_norm_is_needed(name: str) -> None:
    state = nn.BatchNorm2d(3).state_dict()
    del state[name]
    with pytest.raises(WeightsError, match=name):
        checkpoint.load_into(nn.BatchNorm2d(3), state, "w")


def test_a_file_of_very_many_names_is_refused_before_they_are_read(tmp_path: Path) -> None:
    names = {f"a{i}": {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]} for i in range(checkpoint.MOST_TENSORS + 1)}
    head = json.dumps(names).encode()
    (tmp_path / "many.safetensors").write_bytes(struct.pack("<Q", len(head)) + head)
    with pytest.raises(WeightsError, match="holds 65,537 tensors; up to 65,536 are read"):
        checkpoint.read(tmp_path / "many.safetensors")


def test_a_prefix_is_found_among_very_many_names(tmp_path: Path) -> None:
    module = layer()
    state = {f"{i}.{'weight' if i % 2 else 'a.' * 500 + 'bias'}x": torch.zeros(1) for i in range(20_000)}
    state |= {f"deep.er.{name}": tensor for name, tensor in module.state_dict().items()}
    start = time.process_time()
    checkpoint.load_into(layer(), state, "many")
    assert time.process_time() - start < 2
