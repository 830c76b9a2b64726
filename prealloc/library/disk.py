"""A library's file: opened safely, told from another that took its place, and read in pieces.

What is hashed is what is scanned. The file is never mapped: a file that another process truncates would kill us with
SIGBUS.
"""

from __future__ import annotations

import contextlib
import glob
import os
import stat
import sys
from collections import deque
from collections.abc import Callable, Generator, Iterator
from functools import cache
from itertools import accumulate, pairwise
from pathlib import Path

import msgspec

from prealloc.errors import LibraryError
from prealloc.files.regular import Missing, Unusable, open_regular, read_regular
from prealloc.model.words import quoted
from prealloc.processes.setting import SWITCH_INTERVAL

Progress = Callable[[int, int], None]
"""Called with (done so far, in all): bytes where a file is read, tasks where tasks are written."""

Notes = Callable[[str], None]
"""Called with sentences that a user should see."""

_PIECE = 2 << 20
_AHEAD = 2
_SWITCH_S = 1e-5


class FileIdentity(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What the system says of a file: something else once the file is written to or replaced."""

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
        return FileIdentity.of(descriptor) == msgspec.convert(self, FileIdentity, from_attributes=True)


def open_library_file(path: Path) -> int:
    """A descriptor to read a regular file by. Raises LibraryError."""
    with _refusals(path):
        return open_regular(path)


def read_file(path: Path) -> bytes:
    """All bytes of a regular file. Raises LibraryError for anything else, or if it cannot be read."""
    with _refusals(path):
        return read_regular(path, most=sys.maxsize)


@contextlib.contextmanager
def _refusals(path: Path) -> Iterator[None]:
    """What is wrong with a file, as a LibraryError."""
    try:
        yield
    except Unusable as error:
        problem, hint = str(error), "give a regular file that nothing writes to"
        if isinstance(error, Missing):
            problem, hint = "there is no such file", "check the path"
            if path.is_symlink():
                problem = f"this link leads to {os.readlink(path)}, which is not there"
        elif isinstance(error.__cause__, PermissionError):
            problem, hint = "no permission to read it", f"chmod u+r {quoted(path)}, or run as its owner"
        elif problem.endswith("FIFO"):
            hint = f"give - as the library, and the text on standard input: cat {quoted(path)} | prealloc plan -"
        raise LibraryError(problem, where=str(path), hint=hint) from None


def files_below(folder: Path) -> list[Path]:
    """The files in a folder and below it, in order; no hidden ones. Raises LibraryError, rather than leave any out."""
    found, folders = [], [folder]
    for below in folders:  # which grow: os.walk gives up where they are nested too deep
        try:
            entries = [entry for entry in os.scandir(below) if not entry.name.startswith(".")]
            folders += [below / entry.name for entry in entries if entry.is_dir(follow_symlinks=False)]
            # Also links to nowhere: whoever reads them tells.
            found += [below / entry.name for entry in entries if not entry.is_dir()]
        except OSError as error:
            problem = f"the folder cannot be read: {error.strerror}"
            allow = f"chmod u+rx {quoted(below)}, or " if isinstance(error, PermissionError) else ""
            hint = f"{allow}give the library's file itself"
            raise LibraryError(problem, where=f"{below!s:.300}", hint=hint) from error
    return sorted(found)


def files_of_pattern(pattern: Path) -> list[Path]:
    """The files of a pattern, in order. Raises LibraryError, rather than leave any out or give any twice."""
    hint = "give a pattern that does not lead there"
    try:
        names = glob.iglob(str(pattern), recursive=True)
        files = sorted({Path(name) for name in names if not os.path.isdir(name)})
        # glob passes over what it cannot read.
        parts = pattern.parts
        heads = [".", *accumulate([*parts, "*"] if parts[-1:] == ("**",) else parts, os.path.join)]
        for head in (head for head, below in pairwise(heads) if glob.has_magic(below)):
            for folder in glob.iglob(os.path.join(head, ""), recursive=True):
                if not os.access(folder, os.R_OK | os.X_OK):
                    raise LibraryError("the folder cannot be read", where=folder, hint=hint)
    except RecursionError:
        problem = "its folders are nested too deep for a pattern"
        raise LibraryError(problem, where=str(pattern), hint="give a folder") from None
    real, places = cache(os.path.realpath), dict[tuple[str, str], Path]()
    for file in files:
        other = places.setdefault((real(file.parent), file.name), file)
        if other != file:
            raise LibraryError(f"it is found twice: by a link, it is also {other}", where=str(file), hint=hint)
    return files


def pieces_of(
    descriptor: int, where: str, hashed: Callable[[bytes], object], progress: Progress | None
) -> Generator[bytes]:
    """All bytes of a file or pipe, in pieces; each goes to `hashed` first.

    Raises LibraryError if it cannot be read, or if it is a file that was written to meanwhile.
    """
    try:
        before = os.fstat(descriptor)
        is_file = stat.S_ISREG(before.st_mode)
        done = at = os.lseek(descriptor, 0, os.SEEK_CUR) if is_file else 0  # a part of standard input may be gone

        def read() -> bytes:
            nonlocal at
            piece = os.pread(descriptor, _PIECE, at) if is_file else os.read(descriptor, _PIECE)
            at += len(piece)
            hashed(piece)
            return piece

        is_large = is_file and before.st_size - at > _PIECE  # a thread takes a moment to start
        with contextlib.closing(_ahead(read) if is_large else (piece for piece in iter(read, b""))) as pieces:
            for piece in pieces:
                done += len(piece)
                if is_file and done > before.st_size:
                    raise changed_meanwhile(where)  # now: it may grow as fast as it is read
                if progress:
                    progress(done, max(before.st_size, done))
                yield piece
        after = os.fstat(descriptor)
    except OSError as error:
        hint = "check the path and the disk"
        raise LibraryError(f"it cannot be read: {error.strerror or error}", where=where, hint=hint) from error
    if is_file and (done, after.st_mtime_ns) != (before.st_size, before.st_mtime_ns):
        raise changed_meanwhile(where)


def changed_meanwhile(where: str) -> LibraryError:
    """The error of a file that is another at the end of reading it than at the beginning."""
    hint = "wait until it is completely written, then try again"
    return LibraryError("the file was changed while it was read", where=where, hint=hint)


def head_of(path: Path, size: int = 16) -> bytes:
    """The first bytes of a file; none if it is not a regular file that can be read."""
    with contextlib.suppress(LibraryError, OSError), open(open_library_file(path), "rb", buffering=0) as file:
        return file.read(size)
    return b""


def bytes_of(path: Path) -> int:
    """The size of a file; 0 if it cannot be told."""
    with contextlib.suppress(OSError, ValueError):  # reading it tells
        return path.stat().st_size
    return 0


def _ahead(read: Callable[[], bytes]) -> Generator[bytes]:
    """The pieces of a file, read and hashed by a thread of its own: both leave the interpreter to others.

    Between the two it needs the interpreter for a moment. Python lets it wait for 5 ms, in which a whole batch is
    decoded: the two would take turns.
    """
    from concurrent.futures import ThreadPoolExecutor

    with SWITCH_INTERVAL.at(_SWITCH_S), ThreadPoolExecutor(1, "prealloc-read") as thread:
        ahead = deque(thread.submit(read) for _ in range(_AHEAD))
        while piece := ahead.popleft().result():
            ahead.append(thread.submit(read))
            yield piece
