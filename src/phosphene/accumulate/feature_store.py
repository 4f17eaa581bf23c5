"""A table of vectors in a folder or an object store. The only place that speaks to LanceDB."""

from __future__ import annotations

import importlib.util
import json
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import ExtraError, FolderError, RequestError, first_line, shown
from ..pictures import files
from .feature_about import ABOUT, FORMAT, read_about

_DONE = "complete"  # the tag of a version that holds all
_SUFFIX = ".lance"
_WORDS = ("id", "path", "label", "prediction", "probability")  # of a row, beside its vectors
_DEFAULT_TABLE = "features"
_PANICS = ("RustPanic", "PanicException")  # which cannot be imported: how LanceDB falls over what is no table


class Store:
    """Rows of one LanceDB table: id, position in the data, path, label, prediction, probability, vector (d,), pixels (p,)
    of bytes and a thumbnail.

    `uri` is a folder, with or without .lance at its end, or one in an object store ("s3://bucket/features.lance") with the
    `options` that LanceDB takes for it. `about` says in plain words and numbers what the vectors are; it is kept with them.
    Every change is one commit: who reads sees all of it or nothing.
    """

    def __init__(self, uri: str, table: Any, about: dict[str, Any]) -> None:
        self.uri, self.about, self._table = uri, about, table

    @classmethod
    def create(cls, uri: str, about: Mapping[str, Any], *, options: Mapping[str, str] | None = None) -> Store:
        """An empty one, half-written until `finish`; what stood there is given up."""
        import pyarrow as pa

        folder, name = _divided(uri)
        if "://" not in folder:
            files.folder(folder)
        kept = dict(about) | {"format": FORMAT}
        columns = {
            "id": pa.string(),
            "position": pa.int64(),
            "path": pa.string(),
            "label": pa.string(),
            "prediction": pa.string(),
            "probability": pa.float32(),
            "vector": pa.list_(pa.float32(), kept["dimension"]),
            "pixels": pa.list_(pa.uint8(), kept["pixels"]),
            "thumbnail": pa.binary(),
        }
        schema = pa.schema(list(columns.items()), metadata={ABOUT: json.dumps(kept).encode()})
        with _writing(uri):
            table = _connected(folder, options).create_table(name, schema=schema, mode="overwrite")
            if _DONE in table.tags.list():  # of what stood there
                table.tags.delete(_DONE)
        return cls(uri, table, kept)

    @classmethod
    def open(cls, uri: str, *, options: Mapping[str, str] | None = None, half: bool = False) -> Store:
        """The one that stands there. half: also one that was not finished."""
        folder, name = _divided(uri)
        with _reading(uri):
            table = _connected(folder, options, make=False).open_table(name)
            about = read_about(uri, table.schema.metadata or {}, table.schema)
            done = _DONE in table.tags.list()
            count = table.count_rows()
        if not (done or half):
            raise RequestError(
                f"index {shown(uri)} is half-written, {count:,} pictures; build it again with the same data: "
                "it goes on from there"
            )
        return cls(uri, table, about)

    @classmethod
    def exists(cls, uri: str, *, options: Mapping[str, str] | None = None) -> bool:
        """Whether there is a table, finished or not."""
        check_extra()
        folder, name = _divided(uri)
        if "://" not in folder and not Path(folder).is_dir():
            return False
        with _reading(uri):
            connection = _connected(folder, options)
            names = connection.list_tables() if hasattr(connection, "list_tables") else connection.table_names()
            return name in (getattr(names, "tables", None) or list(names))

    @property
    def complete(self) -> bool:
        with _reading(self.uri):
            return _DONE in self._table.tags.list()

    def __len__(self) -> int:
        with _reading(self.uri):
            return int(self._table.count_rows())

    def add(self, rows: Mapping[str, Any]) -> None:
        """Rows by columns: lists, `vector` (n, d) float32, `pixels` (n, p) uint8."""
        with _writing(self.uri):
            self._table.add(self._arrow(rows))

    def upsert(self, rows: Mapping[str, Any]) -> None:
        """Rows whose id is there take that one's place, the others are added; one commit."""
        with _writing(self.uri):
            change = self._table.merge_insert("id").when_matched_update_all().when_not_matched_insert_all()
            change.execute(self._arrow(rows))
            self._tag()

    def delete(self, ids: Sequence[str]) -> None:
        with _writing(self.uri):
            self._table.delete(f"id IN ({', '.join(map(_quoted, ids))})")
            self._tag()

    def finish(self, *, large: bool) -> None:
        """Join what was added in parts, make the index for large ones, and mark the whole as complete."""
        with _writing(self.uri):
            if len(self):
                self._table.optimize()
                if large:
                    self._table.create_index("vector", config=_large(self.about["metric"]), replace=True)
            self._tag()

    def refresh(self) -> None:
        """Bring the index for large ones up to what was changed since."""
        with _writing(self.uri):
            self._table.optimize()
            self._tag()

    def next_position(self) -> int:
        """The item of the data after the last one that is there."""
        return max((max(rows["position"]) for rows in self.batches(("position",))), default=-1) + 1

    def ids(self) -> set[str]:
        return {str(one) for batch in self.batches(("id",)) for one in batch["id"]}

    def search(self, vector: np.ndarray, k: int, *, exact: bool, exclude: Sequence[str] = ()) -> list[dict[str, Any]]:
        """The k nearest rows, nearest first, with their `_distance`."""
        with _reading(self.uri):
            query = self._table.search(np.ascontiguousarray(vector, dtype=np.float32), vector_column_name="vector")
            query = query.distance_type(self.about["metric"]).limit(k).select([*_WORDS, "thumbnail", "_distance"])
            if exclude:
                query = query.where(f"id NOT IN ({', '.join(map(_quoted, exclude))})", prefilter=True)
            query = query.bypass_vector_index() if exact else query.nprobes(PROBES).refine_factor(REFINED)
            found: list[dict[str, Any]] = query.to_list()
        return found

    def rows(self, ids: Sequence[str]) -> list[dict[str, Any]]:
        """The rows of these ids, in their order."""
        if not ids:
            return []
        with _reading(self.uri):
            query = self._table.search().where(f"id IN ({', '.join(map(_quoted, ids))})").select([*_WORDS, "thumbnail"])
            found = {row["id"]: row for row in query.limit(len(ids)).to_list()}
        return [found[one] for one in ids if one in found]

    def batches(self, columns: Sequence[str], size: int = 4096) -> Iterator[dict[str, Any]]:
        """All rows, some at once: columns as lists, `vector` and `pixels` as arrays (n, …)."""
        with _reading(self.uri):
            reader = self._table.search().select(list(columns)).to_batches(batch_size=size)
        while True:
            with _reading(self.uri):
                batch = next(iter(reader), None)
            if batch is None:
                return
            yield {name: _column(batch.column(name), name) for name in columns}

    @property
    def indexed(self) -> bool:
        """Whether there is an index for approximate search."""
        with _reading(self.uri):
            return bool(self._table.list_indices())

    def _tag(self) -> None:
        tags = self._table.tags
        if _DONE in tags.list():
            tags.update(_DONE, self._table.version)
        else:
            tags.create(_DONE, self._table.version)

    def _arrow(self, rows: Mapping[str, Any]) -> Any:
        import pyarrow as pa

        columns = []
        for entry in self._table.schema:
            values = rows[entry.name]
            if entry.name in ("vector", "pixels"):
                flat = pa.array(np.ascontiguousarray(values).reshape(-1), type=entry.type.value_type)
                columns.append(pa.FixedSizeListArray.from_arrays(flat, entry.type.list_size))
            else:
                columns.append(pa.array(values, type=entry.type))
        return pa.Table.from_arrays(columns, schema=self._table.schema)


PROBES, REFINED = 40, 5  # partitions that are looked through; times k candidates whose distances are computed exactly


def joined(parts: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Rows by columns, one part after another."""
    return {
        name: np.concatenate([part[name] for part in parts])
        if isinstance(parts[0][name], np.ndarray)
        else [value for part in parts for value in part[name]]
        for name in parts[0]
    }


def check_extra() -> None:
    """ExtraError without LanceDB."""
    if importlib.util.find_spec("lancedb") is None:
        raise ExtraError("an index of features needs LanceDB; pip install 'phosphene[vectors]'")


def _large(metric: str) -> Any:
    """8 bits a number: at 100,000 × 1280 its candidates are right in bench/neighbours.py, and it is built in seconds."""
    from lancedb.index import IvfSq

    return IvfSq(distance_type=metric)


def _divided(uri: str) -> tuple[str, str]:
    """The database and the table: a LanceDB table NAME is the folder NAME.lance.

    >>> _divided("out/features.lance"), _divided("s3://bucket/mine/"), _divided("index")
    (('out', 'features'), ('s3://bucket/mine', 'features'), ('index', 'features'))
    """
    plain = uri.rstrip("/")
    if not plain.endswith(_SUFFIX):
        return plain, _DEFAULT_TABLE
    folder, _, name = plain.removesuffix(_SUFFIX).rpartition("/")
    if not name:
        raise RequestError(f"index {shown(uri)} has no name; features.lance would be right")
    return folder or ".", name


def _connected(folder: str, options: Mapping[str, str] | None, make: bool = True) -> Any:
    lancedb = _lancedb()
    if not make and "://" not in folder and not Path(folder).is_dir():  # LanceDB would make it
        raise FileNotFoundError(f"there is no folder {folder}")
    return lancedb.connect(folder, storage_options=dict(options) if options else None)


def _lancedb() -> Any:
    """The module. What it logs on standard error is for its makers; the level is read once, when it is imported."""
    check_extra()
    before = os.environ.get("LANCEDB_LOG")
    os.environ.setdefault("LANCEDB_LOG", "error")
    try:
        import lancedb
    finally:
        if before is None:
            del os.environ["LANCEDB_LOG"]
    return lancedb


def _column(column: Any, name: str) -> Any:
    if name not in ("vector", "pixels"):
        return column.to_pylist()
    return column.flatten().to_numpy(zero_copy_only=False).reshape(len(column), -1)


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def _reason(error: BaseException) -> str:
    """What LanceDB says, without its makers' own words: the kinds of its errors and the places in its source.

    >>> _reason(RuntimeError("lance error: LanceError(IO): file size is too small, /root/.cargo/lance-io/src/utils.rs:228:27"))
    'file size is too small'
    """
    text = re.sub(r"(lance error: |LanceError\(\w+\): |External error: |Generic \w+ error: )+", "", first_line(error, 10_000))
    return re.sub(r",? ?\S*/\S+\.rs(:\d+)*:?", "", text)[:200].strip()


@contextmanager
def _reading(uri: str) -> Iterator[None]:
    try:
        yield
    except (FileNotFoundError, NotADirectoryError) as error:
        raise RequestError(f"there is no index at {shown(uri)}; FeatureIndex.build makes one") from error
    except (OSError, RuntimeError, ValueError) as error:
        if isinstance(error, RequestError):
            raise
        absent = "was not found" in str(error) or "does not exist" in str(error)
        said = "there is no index there; FeatureIndex.build makes one" if absent else _reason(error)
        raise RequestError(f"index {shown(uri)} cannot be read: {said}") from error
    except Exception as error:
        if type(error).__name__ not in _PANICS:
            raise
        raise RequestError(f"index {shown(uri)} is damaged; build it again") from error


@contextmanager
def _writing(uri: str) -> Iterator[None]:
    try:
        yield
    except (OSError, RuntimeError, ValueError) as error:
        if isinstance(error, RequestError | FolderError):
            raise
        raise FolderError.of(f"index {shown(uri)}", error, _reason(error)) from error
