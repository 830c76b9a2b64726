"""Opens what must be a regular file: never waits for a FIFO, never follows a link out of its folder, never reads on."""

from __future__ import annotations

import os
import stat
from pathlib import Path

_KINDS = (
    (stat.S_ISDIR, "a folder"),
    (stat.S_ISFIFO, "a FIFO"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
)


_NONBLOCK = getattr(os, "O_NONBLOCK", 0)
_NOFOLLOW = getattr(os, "O_NOFOLLOW", 0)
_SAFELY = _NONBLOCK | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)
# Should it have become a FIFO or a link since it was looked at: opening it must not wait, nor follow a link where it
# may lead out. Not every system has all of them.


class Unusable(Exception):
    """The path leads to no regular file that may be used; says why."""


class Missing(Unusable):
    """Nothing is there."""


def what_it_is(mode: int) -> str | None:
    """The word for what a path leads to (`a FIFO`), from st_mode; None for a regular file."""
    for is_kind, name in _KINDS:
        if is_kind(mode):
            return name
    return None


def open_regular(path: Path, *, inside: Path | None = None, flags: int = os.O_RDONLY, mode: int = 0o666) -> int:
    """A descriptor of the regular file at `path`. Never waits, whatever is there.

    With `inside` a link may stand anywhere on the way, but must not lead out of that folder. A file that is opened
    for writing must have this one name only: what is written would show under the others. With os.O_CREAT in `flags`
    a file that is missing is made, with this `mode`. Raises Missing or Unusable.
    """
    writes = bool(flags & (os.O_WRONLY | os.O_RDWR))
    try:
        if writes and os.path.islink(path):
            raise Unusable("it is a link")
        real: Path | str = path
        if inside is not None or writes:
            real, flags = os.path.realpath(path), flags | _NOFOLLOW
        if inside is not None:
            _refuse_outside(os.fspath(real), inside)
        if not flags & os.O_CREAT or os.path.lexists(real):
            _refuse_unless_regular(os.stat(real).st_mode)
        descriptor = os.open(real, flags | _SAFELY, mode)
        try:
            status = os.fstat(descriptor)
            _refuse_unless_regular(status.st_mode)
            if writes and status.st_nlink > 1:
                raise Unusable("it has another name somewhere (a hard link)")
            if _NONBLOCK:
                os.set_blocking(descriptor, True)
        except BaseException:
            os.close(descriptor)
            raise
        return descriptor
    except (FileNotFoundError, NotADirectoryError):
        raise Missing("it does not exist") from None
    except OSError as error:
        raise Unusable(f"it cannot be opened: {error.strerror or error}") from error
    except ValueError as error:  # a NUL in the path
        raise Unusable(f"it cannot be opened: {error}") from None


def read_regular(path: Path, *, inside: Path | None = None, most: int) -> bytes:
    """The bytes of the regular file at `path`, at most `most` of them. Raises Missing or Unusable."""
    descriptor = open_regular(path, inside=inside)
    try:
        before = os.fstat(descriptor)
        if before.st_size > most:
            raise Unusable(f"it has {before.st_size:,} bytes, more than {most:,}")
        raw = _read(descriptor, before.st_size + 1)  # the one byte more shows that it grows
        after = os.fstat(descriptor)
        if (len(raw), after.st_size, after.st_mtime_ns) != (before.st_size, before.st_size, before.st_mtime_ns):
            raise Unusable("it was changed while it was read")
        return raw
    except OSError as error:
        raise Unusable(f"it cannot be read: {error.strerror or error}") from None
    finally:
        os.close(descriptor)


def refuse_foreign_folder(folder: Path, *, inside: Path) -> None:
    """Raises Missing or Unusable unless `folder` is one, and lies in `inside` where all links are followed."""
    try:
        if not stat.S_ISDIR(os.stat(folder).st_mode):
            raise Unusable("it is not a folder")
        _refuse_outside(os.path.realpath(folder), inside)
    except (FileNotFoundError, NotADirectoryError):
        raise Missing("it does not exist") from None
    except (OSError, ValueError) as error:
        raise Unusable(f"it cannot be used: {error}") from None


def _refuse_outside(real: str, folder: Path) -> None:
    root = os.path.realpath(folder)
    if os.path.commonpath([real, root]) != root:
        raise Unusable("it is a link that leads out of the folder")


def _refuse_unless_regular(mode: int) -> None:
    kind = what_it_is(mode)
    if kind is not None:
        raise Unusable(f"it is not a file but {kind}")


def _read(descriptor: int, most: int) -> bytes:
    pieces = []
    while most and (piece := os.read(descriptor, most)):
        pieces.append(piece)
        most -= len(piece)
    return pieces[0] if len(pieces) == 1 else b"".join(pieces)
