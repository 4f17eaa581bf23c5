"""Where data come from: folders, lists, Datasets, the Hugging Face hub. See `data.Source`."""

from __future__ import annotations

import hashlib
import io
import os
import zlib
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from ..errors import ExtraError, PictureError, RequestError, first_line, shown
from . import bands
from .converting import Converter
from .data import Item, Label, Source
from .files import is_sheet
from .reading import Reader
from .torch_data import loaded, undoing

Thunks = Iterator[tuple[int, str, Callable[[], Item]]]
PICTURES = ("image", "img", "picture", "pixel_values", "jpg", "png", "webp")  # what datasets call them
LABELS = ("label", "labels", "fine_label", "target", "class", "cls")


@dataclass(frozen=True, eq=False)
class Files:
    """Picture files, one an item; `labels` has one each, `marks` eight hexadecimal digits, of what tells it from others."""

    name: str
    paths: Sequence[str]
    labels: Sequence[Label]
    identity: str
    marks: str
    read: Callable[[str, list[str]], Tensor] = Reader().file
    parallel: bool = True

    @property
    def count(self) -> int | None:
        return len(self.paths)

    def thunks(self, places: slice) -> Thunks:
        for index in range(len(self.paths))[places]:
            path, label = self.paths[index], self.labels[index]
            yield index, path, partial(self._item, path, label)

    def change_since(self, marks: str) -> str:
        """The first file that is new or of another size since the files had these marks, and how many have changed."""
        before, new = Counter(_eights(marks)), []
        for path, mark in zip(self.paths, _eights(self.marks), strict=True):
            before[mark] -= 1
            if before[mark] < 0:
                new.append(path)
        gone = sum(count for count in before.values() if count > 0)
        parts = [f"{shown(new[0])} is new or has changed" + (f", and {len(new) - 1} more" if new[1:] else "")] if new else []
        parts += [f"{gone} of the files of then are gone or have changed"] if gone else []
        return "; ".join(parts) or "the files are in another order"

    def _item(self, path: str, label: Label) -> Item:
        notes: list[str] = []
        return Item(self.read(path, notes), label, tuple(notes))


def folder(place: Path, out: Path | None, reader: Reader) -> Files:
    """All files in a folder, sorted; the label is the first folder on the way, if there is one. Hidden ones are passed over."""
    inside = [path.relative_to(place) for path in _walked(place, out.resolve() if out else None)]
    inside.sort(key=lambda path: path.as_posix())
    if not inside:
        raise RequestError(f"folder {shown(str(place))} holds no files; pictures are needed in it")
    lines = [f"{path.as_posix()}\0{_size(place / path)}\n".encode(errors="surrogateescape") for path in inside]
    labels = [path.parts[0] if len(path.parts) > 1 else None for path in inside]
    return Files(
        str(place), [str(place / path) for path in inside], labels, *identified("folder", lines), partial(_but_no_sheet, reader)
    )


def _but_no_sheet(reader: Reader, path: str, notes: list[str]) -> Tensor:
    if is_sheet(path):
        raise PictureError(f"{shown(path)} is a sheet that Phosphene made")
    return reader.file(path, notes)


def identified(kind: str, lines: Sequence[bytes]) -> tuple[str, str]:
    """The identity and the marks of files, from a line that tells each from others."""
    return f"{kind} {hashlib.sha256(b''.join(lines)).hexdigest()}", "".join(f"{zlib.crc32(line):08x}" for line in lines)


def _eights(marks: str) -> list[str]:
    return [marks[i : i + 8] for i in range(0, len(marks), 8)]


def _walked(place: Path, skipped: Path | None) -> Iterator[Path]:
    for root, folders, files in os.walk(place):
        folders[:] = [name for name in folders if not name.startswith(".") and Path(root, name).resolve() != skipped]
        yield from (Path(root, name) for name in files if not name.startswith("."))


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:  # a dangling link: it is refused when it is read
        return -1


def listed(text: str, reader: Reader) -> Files:
    from .lists import listed as read_list

    return read_list(text, reader)


def named(home: str, reader: Reader, path: str, notes: list[str]) -> Tensor:
    """The picture at a path or URL; home: the URL of a list from elsewhere, which must not lead to files of this machine."""
    from .lists import picture_at

    return picture_at(home, reader, path, notes)


@dataclass(frozen=True, eq=False)
class MapStyle:
    """Anything with a length and items by index: a Dataset, a sequence, a tensor."""

    data: Any
    name: str
    total: int
    reader: Reader
    classes: Sequence[str] | None = None
    parallel: bool = False  # a Dataset need not bear threads

    @property
    def identity(self) -> str:
        """Its length and what some items hold: all would have to be read."""
        digest = hashlib.sha256(str(getattr(self.data, "_fingerprint", "")).encode())  # Hugging Face's own
        for index in sorted({0, self.total // 2, self.total - 1}):
            try:
                digest.update(self._item(index).picture.contiguous().numpy().tobytes())
            except Exception as error:  # one that is no picture is told when it is scanned
                digest.update(type(error).__name__.encode())
        return f"{self.name} {self.total} {digest.hexdigest()}"

    @property
    def count(self) -> int | None:
        return self.total

    def thunks(self, places: slice) -> Thunks:
        for index in range(self.total)[places]:
            yield index, f"item-{index}", partial(self._item, index)

    def _item(self, index: int) -> Item:
        return item_of(self.data[index], self.classes, self.reader)


@dataclass(frozen=True, eq=False)
class InOrder:
    """What can only be read from its beginning: an iterable Dataset."""

    data: Any
    name: str
    identity: str
    reader: Reader
    classes: Sequence[str] | None = None
    count: int | None = None
    parallel: bool = False

    def thunks(self, places: slice) -> Thunks:
        # An item is taken out here, since one that is passed over must be taken out too; reading it may fail on its own.
        for index, given in islice(enumerate(self.data), places.start, places.stop, places.step):
            yield index, f"item-{index}", partial(item_of, given, self.classes, self.reader)


def dataset(data: Any, reader: Reader) -> Source:
    """A map-style or iterable Dataset, a DataLoader's, a sequence of pictures, or one tensor (n, c, h, w)."""
    data = loaded(data)
    undone = undoing(data)
    if undone is not None:
        reader = replace(reader, undo=undone)
    name = type(data).__name__
    classes = _classes(getattr(data, "classes", None))
    if isinstance(data, list | tuple) and data and all(isinstance(one, str | Path) for one in data):
        paths = [str(one) for one in data]
        lines = [f"{path}\0{_size(Path(path))}\n".encode(errors="surrogateescape") for path in paths]
        return Files(name, paths, [None] * len(paths), *identified("paths", lines), partial(named, "", reader))
    if isinstance(data, Tensor) and data.ndim != 4:
        raise RequestError(f"data is a tensor {tuple(data.shape)}; pictures (n, c, h, w) are needed")
    in_order = isinstance(data, torch.utils.data.IterableDataset)
    if not in_order and callable(getattr(data, "__getitem__", None)) and callable(getattr(data, "__len__", None)):
        if isinstance(data, dict | str | bytes):
            raise RequestError(f"data is {shown(data)}; a folder, a list or a Dataset is needed")
        if not len(data):
            raise RequestError(f"data {name} is empty; at least one picture is needed")
        return MapStyle(data, name, len(data), reader, classes)
    if not callable(getattr(data, "__iter__", None)):
        raise RequestError(f"data is {shown(data)}; a folder, a list or a Dataset is needed")
    if iter(data) is data:
        raise RequestError(f"data is a {name}, which can be read once alone; an iterable Dataset or a sequence is needed")
    return InOrder(data, name, name, reader, classes)


def hugging_face(text: str, reader: Reader) -> Source:
    """NAME[?split=train&config=…]: a data set of the hub, or a folder of one. No code of the data set's is run."""
    name, _, options = text.partition("?")
    given = dict(parse_qsl(options))
    if extra := sorted(set(given) - {"split", "config"}):
        raise RequestError(f"data hf:{name} has {shown(extra)}; it takes split and config")
    if not name:
        raise RequestError("data hf: names no data set; hf:NAME is needed, such as hf:cifar10?split=test")
    try:
        import datasets
    except ImportError as error:
        raise ExtraError(
            f"hf:{name} needs the package datasets: pip install 'phosphene[data]' ({first_line(error)})"
        ) from error
    try:
        data = datasets.load_dataset(name, given.get("config"), split=given.get("split", "train"))
    except Exception as error:  # of the network, the hub, the files: the library raises many kinds
        raise RequestError(f"data hf:{name} does not open: {type(error).__name__}: {first_line(error)}") from error
    label = next((key for key in LABELS if key in (data.features or {})), None)
    names = getattr(data.features[label], "names", None) if label else None
    if not len(data):
        raise RequestError(f"data hf:{text} is empty; at least one picture is needed")
    return MapStyle(data, f"hf:{text}", len(data), reader, _classes(names))


def item_of(given: Any, classes: Sequence[str] | None, reader: Reader) -> Item:
    """An item as a Dataset gives it: a picture, (picture, label, …), or a mapping that holds them.

    A picture is a PIL image, a float tensor (c, h, w) or (1, c, h, w) in [0, 1], or bytes (c, h, w) or (h, w, c).
    """
    label: Any = None
    if isinstance(given, dict):
        label = next((given[key] for key in LABELS if key in given), None)
        key = next((key for key in PICTURES if key in given), None)
        if key is None:
            raise PictureError(f"it has {shown(sorted(map(str, given)))}; one of {', '.join(PICTURES)} is needed")
        given = given[key]
    elif isinstance(given, tuple | list):
        given, label = (given[0] if given else None), (given[1] if len(given) > 1 else None)
    notes: list[str] = []
    return Item(picture_of(given, reader, notes), _label(label, classes), tuple(notes))


def picture_of(given: Any, reader: Reader, notes: list[str]) -> Tensor:
    if reader.range is not None and isinstance(given, Tensor | np.ndarray):
        return _in_range(given, reader, notes)
    if not isinstance(given, Tensor | np.ndarray | Image.Image | bytes | io.IOBase):
        raise PictureError(f"it is {shown(given)}; a picture is needed: a PIL image, or a tensor (c, h, w)")
    undo = reader.undo if isinstance(given, Tensor | np.ndarray) else None
    picture = Converter(reader.channels, undo=undo, range=reader.range, name="it").one(given, notes).cpu()
    if len(picture) != 1:
        raise PictureError(f"it holds {len(picture)} pictures; one (c, h, w) is needed")
    return picture


def _in_range(given: Tensor | bands.Array, reader: Reader, notes: list[str]) -> Tensor:
    """Numbers of any kind, (c, h, w), (1, c, h, w) or (h, w), of which it is known what stands for black and white."""
    picture = torch.as_tensor(given).detach().cpu()
    picture = picture[0] if picture.ndim == 4 and len(picture) == 1 else picture[None] if picture.ndim == 2 else picture
    if picture.ndim != 3:
        raise PictureError(f"it is {given.dtype} {tuple(given.shape)}; a picture (c, h, w) is needed")
    return reader.array((picture.float() if picture.is_floating_point() else picture).numpy(), "of the data set", notes)


def _label(label: Any, classes: Sequence[str] | None) -> Label:
    if isinstance(label, Tensor | np.ndarray | np.generic) and getattr(label, "size", 1) != 0 and np.ndim(label) == 0:
        label = label.item()
    if isinstance(label, str):
        return label
    if isinstance(label, bool) or not isinstance(label, int):
        return None
    return classes[label] if classes and 0 <= label < len(classes) else label


def _classes(names: Any) -> tuple[str, ...] | None:
    if isinstance(names, list | tuple) and names and all(isinstance(name, str) for name in names):
        return tuple(names)
    return None
