"""A library's file: opened safely, told from another that took its place, and read in pieces.

What is hashed is what is scanned. The file is never mapped: a file that another process truncates would kill us with
SIGBUS.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import stat
import threading
from collections.abc import Callable, Generator
from io import BufferedReader
from pathlib import Path
from queue import SimpleQueue

import msgspec

from prealloc.errors import LibraryError
from prealloc.files.regular import Missing, Unusable, open_regular

Progress = Callable[[int, int], None]
"""Called with (done so far, in all): bytes where a file is read, tasks where tasks are written."""

_PIECE = 1 << 20
_AHEAD = 2


class FileIdentity(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What the system says of a file that is another thing where the file was written to or replaced."""

    device: int
    inode: int
    bytes: int
    mtime_ns: int

    @staticmethod
    def of(descriptor: int) -> FileIdentity:
        """The identity of an open file."""
        stat = os.fstat(descriptor)
        return FileIdentity(device=stat.st_dev, inode=stat.st_ino, bytes=stat.st_size, mtime_ns=stat.st_mtime_ns)

    def is_of(self, descriptor: int) -> bool:
        """Whether this open file is the very same, as it was."""
        stat = os.fstat(descriptor)
        found = (stat.st_dev, stat.st_ino, stat.st_size, stat.st_mtime_ns)
        return found == (self.device, self.inode, self.bytes, self.mtime_ns)


def open_library_file(path: Path) -> int:
    """A descriptor to read a regular file by. Raises LibraryError."""
    where = str(path)
    try:
        return open_regular(path)
    except Missing:
        raise LibraryError("there is no such file", where=where, hint="check the path") from None
    except Unusable as error:
        if isinstance(error.__cause__, PermissionError):
            hint = f"chmod u+r {path}, or run as its owner"
            raise LibraryError("no permission to read it", where=where, hint=hint) from None
        raise LibraryError(str(error), where=where, hint="give a regular file") from None


def read_file(path: Path) -> bytes:
    """All bytes of a regular file. Raises LibraryError for anything else, or if it cannot be read."""
    with open(open_library_file(path), "rb") as file:
        before = FileIdentity.of(file.fileno())
        try:
            content = file.read()
        except OSError as error:
            raise _unreadable(str(path), error) from error
        if not before.is_of(file.fileno()):
            raise changed_meanwhile(str(path))
        return content


def sha256_of(file: BufferedReader, where: str) -> str:
    """The sha256 of the whole file, read in pieces. Raises LibraryError if the disk does not give it."""
    try:
        file.seek(0)
        return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise _unreadable(where, error) from error


def pieces_of(
    descriptor: int, where: str, hashed: Callable[[bytes], object], progress: Progress | None = None
) -> Generator[bytes]:
    """All bytes of a file or pipe, in pieces; each goes to `hashed` first.

    Raises LibraryError if it cannot be read, or if it is a file that was written to meanwhile.
    """
    try:
        before = os.fstat(descriptor)
        is_file = stat.S_ISREG(before.st_mode)
        done = os.lseek(descriptor, 0, os.SEEK_CUR) if is_file else 0
        with contextlib.closing((_read_ahead if is_file else _read)(descriptor, hashed)) as pieces:
            for piece in pieces:
                done += len(piece)
                if is_file and done > before.st_size:
                    raise changed_meanwhile(where)  # now: it may grow as fast as it is read
                if progress:
                    progress(done, max(before.st_size, done))
                yield piece
        after = os.fstat(descriptor)
    except OSError as error:
        raise _unreadable(where, error) from error
    if is_file and (done, after.st_mtime_ns) != (before.st_size, before.st_mtime_ns):
        raise changed_meanwhile(where)


def _read(descriptor: int, hashed: Callable[[bytes], object]) -> Generator[bytes]:
    while piece := os.read(descriptor, _PIECE):
        hashed(piece)
        yield piece


def changed_meanwhile(where: str) -> LibraryError:
    """The error of a file that is another at the end of reading it than at the beginning."""
    return LibraryError(
        "the file was changed while it was read",
        where=where,
        hint="wait until it is completely written, then try again",
    )


def head_of(path: Path, size: int = 16) -> bytes:
    """The first bytes of a file; none where there is no regular file that can be read."""
    try:
        descriptor = open_library_file(path)
    except LibraryError:
        return b""
    try:
        return os.pread(descriptor, size, 0)
    except OSError:
        return b""
    finally:
        os.close(descriptor)


def _read_ahead(descriptor: int, hashed: Callable[[bytes], object]) -> Generator[bytes]:
    """The pieces of a file, read and hashed by a thread of its own: both leave the interpreter to others."""
    pieces: SimpleQueue[bytes | BaseException] = SimpleQueue()
    room = threading.Semaphore(_AHEAD)
    ended = threading.Event()

    def read() -> None:
        at = os.lseek(descriptor, 0, os.SEEK_CUR)  # somebody may have read the beginning of standard input
        try:
            while not ended.is_set():
                pieces.put(piece := os.pread(descriptor, _PIECE, at))
                if not piece:
                    return
                at += len(piece)
                hashed(piece)
                room.acquire()
        except BaseException as error:  # the reader's to raise
            pieces.put(error)

    thread = threading.Thread(target=read, name="prealloc-read", daemon=True)
    thread.start()
    try:
        while piece := pieces.get():
            if isinstance(piece, BaseException):
                raise piece
            room.release()
            yield piece
    finally:
        ended.set()
        room.release()
        thread.join()


def _unreadable(where: str, error: OSError) -> LibraryError:
    hint = "check the path and the disk"
    return LibraryError(f"it cannot be read: {error.strerror or error}", where=where, hint=hint)
