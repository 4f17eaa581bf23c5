"""State of a scan: what it has found so far, as a value that merges and that a file holds."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import zip_longest
from math import gcd
from pathlib import Path
from typing import Any, NamedTuple, Self

import torch
from torch import Tensor

from ..accumulate.histogram import Histogram
from ..accumulate.moments import Moments
from ..accumulate.topk import LAST, TopK
from ..errors import RequestError, first_line, shown
from ..pictures import files
from ..pictures.data import Batch, Label, Refusal
from .units import Group

NAMED = 1000  # refused items whose names and reasons are kept; the others are only counted
LARGEST_FILE = 4 << 30  # bytes
_KINDS: dict[str, type[TopK | Moments | Histogram]] = {
    "top": TopK,
    "bottom": TopK,
    "moments": Moments,
    "histogram": Histogram,
}


class Entry(NamedTuple):
    """An item that some unit ranks. size: (height, width) of the original."""

    name: str
    label: Label
    size: tuple[int, int]


class Part(NamedTuple):
    """The items with index % of == which, up to `end`."""

    which: int
    of: int
    end: int
    done: bool

    def overlaps(self, other: Part) -> bool:
        return (self.which - other.which) % gcd(self.of, other.of) == 0


@dataclass(frozen=True, eq=False)
class State:
    """about: which network, data, units and settings; two states merge if it is the same and no item is in both.

    tops, bottoms, moments, histograms: one for each group of units; bottoms is empty where none were wanted
    """

    about: Mapping[str, Any]
    parts: tuple[Part, ...]
    tops: tuple[TopK, ...]
    bottoms: tuple[TopK, ...]
    moments: tuple[Moments, ...]
    histograms: tuple[Histogram, ...]
    entries: Mapping[int, Entry]
    seen: int = 0
    refused: int = 0
    refusals: tuple[Refusal, ...] = ()
    noted: tuple[int, str] = (0, "")  # how many pictures may mislead, and what the first of them is told to do

    @classmethod
    def of(cls, about: Mapping[str, Any], groups: Sequence[Group], shard: tuple[int, int], device: torch.device) -> Self:
        """One that has seen nothing. about: with "top", "bottom" and "one_per_picture"."""
        sizes = [len(group.rows) for group in groups]

        def ranks(k: int, largest: bool) -> tuple[TopK, ...]:
            one = about["one_per_picture"]
            return tuple(TopK.of(n, k, largest=largest, one_each=one, device=device) for n in sizes) if k else ()

        return cls(
            about,
            (Part(*shard, 0, False),),
            ranks(about["top"], True),
            ranks(about["bottom"], False),
            tuple(Moments.of(n, device) for n in sizes),
            tuple(Histogram.of(n, device) for n in sizes),
            {},
        )

    @property
    def done(self) -> bool:
        return all(part.done for part in self.parts)

    def update(self, batch: Batch, values: Sequence[Tensor]) -> Self:
        """With a batch of the only part, and (b, units, places) for each group."""
        (part,) = self.parts
        indices = torch.tensor(batch.indices)
        peaks = [given.amax(2) for given in values]

        def ranked(ranks: tuple[TopK, ...]) -> tuple[TopK, ...]:
            every = zip(ranks, values, peaks, strict=bool(ranks))
            return tuple(rank.update(given, indices, peak) for rank, given, peak in every)

        new = replace(
            self,
            parts=(part._replace(end=batch.end),),
            refused=self.refused + len(batch.refused),
            refusals=(*self.refusals, *batch.refused)[:NAMED],
            noted=(self.noted[0] + len(batch.notes), self.noted[1] or next(iter(batch.notes), "")),
        )
        if not len(batch):
            return new
        pairs = zip(self.moments, values, strict=True)
        facts = zip(batch.names, batch.labels, batch.sizes, strict=True)
        entries = {**self.entries, **dict(zip(batch.indices, (Entry(*fact) for fact in facts), strict=True))}
        new = replace(
            new,
            tops=ranked(self.tops),
            bottoms=ranked(self.bottoms),
            moments=tuple(moments.update(given) for moments, given in pairs),
            histograms=tuple(h.update(peak) for h, peak in zip(self.histograms, peaks, strict=True)),
            entries=entries,
            seen=self.seen + len(batch),
        )
        return new.pruned() if len(entries) > 2 * len(self.entries) + 4096 else new

    def pruned(self) -> Self:
        """Without the entries that no unit ranks any more."""
        ranked = [rank.items.flatten().cpu() for rank in (*self.tops, *self.bottoms)]
        live = set(torch.cat(ranked).unique().tolist()) - {LAST}
        return replace(self, entries={index: self.entries[index] for index in sorted(live)})

    def finished(self) -> Self:
        (part,) = self.parts
        return replace(self, parts=(part._replace(done=True),)).pruned()

    def merge(self, other: Self) -> Self:
        """Of other items of the same data. Associative and commutative."""
        check_same(self.about, other.about, "another scan")
        for mine in self.parts:
            for theirs in other.parts:
                if mine.overlaps(theirs):
                    said = f"{mine.which} of {mine.of} and {theirs.which} of {theirs.of}"
                    raise RequestError(f"the shards {said} hold the same items; shards that share none merge")
        kinds = ("tops", "bottoms", "moments", "histograms")
        joined: dict[str, Any] = {
            kind: tuple(a.merge(b) for a, b in zip(getattr(self, kind), getattr(other, kind), strict=True)) for kind in kinds
        }
        return replace(
            self,
            **joined,
            parts=tuple(sorted((*self.parts, *other.parts))),
            entries={**self.entries, **other.entries},
            seen=self.seen + other.seen,
            refused=self.refused + other.refused,
            refusals=tuple(sorted((*self.refusals, *other.refusals), key=lambda one: one.index))[:NAMED],
            noted=(self.noted[0] + other.noted[0], min(filter(None, (self.noted[1], other.noted[1])), default="")),
        ).pruned()

    def to(self, device: torch.device | str) -> Self:
        moved: dict[str, Any] = {
            kind: tuple(one.to(device) for one in getattr(self, kind)) for kind in ("tops", "bottoms", "moments", "histograms")
        }
        return replace(self, **moved)

    def save(self, path: Path) -> Path:
        """As one file, whole or not at all."""
        from safetensors.torch import save_file

        told = {
            "about": dict(self.about),
            "parts": self.parts,
            "seen": self.seen,
            "refused": self.refused,
            "refusals": [(one.index, one.name, one.reason) for one in self.refusals],
            "noted": self.noted,
            "entries": {str(index): entry for index, entry in sorted(self.pruned().entries.items())},
        }
        tensors = {
            f"{kind}.{i}.{name}": tensor.cpu().clone()  # some share their memory, which the format refuses
            for kind, ones in self._kinds().items()
            for i, one in enumerate(ones)
            for name, tensor in one.state().items()
        }
        text = json.dumps(told, allow_nan=False)
        metadata = {"phosphene": text, "sha256": _sha256(text, tensors)}
        return files.write_whole(path, lambda beside: save_file(tensors, beside, metadata))

    @classmethod
    def load(cls, path: Path) -> Self:
        """What `save` wrote; the file may be anyone's."""
        from safetensors import SafetensorError, safe_open

        try:
            if path.stat().st_size > LARGEST_FILE:
                raise ValueError(f"it has over {LARGEST_FILE >> 30} GiB")
            with safe_open(path, framework="pt") as file:
                metadata = file.metadata() or {}
                names = list(file.keys())
                tensors = {name: file.get_tensor(name) for name in names}
            if metadata["sha256"] != _sha256(metadata["phosphene"], tensors):
                raise ValueError("its content is not what was written")
            return cls._told(json.loads(metadata["phosphene"]), tensors)
        except RequestError:
            raise
        except (OSError, SafetensorError, ValueError, TypeError, KeyError, RecursionError) as error:
            raise RequestError(
                f"{shown(str(path))} is no scan that can go on: {type(error).__name__} {first_line(error)}; "
                "take it away to begin anew"
            ) from error

    @classmethod
    def _told(cls, told: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> Self:
        count = 1 + max(int(name.split(".")[1]) for name in tensors)
        found: dict[str, list[Any]] = {kind: [] for kind in _KINDS}
        for kind, make in _KINDS.items():
            for i in range(count):
                prefix = f"{kind}.{i}."
                state = {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}
                if state or kind != "bottom":
                    found[kind].append(make.from_state(state))
        return cls(
            told["about"],
            tuple(Part(int(which), int(of), int(end), bool(done)) for which, of, end, done in told["parts"]),
            tops=tuple(found["top"]),
            bottoms=tuple(found["bottom"]),
            moments=tuple(found["moments"]),
            histograms=tuple(found["histogram"]),
            entries={int(i): Entry(str(e[0]), e[1], (int(e[2][0]), int(e[2][1]))) for i, e in told["entries"].items()},
            seen=int(told["seen"]),
            refused=int(told["refused"]),
            refusals=tuple(Refusal(int(index), str(name), str(reason)) for index, name, reason in told["refusals"]),
            noted=(int(told["noted"][0]), str(told["noted"][1])),
        )

    def _kinds(self) -> dict[str, Sequence[TopK | Moments | Histogram]]:
        return {"top": self.tops, "bottom": self.bottoms, "moments": self.moments, "histogram": self.histograms}


def _sha256(text: str, tensors: Mapping[str, Tensor]) -> str:
    digest = hashlib.sha256(text.encode())
    for name, tensor in sorted(tensors.items()):
        digest.update(f"\n{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.contiguous().view(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def check_same(mine: Mapping[str, Any], theirs: Mapping[str, Any], where: str) -> None:
    """Whether two scans are of one kind: the first thing that differs is named."""
    a, b = (json.loads(json.dumps(dict(about))) for about in (mine, theirs))
    for key in a:
        if a[key] != b.get(key):
            old, new = _said(b.get(key), a[key]), _said(a[key], b.get(key))
            raise RequestError(
                f"{where} is of {key.replace('_', ' ')} {old}, this one of {new}; the same is needed, or another folder"
            )


def _said(value: Any, other: Any) -> str:
    """A value as an error repeats it; of a list the first that stands not in the other's place, and how many more there are."""
    if not isinstance(value, list) or not value:
        return shown(value)
    others = other if isinstance(other, list) else []
    first = next((one for one, beside in zip_longest(value, others) if one != beside), None) or value[-1]
    return shown(first) + (f" and {len(value) - 1} more" if len(value) > 1 else "")
