"""Weights from files that strangers made: safetensors, or pickles of tensors alone."""

from __future__ import annotations

import json
import os
import pickle
import re
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from ..errors import WeightsError, first_line, shown

State = dict[str, Tensor]
# Where training loops keep the state dict inside a checkpoint, and what wrappers put before its names.
INSIDE = ("state_dict", "model_state_dict", "model", "state_dict_ema", "model_ema", "ema", "net", "network", "weights")
PREFIXES = ("module.", "_orig_mod.", "model.", "net.", "network.", "backbone.", "encoder.")


def read(path: str | Path) -> tuple[State, dict[str, str]]:
    """The tensors by name and the file's own metadata ({} for a pickle). Never runs code from the file."""
    path = Path(path)
    if not os.path.isfile(path):  # unlike pathlib's, it raises for no text
        raise WeightsError(
            f"weights {shown(str(path))} is {'a folder' if os.path.isdir(path) else 'not there'}; a file is needed"
        )
    try:
        return _read_safetensors(path) if path.suffix == ".safetensors" else (_read_pickle(path), {})
    except OSError as error:
        raise WeightsError(f"{path.name} cannot be read: {first_line(error)}") from error


def metadata_of(path: str | Path) -> dict[str, Any]:
    """What a safetensors file says of its network: size, mean, std, channels and classes, where it does."""
    said: dict[str, Any] = {}
    for key, text in read(path)[1].items():
        try:
            said[key] = json.loads(text)
        except ValueError:
            said[key] = text
    return said


def load_into(module: nn.Module, state: Mapping[str, Tensor], source: str) -> None:
    """Put the weights into the module; every name and shape must fit, prefixes that wrappers add are taken off."""
    wanted = module.state_dict()
    state = _without_prefix(state, set(wanted))
    missing = sorted(name for name in set(wanted) - set(state) if not name.endswith("num_batches_tracked"))
    extra = sorted(set(state) - set(wanted))
    if missing or extra:
        raise WeightsError(
            f"{source} does not fit {type(module).__name__}: {_few('missing', missing)}{_few('unexpected', extra)}"
        )
    for name, tensor in state.items():
        if tensor.shape != wanted[name].shape:
            raise WeightsError(f"{source}: {name} is {tuple(tensor.shape)}; the network has {tuple(wanted[name].shape)}")
    module.load_state_dict(dict(state), strict=False)  # strict but for num_batches_tracked, checked above


def _read_safetensors(path: Path) -> tuple[State, dict[str, str]]:
    try:
        with safe_open(str(path), framework="pt") as file:
            return {name: file.get_tensor(name) for name in file.keys()}, dict(file.metadata() or {})  # noqa: SIM118  no mapping
    except SafetensorError as error:
        raise WeightsError(f"{path.name} is not a whole safetensors file: {first_line(error)}") from error


def _read_pickle(path: Path) -> State:
    try:
        with warnings.catch_warnings(action="ignore"):  # of a pickle's protocol: it is read or refused
            content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise WeightsError(_refusal(path, str(error))) from error
    except OSError:
        raise
    except Exception as error:  # a broken pickle makes the reader raise anything: IndexError, struct.error, AssertionError
        raise WeightsError(f"{path.name} is not a whole checkpoint: {type(error).__name__}: {first_line(error)}") from error
    return _state_in(content, path)


def _refusal(path: Path, reason: str) -> str:
    if found := re.search(r"GLOBAL ([\w.]+)|(?:Can only build|Trying to call) ([\w.]+)", reason):
        name = found.group(1) or found.group(2)
        return (
            f"{path.name} holds code ({name}), not tensors alone; refused, since unpickling would run it: "
            "save the state_dict, best as .safetensors"
        )
    # torch's own advice, to switch its check off, is not passed on.
    said = re.search(r"WeightsUnpickler error: (.+)", reason)
    return f"{path.name} is not a checkpoint of tensors alone: {said.group(1) if said else 'it cannot be unpickled'}"


def _state_in(content: object, path: Path) -> State:
    for key in INSIDE:
        if isinstance(content, Mapping) and isinstance(content.get(key), Mapping):
            content = content[key]
            break
    state = {k: v for k, v in content.items() if isinstance(v, Tensor)} if isinstance(content, Mapping) else {}
    if not state or not all(isinstance(name, str) for name in state):
        raise WeightsError(f"{path.name} holds {type(content).__name__} without named tensors; a state_dict is needed")
    return state


def _without_prefix(state: Mapping[str, Tensor], wanted: set[str]) -> Mapping[str, Tensor]:
    """The state with as many wrappers' prefixes off as bring its names nearer to the wanted ones."""
    best = state
    while best and (prefix := next((p for p in PREFIXES if all(name.startswith(p) for name in best)), None)):
        shorter = {name.removeprefix(prefix): tensor for name, tensor in best.items()}
        if len(wanted & set(shorter)) < len(wanted & set(best)):
            break
        best = shorter
    return best if wanted & set(best) else state


def _few(word: str, names: list[str]) -> str:
    if not names:
        return ""
    return f"{len(names)} {word} ({', '.join(names[:3])}{', …' if len(names) > 3 else ''}) "
