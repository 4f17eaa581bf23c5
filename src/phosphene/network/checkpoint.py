"""Weights from files that strangers made: safetensors, or pickles of tensors alone."""

from __future__ import annotations

import json
import os
import pickle
import re
import threading
import warnings
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from ..errors import WeightsError, first_line, shown
from .addresses import unwrapped

State = dict[str, Tensor]
# Where training loops keep the state dict inside a checkpoint.
INSIDE = ("state_dict", "model_state_dict", "model", "state_dict_ema", "model_ema", "ema", "net", "network", "weights")
DEEPEST = 8  # mappings inside one another
MOST_TENSORS = 1 << 16  # of one file; large networks with their optimiser's state have a tenth
# What torch's own wrappers of submodules put into names.
_WRAPPERS = re.compile(r"(^|\.)(_orig_mod|_fsdp_wrapped_module|_checkpoint_wrapped_module)(?=\.)")
# Beside the network, under the same prefix: losses, metrics, counters of averaging and of profilers.
_BESIDE = re.compile(
    r"((\w*_)?(criterion|loss|losses|loss_fn|loss_func|metrics?|acc|accuracy|auroc|f1|confmat)\w*\..+|n_averaged)"
    r"|(.+\.)?total_(ops|params)"
)
_STARTS = (  # of files of other kinds
    (b"\x89HDF", "an HDF5 file (Keras, h5py)"),
    (b"GGUF", "a GGUF file"),
    (b"version https://git-lfs", "a Git LFS pointer, not the weights themselves"),
    (b"<", "a web page or XML, not the weights themselves"),
    (b"\x93NUMPY", "a NumPy array"),
)
_UNPICKLING = threading.Lock()  # torch's list of allowed names belongs to the whole process


def read(path: str | Path) -> tuple[State, dict[str, str]]:
    """The tensors by name and the file's own metadata ({} for a pickle). Never runs code from the file."""
    content, metadata = _opened(Path(path))
    for key in INSIDE:
        if isinstance(content.get(key), Mapping):
            content = content[key]
            break
    state = {name: value for name, value in content.items() if isinstance(value, Tensor)}
    if not state or not all(isinstance(name, str) for name in state):
        raise WeightsError(
            f"{Path(path).name} holds {type(content).__name__} without named tensors; a state_dict is needed{_keys(content)}"
        )
    return state, metadata


def read_all(path: str | Path) -> State:
    """Every tensor in the file by its whole name: `state_dict.model.conv.weight` of a mapping in a mapping."""
    content, _ = _opened(Path(path))
    state = dict(_flat(content))
    if not state and Path(path).suffix != ".safetensors":  # of the latter the names that are missing are told
        raise WeightsError(
            f"{Path(path).name} holds {type(content).__name__} without named tensors; a state_dict is needed{_keys(content)}"
        )
    return state


def metadata_of(path: str | Path) -> dict[str, Any]:
    """What a safetensors file says of its network: size, mean, std, channels and classes, where it does."""
    said: dict[str, Any] = {}
    for key, text in read(path)[1].items():
        try:
            said[key] = json.loads(text)
        except (ValueError, RecursionError):
            said[key] = text
    return said


def load_into(module: nn.Module, state: Mapping[str, Tensor], source: str, chosen: str | None = None) -> tuple[str, ...]:
    """Put the weights into the module, every name and shape of which must be there; gives notes on what was left out.

    The weights are the names under the one prefix (`model.`, `module.ema_model.`, …) that has all of the module's. Where
    several prefixes have, `chosen` says which: the prefix, or the first or last words of it.
    """
    module = unwrapped(module)
    wanted = {_WRAPPERS.sub("", name).lstrip("."): tensor for name, tensor in module.state_dict(keep_vars=True).items()}
    names = {_WRAPPERS.sub("", name).lstrip("."): name for name in module.state_dict()}
    state = {_WRAPPERS.sub("", name).lstrip("."): tensor for name, tensor in state.items()}
    needed = {name for name in wanted if not name.endswith("num_batches_tracked")}
    prefix = _prefix(module, state, wanted, needed, source, chosen)
    inside = {name.removeprefix(prefix): tensor for name, tensor in state.items() if name.startswith(prefix)}
    beside = [name for name in inside if name not in wanted and _BESIDE.fullmatch(name)]
    taken = {name: tensor for name, tensor in inside.items() if name not in beside}
    if extra := sorted(set(taken) - set(wanted)):
        raise WeightsError(f"{source} does not fit {type(module).__name__}: {_few('unexpected', extra)}{_holds(state, source)}")
    rest = [prefix + name for name in beside] + [name for name in state if not name.startswith(prefix)]
    notes = [_left_out(source, prefix, rest)] if rest else []
    notes += _checked(taken, wanted, source)
    meta = any(tensor.is_meta for tensor in wanted.values())
    module.load_state_dict({names[name]: tensor for name, tensor in taken.items()}, strict=False, assign=meta)
    return tuple(notes)


def head_of(module: nn.Module, state: Mapping[str, Tensor]) -> int | None:
    """How many classes the head in a checkpoint has, where it differs from the module's in their number alone; else None.

    All tensors that have another shape must differ in their first axis, from one number to one other: a head's weight and bias.
    """
    state = {_WRAPPERS.sub("", name).lstrip("."): tensor for name, tensor in state.items()}
    changes: set[tuple[int, int]] = set()
    for name, tensor in unwrapped(module).state_dict().items():
        there = [other for key, other in state.items() if key == name or key.endswith(f".{name}")]
        if not there:
            return None
        if any(other.shape == tensor.shape for other in there):
            continue
        other = there[0]
        if other.ndim == 0 or other.ndim != tensor.ndim or other.shape[1:] != tensor.shape[1:]:
            return None
        changes.add((tensor.shape[0], other.shape[0]))
    return changes.pop()[1] if len(changes) == 1 else None


def _prefix(
    module: nn.Module,
    state: Mapping[str, Tensor],
    wanted: Mapping[str, Tensor],
    needed: set[str],
    source: str,
    chosen: str | None,
) -> str:
    """The one prefix under which everything needed stands."""
    found = _prefixes(state, needed)
    whole = [prefix for prefix in found if all(prefix + name in state for name in needed)]
    if chosen is not None:
        words = chosen.strip(".") + "." if chosen.strip(".") else ""
        whole = [p for p in whole if p == words or (words and (p.startswith(words) or p.endswith("." + words)))]
        if not whole:
            raise WeightsError(
                f"{source} has no weights of {type(module).__name__} under {shown(chosen)}{_holds(state, source)}"
            )
    if len(whole) > 1:
        fitting = [p for p in whole if all(state[p + name].shape == wanted[name].shape for name in needed)]
        whole = fitting or whole
    if len(whole) > 1:
        each = ", ".join(prefix.rstrip(".") or "(no prefix: state=)" for prefix in sorted(whole)[:8])
        first = sorted(whole)[-1].rstrip(".")
        raise WeightsError(f"{source} holds {len(whole)} sets of weights that fit: {each}. Choose one, as in &state={first}")
    if whole or not needed:
        return whole[0] if whole else ""
    best = max(found, key=lambda prefix: sum(prefix + name in state for name in needed), default="")
    here = {name.removeprefix(best) for name in state if name.startswith(best)}
    missing, extra = sorted(needed - here), sorted(here - set(wanted))
    raise WeightsError(
        f"{source} does not fit {type(module).__name__}: "
        f"{_few('missing', missing)}{_few('unexpected', extra)}{_holds(state, source)}"
    )


def _prefixes(state: Mapping[str, Tensor], needed: set[str]) -> list[str]:
    """What stands before the needed names in the state: a few of them tell, since the right prefix has all."""
    found = {"": None} if needed & set(state) else {}
    tails = sorted(needed)
    few = {*tails[:4], *tails[-4:], *(name for name in tails if "." in name)} if tails else set()
    deepest = max((name.count(".") for name in few), default=0) + 1
    for name in state:
        words = name.rsplit(".", deepest)
        for i in range(1, len(words)):
            if (tail := ".".join(words[i:])) in few:
                found[name[: -len(tail)]] = None
    return [prefix for prefix in found if not prefix.lower().startswith("optim")]


def _checked(taken: Mapping[str, Tensor], wanted: Mapping[str, Tensor], source: str) -> list[str]:
    """Refuse weights whose shape or kind is not the network's; notes on kinds that lose precision."""
    notes: list[str] = []
    for name, tensor in taken.items():
        own = wanted[name]
        if tensor.is_meta or tensor.is_quantized or tensor.layout != torch.strided:
            kind = "has no values (meta device)" if tensor.is_meta else "is quantised" if tensor.is_quantized else "is sparse"
            raise WeightsError(f"{source}: {name} {kind}; a dense {_plain(own.dtype)} tensor is needed")
        if tensor.shape != own.shape:
            raise WeightsError(f"{source}: {name} is {tuple(tensor.shape)}; the network has {tuple(own.shape)}")
        if (tensor.is_complex() and not own.is_complex()) or (
            (own.is_floating_point() or own.is_complex()) and not (tensor.is_floating_point() or tensor.is_complex())
        ):
            raise WeightsError(
                f"{source}: {name} holds {_plain(tensor.dtype)} numbers; {_plain(own.dtype)} is needed: "
                "convert the weights to floating point (with their scales, if they are quantised)"
            )
        if tensor.is_floating_point() and tensor.itemsize == 1 and not notes:
            notes.append(f"{source} holds {_plain(tensor.dtype)} weights ({name} first): taken as they stand, without a scale")
    return notes


def _plain(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def _left_out(source: str, prefix: str, rest: list[str]) -> str:
    where = f"those under {prefix.rstrip('.')}" if prefix else "those without a prefix"
    return f"of the tensors in {source} {where} are the weights; {_few('left out', sorted(rest)).rstrip()}"


def _holds(state: Mapping[str, Tensor], source: str) -> str:
    """What is inside, by the first word of the names, where there are several kinds."""
    counts: dict[str, int] = {}
    for name in state:
        first = name.split(".", 1)[0]
        counts[first] = counts.get(first, 0) + 1
    if len(counts) < 2:
        return ""
    few = ", ".join(f"{first} ({count})" for first, count in list(counts.items())[:6])
    return f". Inside {source} are {few}{', …' if len(counts) > 6 else ''}"


def _opened(path: Path) -> tuple[Mapping[Any, Any], dict[str, str]]:
    if not os.path.isfile(path):  # unlike pathlib's, it raises for no text
        raise WeightsError(
            f"weights {shown(str(path))} is {'a folder' if os.path.isdir(path) else 'not there'}; a file is needed"
        )
    try:
        if kind := _other_kind(path):
            raise WeightsError(f"{path.name} is not a checkpoint: it is {kind}; a .safetensors or .pth state_dict is needed")
        if path.suffix == ".safetensors":
            return _read_safetensors(path)
        content = _read_pickle(path)
    except OSError as error:
        raise WeightsError(f"{path.name} cannot be read: {first_line(error)}") from error
    if not isinstance(content, Mapping):
        raise WeightsError(f"{path.name} holds {type(content).__name__} without named tensors; a state_dict is needed")
    return content, {}


def _other_kind(path: Path) -> str:
    """What the file is, where it is known to be no checkpoint."""
    with path.open("rb") as file:
        start = file.read(64)
    if path.suffix == ".safetensors" and start:
        return ""
    if not start:
        return "empty"
    if path.suffix.lower() in (".onnx", ".tflite", ".pb", ".mlmodel"):
        return f"a network of another format ({path.suffix})"
    for magic, kind in _STARTS:
        if start.startswith(magic):
            return kind
    if not start.startswith(b"PK"):
        return ""
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except (zipfile.BadZipFile, ValueError, NotImplementedError):
        return ""
    inside = {name.split("/", 1)[-1] for name in names}
    if "constants.pkl" in inside or any(name.startswith("code/") for name in inside):
        return "a TorchScript archive: torch.jit.load(...).state_dict() gives its weights"
    if any(name.startswith("models/") or name == "archive_format" for name in inside):
        return "a torch.export program (its reference is the path alone, ending in .pt2)"
    if "model.weights.h5" in names:
        return "a Keras archive"
    return "an archive of NumPy arrays" if names and all(name.endswith(".npy") for name in names) else ""


def _read_safetensors(path: Path) -> tuple[State, dict[str, str]]:
    try:
        with safe_open(str(path), framework="pt") as file:
            names = list(file.keys())
            if len(names) > MOST_TENSORS:
                raise WeightsError(f"{path.name} holds {len(names):,} tensors; up to {MOST_TENSORS:,} are read")
            return {name: file.get_tensor(name) for name in names}, dict(file.metadata() or {})
    except SafetensorError as error:
        raise WeightsError(f"{path.name} is not a whole safetensors file: {first_line(error)}") from error


def _read_pickle(path: Path) -> object:
    try:
        with _UNPICKLING, torch.serialization.safe_globals(_DATA), warnings.catch_warnings(action="ignore"):
            # Warnings are of a pickle's protocol: it is read or refused.
            return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise WeightsError(_refusal(path, str(error))) from error
    except OSError:
        raise
    except Exception as error:  # a broken pickle makes the reader raise anything: IndexError, struct.error, AssertionError
        raise WeightsError(f"{path.name} is not a whole checkpoint: {type(error).__name__}: {first_line(error)}") from error


class _Inert:
    """Stands for data in a pickle that no weights are in (a Namespace, a path): never the thing itself, so nothing can run."""

    def __init__(self, *parts: object) -> None:
        self.parts = parts

    def __setstate__(self, state: object) -> None:
        self.state = state


class _Dtype(_Inert):
    """Stands for numpy.dtype, whose own unpickling can be made to read memory that is not the array's."""

    def plain(self) -> np.dtype[Any] | None:
        code = self.parts[0] if self.parts else None
        state = getattr(self, "state", None)
        order = state[1] if isinstance(state, tuple) and len(state) > 1 and state[1] in ("<", ">") else "<"
        return np.dtype(order + code) if isinstance(code, str) and re.fullmatch(r"[biufc][1248]|c16|b1", code) else None


class _Array(_Inert):
    """Stands for a NumPy array."""

    def tensor(self) -> Tensor | None:
        state = getattr(self, "state", None)
        if not isinstance(state, tuple) or len(state) != 5 or not isinstance(state[2], _Dtype):
            return None
        _, shape, kind, fortran, content = state
        try:
            array = np.frombuffer(content, kind.plain()).reshape(shape, order="F" if fortran else "C")
            return torch.from_numpy(array.astype(array.dtype.newbyteorder("=")))
        except (TypeError, ValueError):
            return None


def _latin(text: str, _encoding: str = "latin1") -> bytes:
    """How old pickles write bytes."""
    return text.encode("latin-1")


# Names that checkpoints of training loops hold beside tensors, and what stands for each: never numpy's or Python's own.
_DATA: list[Any] = [
    *(
        (thing, f"numpy.{core}.multiarray.{name}")
        for core in ("core", "_core")
        for name, thing in (("scalar", _Inert), ("_reconstruct", _Array))
    ),
    *((_Array, f"numpy.{core}.numeric._frombuffer") for core in ("core", "_core")),
    (_Dtype, "numpy.dtype"),
    (_Inert, "numpy.ndarray"),
    (_latin, "_codecs.encode"),
    (_Inert, "argparse.Namespace"),
    *((_Inert, f"pathlib.{name}") for name in ("Path", "PosixPath", "WindowsPath", "PurePosixPath", "PureWindowsPath")),
    *((_Inert, f"pathlib._local.{name}") for name in ("PosixPath", "WindowsPath")),
]


def _flat(content: Mapping[Any, Any], before: str = "", depth: int = 0) -> Iterator[tuple[str, Tensor]]:
    for key, value in content.items():
        if isinstance(value, _Array):
            value = value.tensor()
        if isinstance(value, Tensor) and isinstance(key, str):
            yield before + key, value
        elif isinstance(value, Mapping) and depth < DEEPEST:
            yield from _flat(value, f"{before}{key}.", depth + 1)


def _keys(content: Mapping[Any, Any]) -> str:
    keys = ", ".join(str(key)[:20] for key in list(content)[:6])
    return f". Inside are {keys}" if keys else ""


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


def _few(word: str, names: list[str]) -> str:
    if not names:
        return ""
    return f"{len(names)} {word} ({', '.join(names[:3])}{', …' if len(names) > 3 else ''}) "
