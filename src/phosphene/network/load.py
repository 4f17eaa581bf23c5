"""`load`: from a reference, a line of text, to a Network."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import torch
from torch import Tensor

from .. import checks, registry
from ..ambient import shielded
from ..errors import ModelError, RequestError, UnknownNameError, WeightsError, first_line, shown
from ..seeding import private_rng, stream_seed
from . import checkpoint
from .network import Network
from .opened import Opened, Request
from .preprocess import Preprocess
from .sources import code, exported
from .transforms import IMAGENET_MEAN, IMAGENET_STD

_WEIGHT_FILES = (".safetensors", ".pt", ".pth", ".bin", ".ckpt", ".tar")
_NUMBERS = ("size", "mean", "std", "range")
_WHOLES = ("channels", "resize")
_WORDS = ("order", "layout", "interpolation")
_HEADED = ("torchvision", "timm")  # sources that make a network with a head of any number of classes
MOST_CLASSES = 1_000_000
_NAMING = ("gap-head",)  # sources whose name is a file, which names another network in turn
OPTIONS = ("classes", "multilabel", "num_classes", "seed", "state", "statistics", "weights", *_NUMBERS, *_WHOLES, *_WORDS)
LARGEST_CLASS_FILE = 16 << 20  # bytes


@dataclass(frozen=True)
class Reference:
    """A reference taken apart: `source:name?key=value&…`; source "" for `module:factory`, files and exports."""

    text: str
    source: str
    name: str
    options: dict[str, str]

    @property
    def runs_code(self) -> bool:
        """Whether opening it runs code, reads files of the user's or fetches what anyone may have published (hf: takes folders
        too): then a stranger's record must not name it."""
        return (
            self.source in ("", "hf", *_NAMING)
            or any(key in self.options for key in ("weights", "classes", "statistics"))
            or any(sign in self.name for sign in ("/", "\\", ":"))  # a folder; timm's hf-hub: and local-dir:
        )


def parse(text: str) -> Reference:
    """Take a reference apart; the options must be known, the rest is seen when it is opened."""
    if not isinstance(text, str) or not text.strip() or not text.isprintable():
        raise ModelError(f"model {shown(text)}; a reference such as demo:standard or torchvision:resnet50 is needed")
    base, _, query = text.partition("?")
    options = _options(text, query)
    source, colon, name = base.partition(":")
    if colon and source in registry.names("sources"):
        return Reference(text, source, name, options)
    return Reference(text, "", base, options)


def _options(text: str, query: str) -> dict[str, str]:
    """key=value&key=value, + as it stands, %XX as the byte it means: %26 is an & in a file's name, %25 a %."""
    options: dict[str, str] = {}
    for pair in query.split("&") if query else ():
        key, equals, value = pair.partition("=")
        if not equals or not key:
            raise ModelError(
                f"model {shown(text)}: what stands after ? must be key=value&key=value, got {shown(pair)}. "
                "Write %26 for an & in a file's name"
            )
        if key not in OPTIONS:
            raise UnknownNameError("option of a reference", key, OPTIONS)
        if key in options:
            raise ModelError(f"model {shown(text)}: {key} must be given once, got it twice")
        options[key] = value if "%" not in value or os.path.isfile(value) else unquote(value)
    return options


@shielded
def load(reference: str, *, device: str | torch.device | None = None) -> Network:
    """The network that a reference names, ready to be looked into.

    demo:standard, demo:robust      bundled, offline
    torchvision:NAME  timm:NAME  hf:ORG/NAME     preprocessing and class names come along (extras of these names)
    package.module:factory  path/file.py:factory a callable without arguments that gives a module, or a module itself
    gap-head:FILE                   a network with the head that `phosphene gap-head` gave it
    path/model.pt2                  a torch.export program; it can hold code, so open only what you trust

    After ?, joined by &: weights=FILE (.safetensors, or a pickle of tensors alone), weights=none for random ones (seed=K),
    weights=TAG as the source names it; state=PREFIX where the file holds several sets of weights (state=teacher);
    num_classes=K for a head of K classes, of torchvision: and timm: (default: as many as the head in weights=FILE has)
    size=H or H,W or HxW  mean=  std=  (mean=imagenet sets both)  range=LOW,HIGH  channels=  order=bgr  layout=bhwc
    resize=  interpolation=
    classes=FILE (.json, or one name a line) or classes=FOLDER (of an ImageFolder)  multilabel=1 (labels that may hold together)
    statistics=FILE (of layers, as `phosphene statistics -m` writes them).
    In a file's name + stays +, and %XX is the byte it means: %26 for &, %25 for %.
    What the reference says wins over the source, that over what a safetensors file says of itself.

    >>> load("demo:robust").classes[3]
    'cat'
    """
    parts = parse(reference)
    weights = parts.options.get("weights")
    file = weights if weights is not None and _is_file(weights) else None
    seed = checks.seed(_whole("seed", parts.options.get("seed", "0")))
    state = checkpoint.read_all(file) if file else {}
    with private_rng(stream_seed(seed, "weights")):
        opened = _opened(parts, "none" if file else weights, state)
    preprocess, classes, notes = dict(opened.preprocess or {}), opened.classes, opened.notes
    if file:
        chosen = parts.options.get("state")
        notes = (*notes, *checkpoint.load_into(opened.module, state, Path(file).name, chosen))
        preprocess, classes = _told_by(opened, file, preprocess)
    elif "state" in parts.options:
        raise RequestError(f"state={parts.options['state']} chooses weights in a file; add weights=FILE")
    preprocess |= _stated(parts.options)
    if "classes" in parts.options:
        classes = read_classes(parts.options["classes"])
    module = opened.module if device is None else _moved(opened.module, device)
    return Network(
        module,
        Preprocess.from_dict(preprocess) if "size" in preprocess else _half_known(preprocess),
        classes,
        output=opened.output,
        name=reference,
        batch=opened.batch,
        multilabel=_yes_or_no("multilabel", parts.options.get("multilabel", "0")),
        statistics=parts.options.get("statistics"),
        notes=notes,
    )


def read_classes(path: str) -> tuple[str, ...]:
    """Class names from a JSON list, a JSON object from indices to names, a text file with one name a line, or a folder whose
    sub-folders are called as the classes, in torchvision's ImageFolder's order."""
    file = Path(path)
    if os.path.isdir(path):  # unlike pathlib it takes any text
        return _folders(file)
    try:
        if file.stat().st_size > LARGEST_CLASS_FILE:
            raise RequestError(f"classes file {shown(path)} is over {LARGEST_CLASS_FILE >> 20} MiB")
        text = file.read_text("utf-8")
        content = json.loads(text) if file.suffix == ".json" else [line for line in text.splitlines() if line.strip()]
    except RequestError:
        raise
    except (OSError, ValueError) as error:  # a ValueError: no UTF-8, no JSON, a zero in the path
        raise RequestError(f"classes file {shown(path)} cannot be read: {first_line(error)}") from error
    if isinstance(content, dict) and all(key.isdigit() for key in content):
        content = [content[key] for key in sorted(content, key=int)]
    if not isinstance(content, list) or not all(isinstance(name, str) for name in content):
        raise RequestError(f"classes file {shown(path)} holds no list of names")
    return tuple(content)


def _opened(parts: Reference, weights: str | None, state: Mapping[str, Tensor]) -> Opened:
    """The network with a head of as many classes as the reference says, or else as the checkpoint's head has."""
    told = parts.options.get("num_classes")
    if told is not None:
        return _open(parts, weights, checks.whole("num_classes", _whole("num_classes", told), low=1, high=MOST_CLASSES))
    opened = _open(parts, weights)
    if parts.source not in _HEADED or not state:
        return opened
    classes = checkpoint.head_of(opened.module, state)
    if classes is None:
        return opened
    note = f"the head has the {classes} classes of the checkpoint"
    return replace(_open(parts, weights, classes), notes=(*opened.notes, note))


def _folders(place: Path) -> tuple[str, ...]:
    """Sorted as ImageFolder sorts them."""
    try:
        names = sorted(entry.name for entry in os.scandir(place) if entry.is_dir())
    except OSError as error:
        raise RequestError(f"classes folder {shown(str(place))} cannot be read: {first_line(error)}") from error
    if not names:
        raise RequestError(f"classes folder {shown(str(place))} holds no folders; one for each class is needed")
    return tuple(names)


def _open(parts: Reference, weights: str | None, classes: int | None = None) -> Opened:
    if classes is not None and parts.source not in _HEADED:
        raise RequestError(f"num_classes is of {' and '.join(f'{one}:NAME' for one in _HEADED)} alone")
    if parts.source:
        opened: Opened = registry.find("sources", parts.source)(Request(parts.name, weights, classes))
        return opened
    _refuse_bare_file(parts.name)
    if parts.name.endswith(".pt2"):
        return exported.open_export(parts.name)
    if weights not in (None, "none"):
        raise WeightsError(f"weights {shown(weights)} is not a file; {', '.join(_WEIGHT_FILES[:3])} or none is needed")
    return code.open_factory(parts.name)


def _is_file(weights: str) -> bool:
    # os.path, unlike pathlib, takes a name longer than any file's for one that is not there.
    return weights.endswith(_WEIGHT_FILES) or "/" in weights or os.path.isfile(weights)


def _told_by(opened: Opened, file: str, known: dict[str, Any]) -> tuple[dict[str, Any], Any]:
    """Preprocessing and class names, where a safetensors file says what the source does not."""
    said = checkpoint.metadata_of(file) if file.endswith(".safetensors") else {}
    keys = ("size", "mean", "std", "channels")
    about = {key: tuple(said[key]) if isinstance(said[key], list) else said[key] for key in keys if key in said}
    classes = said.get("classes")
    names = classes if isinstance(classes, list) and all(isinstance(name, str) for name in classes) else None
    return about | known, opened.classes or names


def _stated(options: dict[str, str]) -> dict[str, Any]:
    """The preprocessing that a reference states, as Preprocess takes it."""
    stated: dict[str, Any] = {key: options[key] for key in _WORDS if key in options}
    for key in _WHOLES:
        if key in options:
            stated[key] = _whole(key, options[key])
    for key in _NUMBERS:
        if options.get(key) == "imagenet" and key in ("mean", "std"):
            stated |= {"mean": IMAGENET_MEAN, "std": IMAGENET_STD}
        elif key in options:
            one = _whole if key == "size" else _real
            numbers = tuple(one(key, text) for text in _sides(key, options[key]).split(","))
            stated[key] = numbers[0] if len(numbers) == 1 else numbers
    return stated


def _sides(key: str, text: str) -> str:
    """256x341 as the command line's --size has it, for 256,341."""
    return text.lower().replace("x", ",") if key == "size" else text


def _half_known(known: dict[str, Any]) -> Preprocess | None:
    if not known:
        return None
    raise RequestError(f"the reference says {', '.join(known)} but no size; add size=224, or whatever it is")


def _yes_or_no(key: str, text: str) -> bool:
    if text not in ("0", "1"):
        raise RequestError(f"{key}={shown(text)}; 0 or 1 is needed")
    return text == "1"


def _whole(key: str, text: str) -> int:
    if not re.fullmatch(r"\s*[+-]?[0-9]{1,19}\s*", text, re.ASCII):
        raise RequestError(f"{key}={shown(text)}; a whole number is needed")
    return int(text)


def _real(key: str, text: str) -> float:
    if not text.isascii() or "_" in text:
        raise RequestError(f"{key}={shown(text)}; numbers joined by commas are needed")
    try:
        return float(text)
    except ValueError:
        raise RequestError(f"{key}={shown(text)}; numbers joined by commas are needed") from None


def _moved(module: torch.nn.Module, device: str | torch.device) -> torch.nn.Module:
    try:
        return module.to(torch.device(device))
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise RequestError(f"device {shown(str(device))} cannot be used: {first_line(error)}") from error


def _refuse_bare_file(name: str) -> None:
    """Of weights and of Python files alone, which are no references yet: say which is meant."""
    if ":" in name or not os.path.isfile(name) or name.endswith(".pt2"):
        return
    if name.endswith(".py"):
        made = code.factories(Path(name))
        which = (
            f"it defines {', '.join(made[:5])}; give {name}:{made[0]}"
            if made
            else "name a function in it that makes the network"
        )
        raise ModelError(f"{shown(name)} is Python code; {which}")
    raise ModelError(
        f"{shown(name)} is a file of weights, which need their architecture: torchvision:NAME?weights={name}, "
        f"timm:NAME?weights={name} or path/file.py:factory?weights={name}"
    )
