"""A large file, written piece by piece beside its place and renamed into it at the end."""

from __future__ import annotations

import contextlib
import gzip
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, Protocol, cast

from prealloc.errors import InputError
from prealloc.files.atomic import writing

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
    if out.is_dir():
        raise InputError("this is a folder", where=str(out), mend="name the file to write")
    if os.path.lexists(out) and not force:
        raise InputError("the file is there already", where=str(out), mend="name another one, or give --force")
    try:
        descriptor, beside = tempfile.mkstemp(prefix=f".{out.name[:64]}.", dir=out.parent)
    except OSError as error:
        raise InputError(
            f"no file can be made there: {error.strerror}",
            where=str(out),
            mend=f"make the folder {out.parent} and see that you may write to it",
        ) from error
    try:
        with writing(out, InputError), os.fdopen(descriptor, "wb") as file:
            with _packed(file, out.suffix) as packed:
                yield packed
            file.flush()
            os.fchmod(file.fileno(), 0o644)
        if force:
            os.replace(beside, out)
        else:
            _to_new(beside, out)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(beside)
        raise


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


def _to_new(beside: str, out: Path) -> None:
    """Renames without ever replacing: a file that came into being meanwhile is somebody's."""
    try:
        os.link(beside, out)
    except FileExistsError:
        raise InputError(
            "the file is there already", where=str(out), mend="name another one, or give --force"
        ) from None
    except OSError:  # a file system without hard links
        os.rename(beside, out)
        return
    os.unlink(beside)
