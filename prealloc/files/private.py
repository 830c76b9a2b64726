"""What belongs to one user of this machine: a folder that nobody else may enter, and a secret in it."""

from __future__ import annotations

import os
import secrets
import stat
from pathlib import Path

from prealloc.files.faultpoint import Point, fault_point
from prealloc.files.regular import Missing, Unusable, read_regular

SECRET_BYTES = 32


def private_folder(folder: Path) -> Path:
    """The folder, made if it is missing. Raises Unusable if it cannot be, or if it is not the user's alone.

    Where it lies others may write too, and may have put something there under its name. And it is not made in another
    user's own folder, where we may write after `sudo`.
    """
    try:
        around = folder.parent.stat()
        if around.st_uid != os.getuid() and not around.st_mode & stat.S_ISVTX:
            raise Unusable(f"{folder.parent}: it belongs to user {around.st_uid}")
        fault_point(Point.PRIVATE_FOLDER)
        folder.mkdir(mode=0o700, exist_ok=True)
    except OSError as error:
        raise Unusable(f"{folder}: {error.strerror or error}") from None
    refuse_unless_private(folder)
    return folder


def refuse_unless_private(folder: Path) -> None:
    """Raises Unusable unless it is a folder that nobody but this user can enter."""
    try:
        status = folder.lstat()
    except OSError as error:
        raise Unusable(f"{folder}: {error.strerror or error}") from None
    if not stat.S_ISDIR(status.st_mode):
        raise Unusable(f"{folder}: it is not a folder")
    if status.st_uid != os.getuid():
        raise Unusable(f"{folder}: it belongs to user {status.st_uid}")
    if status.st_mode & 0o077:
        raise Unusable(f"{folder}: other users may enter it (chmod 700)")


def secret(path: Path) -> bytes:
    """The random bytes in a file that only the user can read, made once. Raises Unusable."""
    try:
        try:
            found = read_regular(path, inside=path.parent, most=SECRET_BYTES)
        except Missing:
            _make(path)
            found = read_regular(path, inside=path.parent, most=SECRET_BYTES)
        if len(found) != SECRET_BYTES:
            raise Unusable(f"it has {len(found)} bytes, not {SECRET_BYTES}; remove it")
    except Unusable as error:
        raise Unusable(f"{path}: {error}") from None
    except OSError as error:
        raise Unusable(f"{path}: {error.strerror or error}") from None
    return found


def _make(path: Path) -> None:
    """Two processes may do so at once: the first one's counts, and nobody sees half of one."""
    beside = path.with_name(f"{path.name}.{secrets.token_hex(8)}")
    fault_point(Point.PRIVATE_SECRET)
    descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        os.write(descriptor, secrets.token_bytes(SECRET_BYTES))
        os.link(beside, path)
    except FileExistsError:
        pass
    finally:
        os.close(descriptor)
        beside.unlink()
