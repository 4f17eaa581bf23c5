"""Data: many pictures read one after another, wherever they lie; what the verbs over data sets read from.

    data = open_data("photos/")                         # or a Dataset, "hf:NAME", "list.csv", a tensor (n, c, h, w)
    for batch in data.batches(net.preprocess.taken, 64):
        batch.pictures, batch.indices, batch.names, batch.labels, batch.sizes
    data.picture(7)                                     # the original of item 7, (1, c, h, w) at full resolution

An item that is no picture is never fatal and never silent: its batch names it and says why.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor

from .. import checks
from ..errors import PictureError, RequestError, first_line, shown
from .reading import Range, Reader, quiet

Fit = Callable[[Tensor], Tensor]  # a photograph (1, c, h, w) of any size -> (1, channels, height, width)
Label = int | str | None
WORKERS = 4  # threads that decode files while the network runs
AHEAD = 16  # items they are ahead
LISTS = (".csv", ".tsv", ".parquet")


@dataclass(frozen=True, eq=False)
class Item:
    """picture: (1, c, h, w) in [0, 1], as it is; notes: what may mislead in it."""

    picture: Tensor
    label: Label = None
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Refusal:
    """An item that is no picture."""

    index: int
    name: str
    reason: str


@dataclass(frozen=True, eq=False)
class Batch:
    """Some items, in the order of the data.

    pictures  (b, c, h, w) float32 in [0, 1] on the CPU, fitted; b may be 0 where all were refused
    indices   the place of each in the data; one that was refused keeps its own
    names     paths, or item-7
    labels    as the data say it, None where they do not
    sizes     (height, width) of the originals
    refused   those between that are no pictures
    notes     what may mislead in some of the pictures, a sentence each
    end       where the next batch begins
    """

    pictures: Tensor
    indices: tuple[int, ...]
    names: tuple[str, ...]
    labels: tuple[Label, ...]
    sizes: tuple[tuple[int, int], ...]
    refused: tuple[Refusal, ...]
    end: int
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.indices)


class Source(Protocol):
    """Where items come from. A thunk gives the item, and raises whatever reading it raises."""

    @property
    def name(self) -> str: ...

    @property
    def count(self) -> int | None:
        """How many items there are, the refused ones included; None if only reading tells."""
        ...

    @property
    def identity(self) -> str:
        """Of which data: other files, another order or another number give another text."""
        ...

    @property
    def parallel(self) -> bool:
        """Whether thunks may run in threads."""
        ...

    def thunks(self, places: slice) -> Iterator[tuple[int, str, Callable[[], Item]]]:
        """(index, name, thunk) of the items of a slice with a start and a step, in order."""
        ...


@runtime_checkable
class Marked(Protocol):
    """A source of files, which can tell what has changed."""

    @property
    def marks(self) -> str: ...

    def change_since(self, marks: str) -> str: ...


class Data:
    """A source, with what can be asked of every one."""

    def __init__(self, source: Source, range: Range | None = None) -> None:
        self.source = source
        self.range = range

    def __repr__(self) -> str:
        return f"Data({self.name}, {'?' if self.count is None else self.count} items)"

    @property
    def name(self) -> str:
        return self.source.name

    @property
    def count(self) -> int | None:
        return self.source.count

    @property
    def identity(self) -> str:
        return self.source.identity + ("" if self.range is None else f" range {self.range[0]:g},{self.range[1]:g}")

    @property
    def marks(self) -> str:
        """What tells each file from others, as `change_since` takes it; "" where the data are no files."""
        return self.source.marks if isinstance(self.source, Marked) else ""

    def change_since(self, marks: object) -> str:
        """What has changed since the data had these marks, in words; "" where nothing has, or it cannot be told."""
        if not isinstance(self.source, Marked) or not isinstance(marks, str) or marks in ("", self.source.marks):
            return ""
        return self.source.change_since(marks)

    def batches(self, fit: Fit, size: int, *, start: int = 0, shard: tuple[int, int] = (0, 1)) -> Iterator[Batch]:
        """The items from `start` on, `size` at once, fitted; shard (i, n): only those with index % n == i.

        A batch holds the same items whatever the machine, and `start` at the `end` of one goes on as if never stopped.
        """
        checks.whole("batch", size, low=1)
        first, step = checked_shard(shard)
        begin = start + (first - start) % step
        end = begin
        for some in _chunks(self._outcomes(fit, slice(begin, None, step)), size):
            end = some[-1][0] + step
            yield _batch(some, end)

    def picture(self, index: int) -> Tensor:
        """The original of an item, (1, c, h, w) in [0, 1]; PictureError if it cannot be read any more."""
        for _, picture in self.pictures([index]):
            return picture
        raise PictureError(f"{self.name} has no item {index}")

    def pictures(self, indices: Sequence[int]) -> Iterator[tuple[int, Tensor]]:
        """Originals by index, in the order of the data; each item is read once."""
        left = sorted(set(indices))
        if not left:
            return
        if self.count is None:  # what can only be read in order is read once up to the last
            wanted = set(left)
            for index, name, thunk in islice(self.source.thunks(slice(0, None, 1)), left[-1] + 1):
                if index in wanted:
                    yield index, _read(name, thunk)
            return
        for index in left:
            for _, name, thunk in islice(self.source.thunks(slice(index, None, 1)), 1):
                yield index, _read(name, thunk)

    def _outcomes(self, fit: Fit, places: slice) -> Iterator[tuple[int, str, _Outcome]]:
        thunks = self.source.thunks(places)
        if not self.source.parallel:
            for index, name, thunk in thunks:
                with quiet():
                    outcome = _outcome(fit, name, thunk)
                yield index, name, outcome
            return
        with ThreadPoolExecutor(WORKERS, "phosphene-read") as pool:
            waiting: deque[tuple[int, str, Callable[[], Item], Future[_Outcome]]] = deque()

            def first() -> tuple[int, str, _Outcome]:
                index, name, thunk, future = waiting.popleft()
                try:
                    return index, name, future.result()
                except Warning:  # made an error by the user's filters, which no thread may change
                    with quiet():
                        return index, name, _outcome(fit, name, thunk)

            try:
                for index, name, thunk in thunks:
                    waiting.append((index, name, thunk, pool.submit(_outcome, fit, name, thunk)))
                    if len(waiting) > AHEAD:
                        yield first()
                while waiting:
                    yield first()
            finally:
                for *_, future in waiting:
                    future.cancel()


_Outcome = tuple[Tensor, Label, tuple[int, ...], tuple[str, ...]] | str


def open_data(
    data: Any,
    out: Path | None = None,
    channels: int | None = None,
    range: tuple[float, float] | None = None,
    undo: Fit | None = None,
) -> Data:
    """The data that a path, a text or a Dataset means.

    data  a folder (one subfolder per class, or flat), "hf:NAME[?split=train]", a .csv, .tsv or .parquet list of paths or URLs
          (a file or a URL itself), a map-style or iterable Dataset, a DataLoader, a sequence of pictures, a tensor
          (n, c, h, w); or Data. The Normalize of a torchvision data set is undone, with a warning
    out   a folder inside `data` that is not read, because results are written to it
    channels  so many bands of each file are read as they stand (`Preprocess.bands`); None: grey or colour
    range     the numbers that stand for 0 and 1 in pictures of 16 or 32 bits and in arrays, as `read` takes it
    undo      what takes normalised tensors (b, c, h, w) back to pictures; None: they are pictures
    """
    from . import sources

    if isinstance(data, Data):
        if range is not None:
            raise RequestError("range must be given where data is opened, got it beside a Data. Use open_data(…, range=…)")
        return data
    reader = Reader(range, channels, undo)
    if isinstance(data, str) and data.startswith("hf:"):
        return Data(sources.hugging_face(data.removeprefix("hf:"), reader), reader.range)
    if isinstance(data, str | Path):
        return Data(_of_path(str(data), out, reader), reader.range)
    return Data(sources.dataset(data, reader), reader.range)


def misleading(count: int, first: str) -> list[str]:
    """The note on `count` pictures of which `first` is told: one for all of them."""
    return [] if not count else [first] if count == 1 else [f"{first} ({count - 1} more pictures likewise)"]


def checked_shard(shard: tuple[int, int]) -> tuple[int, int]:
    if not isinstance(shard, tuple | list) or len(shard) != 2:
        raise RequestError(f"shard is {shown(shard)}; (which, of how many) is needed, such as (0, 4)")
    count = checks.whole("number of shards", shard[1], low=1)
    return checks.whole("shard", shard[0], low=0, high=count - 1), count


def nothing(data: Data, count: int, refusals: Sequence[Refusal]) -> PictureError:
    """What is to be said of data whose `count` items are none of them a picture."""
    if not refusals:
        return PictureError(f"{data.name} gave no picture; at least one is needed")
    if count == 1:
        return PictureError(f"the one item read of {data.name} is no picture: {refusals[0].reason}")
    return PictureError(f"none of {count} items of {data.name} is a picture; the first: {refusals[0].reason}")


def _of_path(text: str, out: Path | None, reader: Reader) -> Source:
    from . import sources

    if Path(text).is_dir():
        return sources.folder(Path(text), out, reader)
    if text.lower().endswith(LISTS):
        return sources.listed(text, reader)
    there = "is a file" if Path(text).is_file() else "is not there"
    raise RequestError(f"data {shown(text)} {there}; a folder of pictures, a list ({', '.join(LISTS)}) or hf:NAME is needed")


def _check(picture: Any) -> None:
    if not isinstance(picture, Tensor) or picture.ndim != 4 or not picture.is_floating_point() or 0 in picture.shape:
        raise PictureError(f"{shown(picture)} is no picture")
    low, high = (float(value) for value in torch.aminmax(picture))
    if not (low >= -1e-4 and high <= 1 + 1e-4):
        raise PictureError(
            f"it reaches from {low:.4g} to {high:.4g}; [0, 1] is needed: the photograph, not the network's input"
        )


def _read(name: str, thunk: Callable[[], Item]) -> Tensor:
    try:
        with quiet():
            item = thunk()
        _check(item.picture)
        return item.picture
    except Exception as error:  # as above: whatever a dataset raises
        raise PictureError(_reason(name, error)) from error


def _outcome(fit: Fit, name: str, thunk: Callable[[], Item]) -> _Outcome:
    try:
        item = thunk()
        _check(item.picture)
        return fit(item.picture.float()), item.label, tuple(item.picture.shape[-2:]), item.notes
    except Warning:
        raise
    except Exception as error:  # whatever a dataset or a decoder raises: one bad item must not end the scan
        return _reason(name, error)


def _reason(name: str, error: Exception) -> str:
    said = first_line(error)
    kind = "" if isinstance(error, PictureError | RequestError) else f"{type(error).__name__}: "
    return said if name in said else f"{name}: {kind}{said}"


def _chunks(outcomes: Iterator[Any], size: int) -> Iterator[list[Any]]:
    while some := list(islice(outcomes, size)):
        yield some


def _batch(some: list[tuple[int, str, _Outcome]], end: int) -> Batch:
    good = [(index, name, *outcome) for index, name, outcome in some if not isinstance(outcome, str)]
    refused = tuple(Refusal(index, name, outcome) for index, name, outcome in some if isinstance(outcome, str))
    return Batch(
        torch.cat([one[2] for one in good]) if good else torch.zeros(0, 3, 1, 1),
        tuple(one[0] for one in good),
        tuple(one[1] for one in good),
        tuple(one[3] for one in good),
        tuple((one[4][0], one[4][1]) for one in good),
        refused,
        end,
        tuple(note for one in good for note in one[5]),
    )
