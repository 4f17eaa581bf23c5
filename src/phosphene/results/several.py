"""What results of several items share: they are indexed, iterated over, arrays, and drawn by Matplotlib."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Self

import numpy as np
from PIL import Image
from torch import Tensor

from ..errors import ExtraError, RequestError, first_line, shown


class Several(ABC):
    """A result of `len` items.

    r[0], r[-1], r[2:5]   results of the same kind, of one or several items
    for one in r          one result for each item
    np.asarray(r)         its numbers, a copy
    r.plot(ax=ax)         an item in Matplotlib's axes
    """

    @abstractmethod
    def __len__(self) -> int: ...

    @abstractmethod
    def chosen(self, rows: Sequence[int]) -> Self:
        """These items alone, in this order."""

    @abstractmethod
    def image(self, item: int = 0) -> Image.Image:
        """An item as a picture."""

    @property
    @abstractmethod
    def array(self) -> Tensor:
        """The numbers of all items."""

    @abstractmethod
    def title_of(self, item: int) -> str:
        """An item in a few words, parted by " · "."""

    def __getitem__(self, which: int | slice) -> Self:
        if isinstance(which, slice):
            return self.chosen(range(len(self))[which])
        if isinstance(which, bool) or not hasattr(which, "__index__"):
            raise RequestError(f"{type(self).__name__} must be indexed by a whole number or a slice, got {shown(which)}")
        return self.chosen([range(len(self))[which]])  # whose IndexError ends an iteration

    def __iter__(self) -> Iterator[Self]:
        return (self.chosen([row]) for row in range(len(self)))

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray[Any, Any]:
        return array_of(self.array, dtype, copy)

    def plot(self, ax: Any = None, item: int = 0) -> Any:
        """Draw an item into Matplotlib's axes (default: new ones), which are returned. Matplotlib must be installed."""
        return plotted(self.image(item), self.title_of(item), ax)


def array_of(numbers: Tensor, dtype: Any = None, copy: bool | None = None) -> np.ndarray[Any, Any]:
    """What `__array__` gives of a tensor: a copy, unless copy=False asks for none. ValueError where that needs another type."""
    found: np.ndarray[Any, Any] = numbers.detach().cpu().numpy()
    if copy is not False:
        return found.astype(found.dtype if dtype is None else dtype, copy=True)
    if dtype is not None and found.dtype != dtype:
        raise RequestError(f"copy=False needs the type that the numbers have, {found.dtype}, got {dtype}")
    return found


def plotted(image: Image.Image, title: str, ax: Any = None) -> Any:
    """The picture in Matplotlib's axes (default: new ones), which are returned. The parts of a title are its lines."""
    if ax is None:
        ax = _axes()
    ax.imshow(np.asarray(image))
    ax.set_title(title.replace(" · ", "\n"), fontsize="small")  # axes may stand side by side
    ax.set_axis_off()
    return ax


def columns_of(rows: Sequence[Mapping[str, Any]]) -> dict[str, list[Any]]:
    """Rows as columns, as `pandas.DataFrame` takes them; None where a row lacks a key.

    >>> columns_of([{"a": 1, "b": {"c": 2}}, {"a": 3}])
    {'a': [1, 3], 'b.c': [2, None]}
    """
    flat = [_flat(row) for row in rows]
    keys = dict.fromkeys(key for row in flat for key in row)
    return {key: [row.get(key) for row in flat] for key in keys}


def _flat(row: Mapping[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in row.items():
        found |= {f"{key}.{name}": one for name, one in value.items()} if isinstance(value, Mapping) else {key: value}
    return found


def _axes() -> Any:
    try:
        from matplotlib import pyplot
    except ImportError as error:
        raise ExtraError(f"plot needs the package matplotlib: pip install matplotlib ({first_line(error)})") from error
    _, ax = pyplot.subplots(layout="constrained")
    return ax
