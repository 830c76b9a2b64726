"""A stored library's file before a library (SQLite, Arrow) reads it: is it one, how large, what are its bytes."""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Iterator
from io import BufferedReader
from pathlib import Path
from typing import NamedTuple

from prealloc.errors import LibraryError
from prealloc.files.regular import Missing, Unusable, open_regular


class Stamp(NamedTuple):
    """What changes when a file is written again."""

    device: int
    inode: int
    bytes: int
    mtime_ns: int


@contextlib.contextmanager
def opened(path: Path) -> Iterator[tuple[BufferedReader, Stamp]]:
    """The regular file at `path`, open for reading. Raises LibraryError if there is none that can be read."""
    try:
        descriptor = open_regular(path)
    except Missing:
        raise LibraryError("there is no such file", where=str(path), mend="check the path") from None
    except Unusable as error:
        raise LibraryError(
            str(error), where=ascii(str(path))[1:-1], mend="give a regular file that you may read"
        ) from None
    with os.fdopen(descriptor, "rb") as file:
        yield file, stamp_of(file)


def stamp_of(file: BufferedReader) -> Stamp:
    status = os.fstat(file.fileno())
    return Stamp(status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns)


def sha256_of(file: BufferedReader, path: Path) -> str:
    """The sha256 of the whole file, read in pieces. Raises LibraryError if the disk does not give it."""
    try:
        file.seek(0)
        return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise LibraryError(
            f"it cannot be read: {error.strerror or error}", where=str(path), mend="check the path and the disk"
        ) from None
