"""FeatureIndex: the features of a data set's pictures, kept, and which of them are nearest to a picture."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .. import checks
from ..ambient import shielded_methods
from ..errors import Interrupted, ModelError, RequestError, shown
from ..network import addresses
from ..network.network import Network
from ..pictures.converting import Picture
from ..pictures.data import Batch, Data, Refusal, misleading, nothing, open_data
from ..results import door
from ..results.neighbours import Neighbour, Neighbours, small, thumbnail
from ..results.question import fitted
from .feature_about import about_of, check_model, differing, record_of
from .feature_store import Store, check_extra, joined
from .feature_vectors import vectors_of

EXACT_UP_TO = 20_000  # vectors; 0.1 s a query on one core at 1280 numbers each, above it an index is made
_AT_ONCE = 512  # rows of one commit
_LARGEST_K = 1000
Progress = Callable[[int], None]


@shielded_methods
class FeatureIndex:
    """Vectors of one layer for every picture of a data set, on disk or in an object store; needs the extra `examples`.

    Made by `build`, found again by `open`. Every change is one commit, so that an interrupted one leaves a whole index.
    Of the last `build` or `upsert`, `refused` are the items that are no pictures, `notes` what may mislead in others.
    """

    def __init__(self, net: Network, store: Store) -> None:
        self.net = net
        self.refused: tuple[Refusal, ...] = ()
        self.notes: tuple[str, ...] = ()
        self._store = store

    @classmethod
    @door.takes(net=door.network, uri=door.uri)
    def build(
        cls,
        net: Network,
        data: Any,
        uri: str | Path,
        *,
        layer: str | None = None,
        metric: str = "cosine",
        batch: int = 32,
        range: tuple[float, float] | None = None,
        normalised: bool = False,
        overwrite: bool = False,
        progress: Progress | None = None,
        storage_options: Mapping[str, str] | None = None,
    ) -> FeatureIndex:
        """Run every picture through the network once and keep what `layer` gives.

        data      a folder, a list, "hf:NAME", a Dataset, a DataLoader, a tensor, as `ph.examples` takes them. The id of a
                  picture is its path, or item-7, and with #2 where it stands twice
        uri       a folder ("features.lance"), or one in an object store ("s3://bucket/features.lance") with its
                  storage_options, as LanceDB takes them
        layer     an address; maps are averaged over their places, of tokens the class token is taken, or their mean. None:
                  what the last linear layer reads, or stands nearest before it
        metric    cosine (1 − cosine of the angle) or l2 (Euclidean)
        range     the numbers that stand for 0 and 1 in pictures of 16 or 32 bits and in arrays, as `ph.read` takes it
        normalised  whether tensors of the data set are normalised as the network's input is, which is undone
        progress  is told how many pictures are done

        A build that was interrupted or killed goes on where it stopped when it is called again with the same settings. Up to
        20,000 vectors every query compares all; for more an index finds candidates, whose distances are then exact.
        """
        check_extra()
        place = str(uri)
        read = open_data(data, Path(place), net.preprocess.bands, range, net.preprocess.inverse if normalised else None)
        about = about_of(net, layer, metric) | {"data": read.identity}
        index = cls(net, _begun(place, about, overwrite, storage_options))
        store = index._store
        index._write(read, checks.whole("batch", batch, low=1), store.next_position(), progress, store.add)
        if not len(store):
            raise nothing(read, len(index.refused), index.refused)
        store.finish(large=len(store) > EXACT_UP_TO)
        return index

    @classmethod
    @door.takes(uri=door.uri, net=door.network)
    def open(cls, uri: str | Path, net: Network, *, storage_options: Mapping[str, str] | None = None) -> FeatureIndex:
        """The index that stands there. Refused if it is half-written, or of another network, weights or preprocessing."""
        check_extra()
        store = Store.open(str(uri), options=storage_options)
        check_model(net, store.uri, store.about)
        return cls(net, store)

    def __len__(self) -> int:
        return len(self._store)

    def __repr__(self) -> str:
        return f"FeatureIndex({shown(self._store.uri)}: {len(self):,} of {self.about['dimension']} in {self.layer})"

    @property
    def about(self) -> dict[str, Any]:
        """What the vectors are: model, preprocess, layer, dimension, metric."""
        return dict(self._store.about)

    @property
    def layer(self) -> str:
        return str(self._store.about["layer"])

    @property
    def exact(self) -> bool:
        """Whether a query compares every vector."""
        return not self._store.indexed

    @door.takes(photo=door.photo)
    def vector(self, photo: Picture, *, normalised: bool = False) -> Tensor:
        """The features (d,) of a picture (1, c, h, w) in [0, 1]."""
        return self._features(fitted(self.net, photo))[0][0]

    @door.takes(photo=door.photo)
    def query(
        self,
        photo: Picture,
        k: int = 5,
        *,
        normalised: bool = False,
        image: str = "query",
        exclude: Sequence[str] = (),
        pixels: bool = True,
        exact: bool = False,
    ) -> Neighbours:
        """The k nearest pictures to a photograph (1, c, h, w) in [0, 1], to the network, and pixel by pixel.

        exclude: ids that are left out, such as the photograph's own; exact: compare all vectors, though there is an index.
        """
        checks.whole("k", k, low=1, high=_LARGEST_K)
        picture = fitted(self.net, photo)
        if len(picture) != 1:
            raise RequestError(f"photo is {tuple(picture.shape)}; one picture, (1, c, h, w), is needed")
        vectors, scores = self._features(picture)
        found = self._nearest(vectors[0], k, exact=exact, exclude=exclude)
        share = self.net.probabilities(scores[0].double())
        best = int(share.argmax())
        notes = () if len(found) == k else (f"{len(found)} neighbours: there are no more than that",)
        return Neighbours(
            picture=picture.cpu(),
            image_name=image,
            vector=vectors[0],
            prediction=self.net.classes[best],
            probability=float(share[best]),
            features=found,
            pixels=self._nearest_pixels(picture, k, exclude) if pixels else (),
            layer=self.layer,
            metric=self.about["metric"],
            exact=exact or self.exact,
            notes=notes,
            record=record_of(self.net, picture, self.about),
        )

    def search(self, vector: Tensor, k: int = 5, *, exact: bool = False, exclude: Sequence[str] = ()) -> tuple[Neighbour, ...]:
        """The k nearest to a vector (d,) of the same layer."""
        checks.whole("k", k, low=1, high=_LARGEST_K)
        if not isinstance(vector, Tensor) or tuple(vector.shape) != (self.about["dimension"],):
            what = tuple(vector.shape) if isinstance(vector, Tensor) else shown(vector)
            raise RequestError(f"vector is {what}; ({self.about['dimension']},) is needed, as {self.layer} gives it")
        return self._nearest(vector.detach().cpu().float(), k, exact=exact, exclude=exclude)

    def upsert(
        self,
        data: Any,
        *,
        batch: int = 32,
        range: tuple[float, float] | None = None,
        normalised: bool = False,
        progress: Progress | None = None,
    ) -> int:
        """Add pictures, or put them in the place of those with the same id; gives how many. One commit for some hundred."""
        undo = self.net.preprocess.inverse if normalised else None
        read = open_data(data, Path(self._store.uri), self.net.preprocess.bands, range, undo)
        count = self._write(read, checks.whole("batch", batch, low=1), 0, progress, self._store.upsert)
        if not count:
            raise nothing(read, len(self.refused), self.refused)
        if not self.exact:
            self._store.refresh()
        return count

    def delete(self, ids: str | Sequence[str]) -> int:
        """Take pictures out by their ids; gives how many were there."""
        wanted = [ids] if isinstance(ids, str) else ids
        if not isinstance(wanted, list | tuple | set) or not all(isinstance(one, str) for one in wanted):
            raise RequestError(f"ids must be the texts of ids, got {shown(ids)}")
        wanted = list(wanted)
        before = len(self)
        for start in range(0, len(wanted), _AT_ONCE):
            self._store.delete(wanted[start : start + _AT_ONCE])
        return before - len(self)

    def ids(self) -> list[str]:
        """Of all pictures, sorted."""
        return sorted(self._store.ids())

    def rows(self, columns: Sequence[str]) -> Iterator[dict[str, Any]]:
        """All pictures, some at once: id, path, label, prediction, probability and thumbnail as lists, vector (n, d) float32
        and pixels (n, p) uint8 as arrays."""
        return self._store.batches(columns)

    def _nearest(self, vector: Tensor, k: int, *, exact: bool, exclude: Sequence[str]) -> tuple[Neighbour, ...]:
        found = self._store.search(vector.numpy(), k, exact=exact, exclude=exclude)
        squared = self.about["metric"] == "l2"  # LanceDB leaves out the root
        return tuple(_neighbour(row, float(row["_distance"]) ** (0.5 if squared else 1)) for row in found)

    def _nearest_pixels(self, picture: Tensor, k: int, exclude: Sequence[str]) -> tuple[Neighbour, ...]:
        """All are compared, in a stream that keeps k."""
        query = small(picture, self.about["side"])[0].numpy().astype(np.float32)
        best: list[tuple[float, str]] = []
        out = set(exclude)
        for rows in self._store.batches(("id", "pixels")):
            distances = np.sqrt(((rows["pixels"].astype(np.float32) - query) ** 2).mean(1)) / 255
            near = distances.argsort(kind="stable")[: k + len(out)]
            best = sorted([*best, *((float(distances[i]), rows["id"][i]) for i in near if rows["id"][i] not in out)])[:k]
        away = {name: distance for distance, name in best}
        return tuple(_neighbour(row, away[row["id"]]) for row in self._store.rows([name for _, name in best]))

    def _write(
        self, data: Data, batch: int, start: int, progress: Progress | None, write: Callable[[Mapping[str, Any]], None]
    ) -> int:
        """Put the data from an item on into the store; gives how many. Ctrl-C keeps those that are done."""
        waiting: list[dict[str, Any]] = []
        refused: list[Refusal] = []
        seen = self._store.ids() if start else set()
        notes: list[str] = []
        count = 0

        def flush() -> None:
            if waiting:
                rows = joined(waiting)
                waiting.clear()  # before: an interrupted write may yet be done by LanceDB's own thread, and is not made twice
                write(rows)

        try:
            if progress and start:
                progress(start)
            for some in data.batches(self.net.preprocess.taken, batch, start=start):
                refused += some.refused
                notes += some.notes
                if len(some):
                    waiting.append(self._columns(some, seen))
                count += len(some)
                if progress:
                    progress(len(some) + len(some.refused))
                if sum(len(part["id"]) for part in waiting) >= _AT_ONCE:
                    flush()
        except KeyboardInterrupt as stop:
            flush()
            raise Interrupted(count) from stop
        flush()
        self.refused = tuple(refused)
        self.notes = tuple(misleading(len(notes), next(iter(notes), "")))
        return count

    def _columns(self, some: Batch, seen: set[str]) -> dict[str, Any]:
        vectors, scores = self._features(some.pictures)
        shares = self.net.probabilities(scores.double())
        best = shares.argmax(1)
        return {
            "id": [_own(name, seen) for name in some.names],
            "position": list(some.indices),
            "path": [name if "://" in name or Path(name).is_file() else None for name in some.names],
            "label": [None if label is None else str(label) for label in some.labels],
            "prediction": [self.net.classes[int(i)] for i in best],
            "probability": [float(share[i]) for share, i in zip(shares, best, strict=True)],
            "vector": vectors.numpy(),
            "pixels": small(some.pictures, self.about["side"]).numpy(),
            "thumbnail": [thumbnail(picture) for picture in some.pictures],
        }

    def _features(self, pictures: Tensor) -> tuple[Tensor, Tensor]:
        """Vectors (b, d) and raw scores (b, classes), on the CPU."""
        layout = self.net.layouts({self.layer})[self.layer]
        with torch.inference_mode(False), torch.no_grad(), self.net.reading() as read:
            given = read(pictures, {self.layer, addresses.OUTPUT})
            vectors = vectors_of(given[self.layer], layout).cpu().float().contiguous()
        if not bool(torch.isfinite(vectors).all()):
            raise ModelError(f"{self.net.name}: layer {shown(self.layer)} gives NaN or infinite values for a picture")
        if vectors.shape[1] != self.about["dimension"]:
            raise RequestError(
                f"layer {shown(self.layer)} gives {vectors.shape[1]} numbers; the vectors of the index have "
                f"{self.about['dimension']}"
            )
        return vectors, given[addresses.OUTPUT].cpu().float()


def _begun(uri: str, about: Mapping[str, Any], overwrite: bool, options: Mapping[str, str] | None) -> Store:
    """A new store, or a half-written one of the same settings."""
    if overwrite or not Store.exists(uri, options=options):
        return Store.create(uri, about, options=options)
    store = Store.open(uri, options=options, half=True)
    if store.complete:
        raise RequestError(f"index {shown(uri)} is there already; open it, upsert into it, or pass overwrite=True")
    if not len(store):  # of an attempt that found no picture: nothing is lost
        return Store.create(uri, about, options=options)
    if other := differing(store.about, about):
        what = " and another ".join(other)
        raise RequestError(f"half-written index {shown(uri)} is of another {what}; overwrite=True (--rebuild) begins anew")
    return store


def _own(name: str, seen: set[str]) -> str:
    """An id that no other picture of this run has."""
    own, number = name, 2
    while own in seen:
        own, number = f"{name}#{number}", number + 1
    seen.add(own)
    return own


def _neighbour(row: Mapping[str, Any], distance: float) -> Neighbour:
    return Neighbour(
        row["id"], row["path"], row["label"], row["prediction"], float(row["probability"]), distance, row["thumbnail"] or b""
    )
