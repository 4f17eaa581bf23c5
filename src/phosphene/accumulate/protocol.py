"""What every accumulator is: a value that takes in batches, and that joins with another of the same kind."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol, Self

from torch import Tensor


class Accumulator(Protocol):
    """A frozen value. It has a method `update(…) -> Self` that takes in one batch and leaves what it was called on as it is.

    merge is associative and commutative, bit for bit, and what has taken in nothing is its neutral element: parts of the
    data may be taken in anywhere and joined in any order.
    """

    def merge(self, other: Self) -> Self: ...

    def compute(self) -> Any:
        """What it says of all it has taken in."""
        ...

    def state(self) -> dict[str, Tensor]:
        """Tensors that `from_state` makes it of again, bit for bit."""
        ...

    @classmethod
    def from_state(cls, state: Mapping[str, Tensor]) -> Self: ...
