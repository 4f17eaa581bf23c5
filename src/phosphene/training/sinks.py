"""Sinks: where pictures go. A sink may raise; the callback reports it once, and the training goes on."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from pathlib import Path
from string import Formatter
from typing import Any

from PIL import Image

from ..errors import ExtraError, RequestError, UnknownNameError, shown
from ..pictures import animation, contact_sheet, files
from .moment import Shown

FIELDS = ("epoch", "step", "phase", "class", "index", "kind", "photo")
SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff")
MOST_FRAMES = 256  # of one animation: beyond it every second is left out
Handler = Callable[[Shown], Any]


class Sink(ABC):
    """Takes what was drawn at one moment. `close` ends a training; another may follow.

    longest: seconds that either may take; after them the sink is left out. None: as long as it likes.
    """

    longest: float | None = 60.0

    @abstractmethod
    def take(self, pictures: Sequence[Shown]) -> None: ...

    def close(self) -> None:  # noqa: B027  most have nothing to end
        pass


class File(Sink):
    """A file a picture. pattern: a path with {epoch} {step} {phase} {class} {index} {kind}: "epoch{epoch:03d}-{class}.png".

    What stands for a field is made a file name first, so that no class name leads out of the folder. Two pictures of one
    moment that would have one name are told apart by their index; a later moment's takes the place of an earlier one's.
    A PNG carries its record.
    """

    def __init__(self, pattern: str | Path) -> None:
        self._pattern = checked_pattern(pattern, FIELDS)
        suffix = Path(self._pattern).suffix.lower()
        if suffix not in SUFFIXES:
            raise RequestError(f"file {shown(str(pattern))}; a name that ends in one of {', '.join(SUFFIXES)} is needed")

    def take(self, pictures: Sequence[Shown]) -> None:
        written: set[Path] = set()
        for one in pictures:
            path = filled(self._pattern, one)
            if path in written:
                path = path.with_name(f"{path.stem}-{one.index}{path.suffix}")
            written.add(path)
            files.folder(path.parent)
            _write(path, one)


class Animation(Sink):
    """The picture over the epochs, as .gif, .webp, .apng or .mp4 (extra mp4): one file for each {class} or {index}.

    It is written anew whenever it has twice as many frames, and at the end: a training that is killed leaves most of it.
    label: the name and the epoch stand under each frame.
    """

    def __init__(self, path: str | Path, *, seconds: float = animation.SECONDS, label: bool = True) -> None:
        self._pattern = checked_pattern(path, ("class", "index", "kind"))
        animation.check_kind(Path(self._pattern).suffix.lower().removeprefix("."))
        self._seconds, self._label = seconds, label
        self._frames: dict[Path, list[Image.Image]] = {}
        self._seen: dict[Path, int] = {}

    def take(self, pictures: Sequence[Shown]) -> None:
        if len({filled(self._pattern, one) for one in pictures}) < len(pictures):
            raise RequestError(f"{self._pattern}: {len(pictures)} pictures for one animation; put {{class}} into its name")
        grown = [self._grown(one) for one in pictures]
        for path in grown:
            if self._seen[path] >= 2 and self._seen[path].bit_count() == 1:
                self._write(path)

    def close(self) -> None:
        for path in self._frames:
            self._write(path)

    def _grown(self, one: Shown) -> Path:
        path = filled(self._pattern, one)
        frames = self._frames.setdefault(path, [])
        every = 2 ** (max(self._seen.get(path, 0), 1) // MOST_FRAMES).bit_length()
        if self._seen.get(path, 0) % every == 0:
            frames.append(self._framed(one))
        if len(frames) > MOST_FRAMES:
            del frames[1::2]
        self._seen[path] = self._seen.get(path, 0) + 1
        return path

    def _framed(self, one: Shown) -> Image.Image:
        if not self._label:
            return one.image.convert("RGB")
        return contact_sheet.contact_sheet([contact_sheet.Tile(one.image, (one.name, f"epoch {one.moment.epoch}"))])

    def _write(self, path: Path) -> None:
        frames = self._frames[path]
        files.folder(path.parent)
        # Of the size of the first: a sheet may have grown by a line.
        same = [frame if frame.size == frames[0].size else frame.resize(frames[0].size) for frame in frames]
        animation.write_animation(path, same if len(same) > 1 else same * 2, seconds=self._seconds)


class Pyplot(Sink):
    """Shown with Matplotlib. title: with the fields of a file's name."""

    longest = None  # a window stays open as long as somebody looks at it

    def __init__(self, title: str | None = None, *, show: bool = True) -> None:
        needed("matplotlib", "matplotlib", "matplotlib")
        self._title = None if title is None else checked_pattern(title, FIELDS)
        self._show = show

    def take(self, pictures: Sequence[Shown]) -> None:
        import matplotlib.pyplot as plt

        for one in pictures:
            plt.imshow(one.array)
            plt.axis("off")
            if self._title is not None:
                plt.title(self._title.format(**one.fields))
            if self._show:
                plt.show()


class State(Sink):
    """Into the state that the training keeps, one picture (c, h, w) in [0, 1] per key."""

    def __init__(self, keys: Any) -> None:
        self._keys = list(keys) if isinstance(keys, list | tuple) else [keys]

    def take(self, pictures: Sequence[Shown]) -> None:
        if len(self._keys) < len(pictures):
            raise RequestError(f"{len(self._keys)} keys for {len(pictures)} pictures; one each is needed, or make_grid()")
        for key, one in zip(self._keys, pictures, strict=False):
            one.moment.state[key] = one.tensor


class Handled(Sink):
    """Any function of a Shown; index: only of the pictures of these places."""

    def __init__(self, handler: Handler, index: int | Sequence[int] | None = None) -> None:
        if not callable(handler):
            raise RequestError(f"handler is {shown(handler)}; a function of one Shown is needed")
        self._handler = handler
        self._places = [index] if isinstance(index, int) else index

    def take(self, pictures: Sequence[Shown]) -> None:
        for one in pictures:
            if self._places is None or one.index in self._places:
                self._handler(one)


def checked_pattern(pattern: str | Path, fields: Sequence[str]) -> str:
    """The pattern, if it has these fields alone: no attribute or item of one, which would reach into the program."""
    text = str(pattern)
    try:
        found = [name for _, name, _, _ in Formatter().parse(text) if name is not None]
    except ValueError as error:
        raise RequestError(f"pattern {shown(text)}: {error}; a brace of the name itself is written twice") from error
    for name in found:
        if name not in fields:
            raise UnknownNameError("field", name, fields, "{{ and }} stand for braces")
    numbers = dict.fromkeys(fields, 0)
    try:
        text.format(**{name: numbers[name] if name in ("epoch", "step", "index") else "x" for name in fields})
    except (ValueError, KeyError, IndexError) as error:
        raise RequestError(f"pattern {shown(text)}: {error}") from error
    return text


def filled(pattern: str, one: Shown) -> Path:
    """The path of a picture."""
    return Path(pattern.format(**{k: files.slug(v) if isinstance(v, str) else v for k, v in one.fields.items()}))


def needed(module: str, package: str, extra: str) -> None:
    """ExtraError unless the module is there."""
    from importlib.util import find_spec

    if find_spec(module) is None:
        hint = f"pip install 'phosphene[{extra}]'" if extra != package else f"pip install {package}"
        raise ExtraError(f"this sink needs {package}; {hint}")


def tag(one: Shown) -> str:
    """How loggers call it: "class models/cat", "saliency/dog.jpg"."""
    return f"{one.kind}/{one.photo or one.name}"


def _write(path: Path, one: Shown) -> None:
    if path.suffix.lower() == ".png":
        files.write_png(path, one.image, one.record)
    else:
        files.write_whole(path, lambda beside: one.image.convert("RGB").save(beside))
