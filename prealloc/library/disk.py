"""A library file, read whole into memory once: what is hashed is what is scanned.

The file is never mapped: a file that another process truncates would kill us with SIGBUS. It is read into
anonymous memory with huge pages instead, which took 13 ms for 60 MB where `read()` took 33 to 49: most
of the time of a plain read goes into faulting in 15,000 small pages.
"""

from __future__ import annotations

import contextlib
import hashlib
import mmap
import os
import stat
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

from prealloc.errors import LibraryError
from prealloc.files.regular import what_it_is

Buffer = bytes | bytearray | mmap.mmap
"""Bytes in memory, in whichever form they could be had cheapest."""

Progress = Callable[[int, int], None]
"""Called with (bytes read so far, bytes in the file)."""

_STEP = 16 << 20
_PIECE = 4 << 20


def read_file(path: Path, progress: Progress | None = None) -> Buffer:
    """All bytes of a regular file. Raises LibraryError for anything that is none or cannot be read."""
    descriptor, _ = open_library_file(path)
    try:
        return _read(path, descriptor, progress)
    except OSError as error:
        raise _unreadable(path, error) from error
    finally:
        os.close(descriptor)


def open_library_file(path: Path) -> tuple[int, os.stat_result]:
    """A descriptor to read a regular file by, and what the system says of it. Raises LibraryError."""
    try:
        _refuse_unless_regular(path, os.stat(path).st_mode)
        # O_NONBLOCK: should the file have become a FIFO since, opening it must not wait for a writer.
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except (OSError, ValueError) as error:
        raise _unreadable(path, error) from error
    try:
        status = os.fstat(descriptor)
        _refuse_unless_regular(path, status.st_mode)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor, status


def pieces_of(
    descriptor: int, where: str, hashed: Callable[[bytes], object], progress: Progress | None = None
) -> Iterator[bytes]:
    """All bytes of a file or pipe, in pieces; each goes to `hashed` first.

    Raises LibraryError if it cannot be read, or if it is a file that was written to meanwhile.
    """
    done = 0
    try:
        before = os.fstat(descriptor)
        is_file = stat.S_ISREG(before.st_mode)
        while piece := os.read(descriptor, _PIECE):
            hashed(piece)
            done += len(piece)
            if is_file and done > before.st_size:
                raise changed_meanwhile(where)  # now: it may grow as fast as it is read
            if progress:
                progress(done, max(before.st_size, done))
            yield piece
        after = os.fstat(descriptor)
    except OSError as error:
        mend = "check the file and the disk"
        raise LibraryError(f"it cannot be read: {error.strerror}", where=where, mend=mend) from error
    if is_file and (done, after.st_mtime_ns) != (before.st_size, before.st_mtime_ns):
        raise changed_meanwhile(where)


def changed_meanwhile(where: str) -> LibraryError:
    """The error of a file that is another at the end of reading it than at the beginning."""
    return LibraryError(
        "the file was changed while it was read", where=where, mend="wait until it is written whole, then try again"
    )


def head_of(path: Path, size: int = 16) -> bytes:
    """The first bytes of a file; none where there is no regular file that can be read."""
    try:
        descriptor, _ = open_library_file(path)
    except LibraryError:
        return b""
    try:
        return os.pread(descriptor, size, 0)
    except OSError:
        return b""
    finally:
        os.close(descriptor)


def _read(path: Path, descriptor: int, progress: Progress | None) -> Buffer:
    before = os.fstat(descriptor)
    _refuse_unless_regular(path, before.st_mode)
    size = before.st_size
    if not size:
        raise LibraryError("the file is empty", where=str(path), mend="write the tasks into it, or give another file")
    buffer = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    if hasattr(mmap, "MADV_HUGEPAGE"):
        with contextlib.suppress(OSError):  # a kernel without huge pages
            buffer.madvise(mmap.MADV_HUGEPAGE)
    done = 0
    with memoryview(buffer) as view:
        while done < size:
            count = os.readv(descriptor, [view[done : done + _STEP]])
            if not count:
                break
            done += count
            if progress:
                progress(done, size)
    after = os.fstat(descriptor)
    if done < size or (after.st_size, after.st_mtime_ns) != (size, before.st_mtime_ns):
        raise changed_meanwhile(str(path))
    return buffer


class Reading:
    """A file being read and then hashed, in a thread of its own: both leave the interpreter to others."""

    def __init__(self, path: Path, progress: Progress | None = None) -> None:
        self._path = path
        self._progress = progress
        self._buffer: Buffer | None = None
        self._error: BaseException | None = None
        self._is_read = threading.Event()
        self._hash = hashlib.sha256()
        self._thread = threading.Thread(target=self._run, name="prealloc-read", daemon=True)
        self._thread.start()

    def buffer(self) -> Buffer:
        """Waits for the bytes. Raises LibraryError for anything that is no regular file or cannot be read."""
        self._is_read.wait()
        if self._error is not None:
            raise self._error
        if self._buffer is None:
            raise LibraryError("reading it failed", where=str(self._path), mend="try again")
        return self._buffer

    def sha256(self) -> str:
        """Waits for the fingerprint: 64 hex digits."""
        self._thread.join()
        return self._hash.hexdigest()

    def _run(self) -> None:
        try:
            self._buffer = read_file(self._path, self._progress)
        except BaseException as error:  # the caller's `progress` may raise anything: it is the caller's again
            self._error = error
            return
        finally:
            self._is_read.set()
        self._hash.update(self._buffer)


def _refuse_unless_regular(path: Path, mode: int) -> None:
    kind = what_it_is(mode)
    if kind is not None:
        raise LibraryError(f"this is {kind}, no file", where=str(path), mend="give a regular file")


def _unreadable(path: Path, error: OSError | ValueError) -> LibraryError:
    where = str(path)
    if isinstance(error, FileNotFoundError | NotADirectoryError):
        return LibraryError("there is no such file", where=where, mend="check the path")
    if isinstance(error, PermissionError):
        return LibraryError("no permission to read it", where=where, mend=f"chmod u+r {path}, or run as its owner")
    if isinstance(error, ValueError):  # a NUL in the path
        return LibraryError(f"no usable path: {error}", where=repr(where), mend="give the path of a file")
    return LibraryError(
        f"it cannot be read: {error.strerror or error}", where=where, mend="check the path and the disk"
    )
