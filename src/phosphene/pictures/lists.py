"""Lists of pictures: CSV or Parquet, of paths and URLs, itself a path or a URL."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any

from torch import Tensor

from ..errors import ExtraError, PictureError, RequestError, first_line, shown
from .data import Label
from .reading import LARGEST_BYTES, Reader
from .remote import fetched, is_url
from .sources import LABELS, PICTURES, Files, identified

PATHS = ("path", "file", "file_name", "filename", "filepath", "url", "uri", *PICTURES)
LARGEST_LIST = 1 << 30  # bytes
HERE = ("file", "local")  # what file systems of this machine are called in URLs
ELSEWHERE = frozenset("abfs abfss adl az ftp gcs gs hf http https memory oci oss s3 s3a sftp ssh".split())
AROUND = frozenset(("simplecache", "tar", "zip"))  # what may stand before them, as in zip://a.png::https://host/a.zip


def listed(text: str, reader: Reader) -> Files:
    """The pictures of a .csv, .tsv or .parquet file with a column of paths (path, file, url, image …) and perhaps of labels.

    Paths are from the list's own folder on; a list from elsewhere (a URL) must name files of elsewhere.
    """
    scheme, _, rest = text.partition("://")
    home = rest if scheme.lower() in HERE and "::" not in rest else text
    remote = is_url(home)
    content = fetched(home, LARGEST_LIST) if remote else _local(Path(home))
    rows = _parquet(text, content) if text.lower().endswith(".parquet") else _csv(text, content)
    places, labels = _columns(text, rows)
    paths = [_whole(home, remote, place) for place in places]
    lines = [f"{p}\0{label}\n".encode(errors="replace") for p, label in zip(paths, labels, strict=True)]
    return Files(text, paths, labels, *identified("list", lines), partial(picture_at, home if remote else "", reader))


def _local(path: Path) -> bytes:
    try:
        if path.stat().st_size > LARGEST_LIST:
            raise RequestError(f"list {shown(str(path))} has over {LARGEST_LIST >> 20} MiB")
        return path.read_bytes()
    except OSError as error:
        raise RequestError(f"list {shown(str(path))} cannot be read: {error.strerror or first_line(error)}") from error


Rows = tuple[Sequence[str], Sequence[Sequence[Any]]]  # heads, columns


def _csv(name: str, content: bytes) -> Rows:
    try:
        told = content.decode("utf-8-sig")
        lines = list(csv.reader(io.StringIO(told), delimiter="\t" if name.lower().endswith(".tsv") else ",", strict=True))
    except (UnicodeDecodeError, csv.Error) as error:
        raise RequestError(f"list {shown(name)} is no CSV in UTF-8: {first_line(error)}") from error
    rows = [line for line in lines if any(cell.strip() for cell in line)]
    if len(rows) < 2:
        raise RequestError(f"list {shown(name)} names no pictures; a line of heads and a line for each picture are needed")
    heads = [head.strip() for head in rows[0]]
    if (odd := next((i for i, row in enumerate(rows) if len(row) != len(heads)), None)) is not None:
        raise RequestError(f"list {shown(name)}, line {odd + 1} has {len(rows[odd])} cells; {len(heads)} are needed")
    return heads, list(zip(*rows[1:], strict=True))


def _parquet(name: str, content: bytes) -> Rows:
    try:
        import pyarrow.parquet
    except ImportError as error:
        raise ExtraError(
            f"{shown(name)} needs the package pyarrow: pip install 'phosphene[data]' ({first_line(error)})"
        ) from error
    try:
        table = pyarrow.parquet.read_table(io.BytesIO(content))
        heads = list(table.column_names)
        # The others are not taken out: they may be large.
        columns = [table.column(head).to_pylist() if head.lower() in (*PATHS, *LABELS) else [] for head in heads]
    except Exception as error:  # pyarrow raises kinds of its own
        raise RequestError(f"list {shown(name)} is no Parquet file that can be read: {first_line(error)}") from error
    if not table.num_rows:
        raise RequestError(f"list {shown(name)} names no pictures")
    return heads, columns


def _columns(name: str, rows: Rows) -> tuple[list[str], list[Label]]:
    heads, columns = [head.lower() for head in rows[0]], rows[1]
    where = next((heads.index(head) for head in PATHS if head in heads), None)
    if where is None:
        raise RequestError(f"list {shown(name)} has the columns {shown(list(rows[0]))}; one of {', '.join(PATHS)} is needed")
    if not all(isinstance(path, str) and path.strip() for path in columns[where]):
        raise RequestError(f"list {shown(name)}: column {rows[0][where]} holds what is no path; a text in each line is needed")
    label = next((heads.index(head) for head in LABELS if head in heads), None)
    labels: list[Label] = [_label(value) for value in columns[label]] if label is not None else [None] * len(columns[where])
    return [path.strip() for path in columns[where]], labels


def _label(value: Any) -> Label:
    if isinstance(value, str):
        return value.strip() or None
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _whole(name: str, remote: bool, place: str) -> str:
    if is_url(place):
        return place
    if not remote:
        return str(Path(name).parent / place)
    if place.startswith("/") or ".." in PurePosixPath(place).parts:
        return place  # refused when it is read: a list from elsewhere must not lead to the files of this machine
    return f"{name.rsplit('/', 1)[0]}/{place}"


def picture_at(home: str, reader: Reader, path: str, notes: list[str]) -> Tensor:
    """home: the URL of a list from elsewhere, or nothing."""
    if is_url(path):
        if home and not _elsewhere(path, home):
            raise PictureError(f"{shown(path)} is a file of this machine, which a list from elsewhere must not name")
        return reader.stream(io.BytesIO(fetched(path, LARGEST_BYTES)), shown(path), notes)
    if home:
        raise PictureError(f"{shown(path)} leaves the folder of its list; a path inside it is needed")
    return reader.file(path, notes)


def _elsewhere(path: str, home: str) -> bool:
    """Whether a URL cannot lead to files of this machine: what it is of is known to be elsewhere, or is where its list is."""
    *around, last = path.split("::")
    kinds = [link.partition("://")[0].lower() for link in (*around, last, home.rpartition("::")[2])]
    return "://" in last and kinds[-2] in {*ELSEWHERE, kinds[-1]} - {*HERE} and AROUND.issuperset(kinds[:-2])
