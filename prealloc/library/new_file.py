"""A library's file, written piece by piece beside its place and renamed into it at the end."""

from __future__ import annotations

import bz2
import contextlib
import gzip
import lzma
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

from prealloc.errors import InputError, LibraryError
from prealloc.files import atomic
from prealloc.library.disk import head_of
from prealloc.library.formats import binary_format
from prealloc.library.unpack import SMALL, is_dense, packing, unpack_stream

_ZSTD_LEVEL = 3
_GZIP_LEVEL = 6
_PIECE = 4 << 20
_HEAD = 4096
_OUR_SQLITE = b"prlb"


def new_path(out: Path, *, force: bool) -> contextlib.AbstractContextManager[Path]:
    """`atomic.new_path` of a library: with `force` a file at `out` is replaced, if it is one."""
    return atomic.new_path(out, replace=_refuse_no_library if force else None)


def _refuse_no_library(out: Path) -> None:
    """Raises InputError unless a file begins as the libraries do that prealloc writes, or is empty."""
    head = head_of(out, _HEAD)
    format = binary_format(head)
    may_be = format is not None or packing(head) is not None or head.lstrip()[:1] in (b"{", b"[", b"")
    if format is not None and format.name == "database":  # many programs write such files
        may_be = head[68:72] == _OUR_SQLITE
    if not (may_be and out.is_file()):
        raise InputError(
            "it is not a task library, so ‹force› leaves it alone", where=str(out), hint="name another file"
        )


@contextlib.contextmanager
def new_file(out: Path, *, force: bool) -> Iterator[Callable[[bytes], int]]:
    """Gives what writes bytes into a new file, and puts it at `out` if the block ends well; else nothing is left of it.

    What is written is packed if `out` ends in .gz, .zst, .bz2 or .xz, in letters of either case. Raises InputError if
    `out` is there and `force` is off, if its folder cannot be written to, or if what was written packs so well that it
    would be taken for a bomb when it is read; CannotGoOn if the disk is full.
    """
    written, may_be_a_bomb = 0, False

    def write(data: bytes) -> int:
        nonlocal written, may_be_a_bomb
        written += len(data)
        # By what the file had before this: the packer holds back what it likes, so that this says yes too often, but
        # never no where a reader would refuse.
        if written > SMALL and not may_be_a_bomb:
            may_be_a_bomb = is_dense(file.tell(), written)
        count: int = packed.write(data)
        return count

    with new_path(out, force=force) as beside:
        with open(beside, "wb") as file, _packed(file, out.suffix.lower()) as packed:
            yield file.write if packed is file else write
        if may_be_a_bomb:
            _refuse_bomb(beside, out)


def _refuse_bomb(beside: Path, out: Path) -> None:
    """Reads the file as a reader would: only that shows what a reader refuses."""
    try:
        with open(beside, "rb") as file:
            for _ in unpack_stream(iter(lambda: file.read(_PIECE), b""), str(out)):
                pass
    except LibraryError as error:
        raise InputError(error.problem, where=str(out), hint="write it unpacked") from None


def _packed(file: BinaryIO, suffix: str) -> contextlib.AbstractContextManager[Any]:
    """A file that is packed into this one, or this one."""
    if suffix == ".gz":
        # No name and no time in the header: the same tasks, the same bytes.
        return gzip.GzipFile(filename="", mode="wb", fileobj=file, compresslevel=_GZIP_LEVEL, mtime=0)
    if suffix in (".bz2", ".xz"):
        return bz2.BZ2File(file, "wb") if suffix == ".bz2" else lzma.LZMAFile(file, "wb")
    if suffix == ".zst":
        import zstandard

        return zstandard.ZstdCompressor(level=_ZSTD_LEVEL).stream_writer(file, closefd=False)
    return contextlib.nullcontext(file)
