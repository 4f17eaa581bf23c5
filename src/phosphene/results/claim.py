"""claim: a folder is filled by one process at a time."""

from __future__ import annotations

import os
import weakref
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

from ..errors import RequestError, shown


class Claim:
    """A lock of the operating system on a folder: it ends when nobody refers to this any more, or with the process, however
    that ends. `with claim(folder):` holds it for the block."""

    def __init__(self, file: int) -> None:
        weakref.finalize(self, os.close, file)

    def __enter__(self) -> Claim:
        return self

    def __exit__(self, *_: object) -> None:
        pass


_held: weakref.WeakValueDictionary[tuple[int, int], Claim] = weakref.WeakValueDictionary()  # by device and inode


def claim(folder: Path | None) -> AbstractContextManager[object]:
    """The lock of an existing folder; within a process there is one a folder. RequestError if another process holds it.

    None stands for no folder, and nothing is held.
    Where the system or the file system has no locks of folders (Windows, some network drives) nothing is held.
    """
    if folder is None:
        return nullcontext()
    try:
        import fcntl
    except ImportError:
        return nullcontext()
    try:
        file = os.open(folder, os.O_RDONLY)
    except OSError:
        return nullcontext()
    place = os.fstat(file)
    key = (place.st_dev, place.st_ino)
    if (held := _held.get(key)) is not None:
        os.close(file)
        return held
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(file)
        raise RequestError(
            f"folder {shown(str(folder))} is being filled by another process; wait until that has ended, or give another folder"
        ) from None
    except OSError:
        os.close(file)
        return nullcontext()
    held = _held[key] = Claim(file)
    return held
