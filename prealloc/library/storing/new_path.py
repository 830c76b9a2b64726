"""A file that others write (SQLite, Arrow) or we do: made beside its place, and renamed into it when it is whole."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

from prealloc.errors import InputError
from prealloc.files.atomic import umask, writing
from prealloc.files.faultpoint import Point, fault_point
from prealloc.library.disk import head_of
from prealloc.library.unpack import packing

_HEAD = 4096
_SQLITE, _OUR_SQLITE = b"SQLite format 3\0", b"prlb"
_BINARY = (b"PAR1", b"prealloc-pool 1\n")


@contextlib.contextmanager
def new_path(out: Path, *, force: bool) -> Iterator[Path]:
    """Gives the path of an empty file to fill, and puts it at `out` if the block ends well; else nothing is left of it.

    Raises InputError if `out` is there and `force` is off or it is no task library, if its folder cannot be written
    to, or if no path can be as it is; CannotGoOn if the disk is full.
    """
    with writing(out, InputError):
        if out.is_dir():
            raise InputError("this is a folder", where=str(out), mend="name the file to write")
        if os.path.lexists(out) and not force:
            raise InputError("the file is there already", where=str(out), mend="name another one, or give `force`")
        if os.path.lexists(out) and not _may_be_library(out):
            raise InputError(
                "it is no task library, so `force` leaves it alone", where=str(out), mend="name another file"
            )
        descriptor, beside = _file_beside(out)
        try:
            os.close(descriptor)
            fault_point(Point.FILE_WRITE)
            yield Path(beside)
            os.chmod(beside, 0o666 & ~umask())
            fault_point(Point.FILE_RENAME)
            if force:
                os.replace(beside, out)
            else:
                _to_new(beside, out)
        except BaseException:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(beside)
            raise


def _may_be_library(out: Path) -> bool:
    """Whether a file begins as the libraries do that prealloc writes, or is empty."""
    if not out.is_file():
        return False
    head = head_of(out, _HEAD)
    if head.startswith(_SQLITE):
        return head[68:72] == _OUR_SQLITE
    return packing(head) is not None or head.startswith(_BINARY) or head.lstrip()[:1] in (b"{", b"[", b"")


def refuse_missing_folder(out: Path, *, what: str = "file") -> None:
    """Raises InputError if the folder that `out` is to be in is not there: nobody makes it by a slip of the hand."""
    if not out.parent.is_dir():
        raise _no_place(out, "there is no such folder", what)


def _file_beside(out: Path) -> tuple[int, str]:
    """A descriptor and the path of a new file in the folder of `out`."""
    try:
        return tempfile.mkstemp(prefix=f".{out.name[:64]}.", dir=out.parent)
    except OSError as error:
        raise _no_place(out, error.strerror, "file") from error


def _no_place(out: Path, why: str | None, what: str) -> InputError:
    mend = f"make the folder {out.parent} and see that you may write to it"
    return InputError(f"no {what} can be made there: {why}", where=str(out), mend=mend)


def _to_new(beside: str, out: Path) -> None:
    """Renames without ever replacing: a file that came into being meanwhile is somebody's."""
    try:
        os.link(beside, out)
    except FileExistsError:
        raise InputError(
            "the file is there already", where=str(out), mend="name another one, or give `force`"
        ) from None
    except OSError:  # a file system without hard links
        os.rename(beside, out)
        return
    os.unlink(beside)
