"""What a source of networks is asked, and what it answers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from torch import nn

from .outputs import Pick


@dataclass(frozen=True)
class Request:
    """name: what stands behind `source:`; weights: None the source's own, "none" random ones, or a tag the source knows.

    classes: how many scores a new head is to give; None: as many as the source's own.
    """

    name: str
    weights: str | None = None
    classes: int | None = None


@dataclass(frozen=True)
class Opened:
    """preprocess: keyword arguments of Preprocess that the source knows; None where it knows nothing."""

    module: nn.Module
    preprocess: dict[str, Any] | None = None
    classes: Sequence[str] | None = None
    output: Pick | None = None
    batch: int | None = None
    notes: tuple[str, ...] = field(default=())
