"""Files behind a URL, wherever fsspec reads."""

from __future__ import annotations

from ..errors import ExtraError, RequestError, first_line, shown


def is_url(text: str) -> bool:
    return "://" in text


def fetched(url: str, limit: int) -> bytes:
    """The contents of the file behind a URL, of up to `limit` bytes."""
    try:
        import fsspec
    except ImportError as error:
        raise ExtraError(
            f"{shown(url)} needs the package fsspec: pip install 'phosphene[data]' ({first_line(error)})"
        ) from error
    try:
        with fsspec.open(url, "rb") as file:
            content: bytes = file.read(limit + 1)
    except Exception as error:  # whatever the file system behind it raises
        raise RequestError(f"{shown(url)} cannot be read: {type(error).__name__}: {first_line(error)}") from error
    if len(content) > limit:
        raise RequestError(f"{shown(url)} has over {limit >> 20} MiB")
    return content
