"""A large file, written piece by piece beside its place and renamed into it at the end."""

from __future__ import annotations

import contextlib
import gzip
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, Protocol, cast

from prealloc.library.storing.new_path import new_path

_ZSTD_LEVEL = 3
_GZIP_LEVEL = 6


class Writable(Protocol):
    """Takes bytes, wherever they go."""

    def write(self, data: bytes, /) -> int: ...


@contextlib.contextmanager
def new_file(out: Path, *, force: bool) -> Iterator[Writable]:
    """Gives something to write to, and puts it at `out` if the block ends well; else nothing is left of it.

    What is written is packed if `out` ends in .gz or .zst. Raises InputError if `out` is there and `force` is
    off, or if its folder cannot be written to; CannotGoOn if the disk is full.
    """
    with (
        new_path(out, force=force) as beside,
        open(beside, "wb") as file,
        _packed(file, out.suffix) as packed,
    ):
        yield packed


@contextlib.contextmanager
def _packed(file: BinaryIO, suffix: str) -> Iterator[Writable]:
    if suffix == ".gz":
        # No name and no time in the header: the same tasks, the same bytes.
        with gzip.GzipFile(filename="", mode="wb", fileobj=file, compresslevel=_GZIP_LEVEL, mtime=0) as packed:
            yield packed
    elif suffix == ".zst":
        import zstandard

        with zstandard.ZstdCompressor(level=_ZSTD_LEVEL).stream_writer(file, closefd=False) as packed:
            yield cast(Writable, packed)
    else:
        yield file
