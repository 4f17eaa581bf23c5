"""Connected components of a mask: runs of each row, joined by union-find."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor


@dataclass(frozen=True, eq=False)
class Components:
    """The components of a mask (h, w), the largest first; of one size the upper, then the left one.

    boxes  (n, 4) float32: left, top, right, bottom in pixels, right and bottom outside
    sizes  (n,) int64, in pixels
    """

    boxes: Tensor
    sizes: Tensor
    _labels: tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]
    _shape: tuple[int, int]

    def __len__(self) -> int:
        return len(self.sizes)

    def labels(self) -> Tensor:
        """(h, w) int64: 0 outside and 1, 2, … in the components' order."""
        found = np.zeros(self._shape, np.int64)
        for y, left, right, label in zip(*self._labels, strict=True):
            found[y, left:right] = label + 1
        return torch.from_numpy(found)


def components(mask: Tensor) -> Components:
    """Of a mask (h, w). Pixels touch at their sides and corners."""
    row, start, stop = _runs(mask.detach().cpu().numpy().astype(bool))
    # A root is the first run of its component, so that roots stand in the order of their upper left corners.
    roots, which = np.unique(_joined(row, start, stop, len(mask)), return_inverse=True)
    count = len(roots)
    sizes = np.bincount(which, stop - start, minlength=count).astype(np.int64)
    boxes = np.empty((count, 4), np.int64)
    boxes[:, :2] = np.iinfo(np.int64).max
    boxes[:, 2:] = 0
    for side, pick, ends in ((0, np.minimum, start), (1, np.minimum, row), (2, np.maximum, stop), (3, np.maximum, row + 1)):
        pick.at(boxes[:, side], which, ends)
    order = np.argsort(-sizes, kind="stable")
    rank = np.empty(count, np.int64)
    rank[order] = np.arange(count)
    found = torch.from_numpy(boxes[order].astype(np.float32)), torch.from_numpy(sizes[order])
    h, w = (int(side) for side in mask.shape)
    return Components(*found, (row, start, stop, rank[which]), (h, w))


def _runs(mask: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Row, first column and column after the last of each run, row by row."""
    steps = np.diff(np.pad(mask.astype(np.int8), ((0, 0), (1, 1))), axis=1)
    row, start = np.nonzero(steps == 1)
    return row, start, np.nonzero(steps == -1)[1]


def _joined(row: np.ndarray, start: np.ndarray, stop: np.ndarray, height: int) -> np.ndarray:
    """The root of each run: the first run of its component."""
    parent = list(range(len(row)))

    def root(i: int) -> int:
        while parent[i] != i:
            parent[i] = parent[parent[i]]  # halves the way for whoever comes next
            i = parent[i]
        return i

    first = np.searchsorted(row, np.arange(height + 1)).tolist()
    begin, end = start.tolist(), stop.tolist()
    for y in range(1, height):
        above, here = first[y - 1], first[y]
        while above < first[y] and here < first[y + 1]:
            if begin[here] <= end[above] and begin[above] <= end[here]:  # also where only corners touch
                low, high = sorted((root(above), root(here)))
                parent[high] = low
            if end[above] < end[here]:
                above += 1
            else:
                here += 1
    return np.array([root(i) for i in range(len(parent))], dtype=np.int64)
