"""A file that others write (SQLite, Arrow) or we do: made beside its place, and renamed into it when it is whole."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

from prealloc.errors import InputError
from prealloc.files.atomic import writing


@contextlib.contextmanager
def new_path(out: Path, *, force: bool) -> Iterator[Path]:
    """Gives the path of an empty file to fill, and puts it at `out` if the block ends well; else nothing is left of it.

    Raises InputError if `out` is there and `force` is off, or if its folder cannot be written to; CannotGoOn if
    the disk is full.
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
    os.close(descriptor)
    try:
        with writing(out, InputError):
            yield Path(beside)
            os.chmod(beside, 0o644)
        if force:
            os.replace(beside, out)
        else:
            _to_new(beside, out)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(beside)
        raise


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
