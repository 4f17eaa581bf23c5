"""What results of several items share: they are indexed, iterated over, arrays, and drawn by Matplotlib."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
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
        found: np.ndarray[Any, Any] = self.array.detach().cpu().numpy()
        if copy is False and (dtype is None or found.dtype == dtype):
            return found
        return found.astype(found.dtype if dtype is None else dtype, copy=True)

    def plot(self, ax: Any = None, item: int = 0) -> Any:
        """Draw an item into Matplotlib's axes (default: new ones), which are returned. Matplotlib must be installed."""
        if ax is None:
            ax = _axes()
        ax.imshow(np.asarray(self.image(item)))
        ax.set_title(self.title_of(item).replace(" · ", "\n"), fontsize="small")  # in lines: axes may stand side by side
        ax.set_axis_off()
        return ax


def columns_of(rows: Sequence[dict[str, Any]]) -> dict[str, list[Any]]:
    """Rows as columns, as `pandas.DataFrame` takes them; None where a row lacks a key."""
    keys = dict.fromkeys(key for row in rows for key in row)
    return {key: [row.get(key) for row in rows] for key in keys}


def _axes() -> Any:
    try:
        from matplotlib import pyplot
    except ImportError as error:
        raise ExtraError(f"plot needs the package matplotlib: pip install matplotlib ({first_line(error)})") from error
    _, ax = pyplot.subplots(layout="constrained")
    return ax
