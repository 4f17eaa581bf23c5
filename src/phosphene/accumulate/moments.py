"""Moments: mean, spread and sparsity of each unit over a stream, summed exactly."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple, Self

import torch
from torch import Tensor

from ..errors import RequestError

# A sum is held in whole numbers of 2^-64, 2^-32, 1, 2^32 … : adding whole numbers is associative, adding floats is not.
LIMBS = tuple(2.0**power for power in (96, 64, 32, 0, -32, -64))

CACHED = 1 << 17  # numbers, half a megabyte


class Spread(NamedTuple):
    """(units,) each; NaN where nothing was seen.

    mean, spread (standard deviation)  of all values, of every place of every item
    sparsity  share of values that are not above 0
    dead      whether no value was ever above 0
    """

    mean: Tensor
    spread: Tensor
    sparsity: Tensor
    dead: Tensor


@dataclass(frozen=True, eq=False)
class Moments:
    """count, above, faulty: (units,) how many values, how many above 0, how many not finite; total, squares: (units, limbs)."""

    count: Tensor
    above: Tensor
    faulty: Tensor
    total: Tensor
    squares: Tensor

    @classmethod
    def of(cls, units: int, device: torch.device | str | None = None) -> Self:
        none = torch.zeros(units, dtype=torch.int64, device=device)
        limbs = torch.zeros(units, len(LIMBS), dtype=torch.int64, device=device)
        return cls(none, none, none, limbs, limbs)

    def update(self, values: Tensor) -> Self:
        """With values (b, units, places). Each item is summed on its own, so that the batch it came in does not matter."""
        if values.ndim != 3 or values.shape[1] != len(self.count):
            raise RequestError(f"values are {tuple(values.shape)}; (b, {len(self.count)}, places) is needed")
        if not values.numel():
            return self
        sums, squares, above = (torch.cat(parts) for parts in zip(*map(_summed, _chunks(values)), strict=True))
        count = torch.full_like(self.count, values.shape[0] * values.shape[2])
        faulty = torch.zeros_like(self.faulty)
        odd = ~(sums.isfinite() & squares.isfinite())
        if bool(odd.any()):  # something is not finite, or too large to be squared in float32
            good = values.isfinite()
            faulty = (~good).sum((0, 2))
            values = values.where(good, values.new_zeros(()))
            sums = torch.where(odd, values.double().sum(2), sums)
            squares = torch.where(odd, values.double().square().sum(2), squares)
            above = torch.where(odd, (values > 0).sum(2), above)
        numbers = (self.count + count - faulty, self.above + above.sum(0), self.faulty + faulty)
        total, squared = _limbs(torch.stack([sums, squares]))
        return type(self)(*numbers, self.total + total, self.squares + squared)

    def merge(self, other: Self) -> Self:
        if self.count.shape != other.count.shape:
            raise RequestError(f"moments of {len(self.count)} and of {len(other.count)} units do not merge")
        pairs = zip(self.state().values(), other.state().values(), strict=True)
        return type(self)(*(mine + theirs.to(mine.device) for mine, theirs in pairs))

    def compute(self) -> Spread:
        count = self.count.double().where(self.count > 0, torch.nan)
        mean = _number(self.total) / count
        variance = (_number(self.squares) / count - mean.square()).clamp(min=0)
        dead = (self.above == 0) & (self.count > 0)
        return Spread(mean.float(), variance.sqrt().float(), (1 - self.above / count).float(), dead)

    def state(self) -> dict[str, Tensor]:
        return {
            "count": self.count,
            "above": self.above,
            "faulty": self.faulty,
            "total": self.total,
            "squares": self.squares,
        }

    @classmethod
    def from_state(cls, state: Mapping[str, Tensor]) -> Self:
        return cls(*(state[name] for name in ("count", "above", "faulty", "total", "squares")))

    def to(self, device: torch.device | str) -> Self:
        return type(self)(*(tensor.to(device) for tensor in self.state().values()))


def _chunks(values: Tensor) -> list[Tensor]:
    """Some items at a time: passes over what the caches hold are cheap."""
    if values.device.type != "cpu":
        return [values]
    return list(values.split(max(1, CACHED // max(1, values[0].numel()))))


def _summed(values: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """(b, units) each: the sum over places, that of the squares, and how many are above 0."""
    # Ten times as fast as counting booleans, and exact: ones add up to whole numbers, in float32 up to 2^24.
    above = torch.gt(values, 0, out=torch.empty_like(values)).sum(2).to(torch.int64)
    return values.sum(2).double(), values.square().sum(2).double(), above  # a norm is slow where channels stand last


def _limbs(numbers: Tensor) -> Tensor:
    """(…, b, units) -> (…, units, limbs): the sum over b, each number cut below 2^-64. Every step is exact in float64."""
    rest, limbs = numbers.double().clamp(-(2.0**126), 2.0**126), []
    for weight in LIMBS:
        part = (rest / weight).trunc()
        rest = rest - part * weight
        limbs.append(part.to(torch.int64).sum(-2))
    return torch.stack(limbs, -1)


def _number(limbs: Tensor) -> Tensor:
    # Carried first, so that limbs of one sum have one sign and small ones are not lost beside large ones that cancel.
    carried = limbs.clone()
    for i in range(len(LIMBS) - 1, 0, -1):
        over = (carried[:, i] + 2**31) >> 32
        carried[:, i] -= over << 32
        carried[:, i - 1] += over
    return (carried.double() * torch.tensor(LIMBS, dtype=torch.float64, device=limbs.device)).sum(1)
