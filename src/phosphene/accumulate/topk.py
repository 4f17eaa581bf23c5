"""TopK: the k largest (or smallest) values of each unit over a stream, with their items and places."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import inf
from typing import NamedTuple, Self

import torch
from torch import Tensor

from .. import checks
from ..errors import RequestError

LAST = torch.iinfo(torch.int64).max  # the index and the place of an entry that is not there: after every other


class Best(NamedTuple):
    """(units, k) each, best first. Where fewer than k were seen the index and the place are −1 and the value is NaN."""

    values: Tensor
    indices: Tensor
    places: Tensor


@dataclass(frozen=True, eq=False)
class TopK:
    """The k best entries (value, item, place) of each of some units.

    The order is total: the larger value first (the smaller, where `largest` is False), then the smaller item index, then the
    smaller place (y·width + x). So the result does not depend on how the stream was cut, ordered or merged. An entry that
    comes twice counts once. NaN never enters, nor does the infinity that is worse than every number.

    one_each: at most one place of an item, its best
    keys, items, places: (units, k); a key is the value, its sign turned where the smallest are wanted
    """

    keys: Tensor
    items: Tensor
    places: Tensor
    largest: bool = True
    one_each: bool = True

    @classmethod
    def of(
        cls, units: int, k: int, *, largest: bool = True, one_each: bool = True, device: torch.device | str | None = None
    ) -> Self:
        """One that has seen nothing."""
        shape = (checks.whole("units", units, low=0), checks.whole("top", k, low=1, high=10_000))
        last = torch.full(shape, LAST, device=device)
        return cls(torch.full(shape, -inf, device=device), last, last.clone(), largest, one_each)

    @property
    def k(self) -> int:
        return self.keys.shape[1]

    def update(self, values: Tensor, indices: Tensor, peaks: Tensor | None = None) -> Self:
        """With the values (b, units, places) of the items `indices` (b,); peaks: values.amax(2), where it is known."""
        if values.ndim != 3 or values.shape[1] != len(self.keys) or indices.shape != values.shape[:1]:
            shapes = f"{tuple(values.shape)} and {tuple(indices.shape)}"
            raise RequestError(f"values and indices are {shapes}; (b, {len(self.keys)}, places) and (b,) are needed")
        if not values.numel():
            return self
        indices = indices.to(values.device)
        best = (values.amax(2) if peaks is None else peaks) if self.largest else -values.amin(2)
        if bool(best.isnan().any()):  # a maximum over some NaN is NaN
            values = values.masked_fill(values.isnan(), -inf if self.largest else inf)
            best = values.amax(2) if self.largest else -values.amin(2)
        # Most items beat nobody: the last entry of each unit turns them away before any place is looked for.
        last, item = self.keys[:, -1], self.items[:, -1]
        near = (best == last) & (indices[:, None] <= item)
        units, rows = ((best > last) | (near & (best > -inf))).T.nonzero(as_tuple=True)
        return self if not len(units) else self._joined(*self._entries(values, indices, units, rows))

    def merge(self, other: Self) -> Self:
        same = (self.largest, self.one_each, self.keys.shape) == (other.largest, other.one_each, other.keys.shape)
        if not same:
            raise RequestError(f"{self._said()} and {other._said()} do not merge; two of one kind are needed")
        units = torch.arange(len(self.keys), device=self.keys.device)
        device = self.keys.device
        return self._joined(units, other.keys.to(device), other.items.to(device), other.places.to(device))

    def compute(self) -> Best:
        gone = self.items == LAST
        values = (self.keys if self.largest else -self.keys).masked_fill(gone, torch.nan)
        return Best(values, self.items.masked_fill(gone, -1), self.places.masked_fill(gone, -1))

    def state(self) -> dict[str, Tensor]:
        kind = torch.tensor([self.largest, self.one_each])
        return {"keys": self.keys, "items": self.items, "places": self.places, "kind": kind}

    @classmethod
    def from_state(cls, state: Mapping[str, Tensor]) -> Self:
        largest, one_each = (bool(flag) for flag in state["kind"])
        return cls(state["keys"], state["items"], state["places"], largest, one_each)

    def to(self, device: torch.device | str) -> Self:
        keys, items, places = (tensor.to(device) for tensor in (self.keys, self.items, self.places))
        return type(self)(keys, items, places, self.largest, self.one_each)

    def _entries(self, values: Tensor, indices: Tensor, units: Tensor, rows: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """The best places of some (unit, row) pairs, ordered by unit, as a padded table: the units it is of, and (those, m)."""
        found = values[rows, units]  # (pairs, places)
        if self.one_each:
            # Of equal values argmax gives the first, and argmin too.
            places = (found.argmax(1) if self.largest else found.argmin(1))[:, None]
            keys = found.gather(1, places)
        else:
            keys, places = found.sort(stable=True, dim=1, descending=self.largest)
            keys, places = keys[:, : self.k], places[:, : self.k]
        keys = keys.to(self.keys.dtype) if self.largest else -keys.to(self.keys.dtype)
        those, inverse, counts = units.unique_consecutive(return_inverse=True, return_counts=True)
        nth = torch.arange(len(units), device=units.device) - (counts.cumsum(0) - counts)[inverse]
        shape = (len(those), int(counts.max()), keys.shape[1])
        table = keys.new_full(shape, -inf), indices.new_full(shape, LAST), indices.new_full(shape, LAST)
        items = indices[rows][:, None].expand_as(places)
        for whole, part in zip(table, (keys, items, places), strict=True):
            whole[inverse, nth] = part
        gone = table[0] == -inf
        return those, table[0].flatten(1), *(t.masked_fill(gone, LAST).flatten(1) for t in table[1:])

    def _joined(self, units: Tensor, keys: Tensor, items: Tensor, places: Tensor) -> Self:
        """With entries (those units, m)."""
        mine = (self.keys[units], self.items[units], self.places[units])
        table = [torch.cat(pair, 1) for pair in zip(mine, (keys, items, places), strict=True)]
        table = _ordered(table)
        twin = _repeats(table[1], table[2], self.one_each)
        if bool(twin.any()):
            fills = (-inf, LAST, LAST)
            table = _ordered([t.masked_fill(twin, fill) for t, fill in zip(table, fills, strict=True)])
        whole = [self.keys.clone(), self.items.clone(), self.places.clone()]
        for old, best in zip(whole, table, strict=True):
            old[units] = best[:, : self.k]
        return type(self)(whole[0], whole[1], whole[2], self.largest, self.one_each)

    def _said(self) -> str:
        units, k = self.keys.shape
        return f"the {k} {'largest' if self.largest else 'smallest'} of {units} units{', one an item' if self.one_each else ''}"


def _ordered(table: list[Tensor]) -> list[Tensor]:
    """Each row in the total order: the last key first, since every sort keeps the order of equals."""
    for column, descending in ((2, False), (1, False), (0, True)):
        order = table[column].argsort(stable=True, dim=1, descending=descending)
        table = [t.gather(1, order) for t in table]
    return table


def _repeats(items: Tensor, places: Tensor, one_each: bool) -> Tensor:
    """Where an entry stands whose item (and place) stood before it in its row."""
    order = (
        places.argsort(stable=True, dim=1)
        if not one_each
        else torch.arange(items.shape[1], device=items.device).expand_as(items)
    )
    order = order.gather(1, items.gather(1, order).argsort(stable=True, dim=1))
    sorted_items, sorted_places = items.gather(1, order), places.gather(1, order)
    again = sorted_items[:, 1:] == sorted_items[:, :-1]
    if not one_each:
        again &= sorted_places[:, 1:] == sorted_places[:, :-1]
    again &= sorted_items[:, 1:] != LAST
    twin = torch.zeros_like(items, dtype=torch.bool)
    return twin.scatter(1, order[:, 1:], again)
