"""Keeps a shard's log to its cap: its beginning stays, then a line that says what was cut, then the latest output.

Workers write into the file themselves, so a flood costs the master nothing and blocks no one. It is looked
at every now and then, and cut back. Since all writers append, they go on behind the cut.
"""

from __future__ import annotations

import contextlib
import os
import stat
from pathlib import Path
from typing import IO

from prealloc.errors import EngineError, RunFolderError
from prealloc.files.atomic import must_write
from prealloc.files.faultpoint import Point, fault_point
from prealloc.files.regular import Unusable, open_regular
from prealloc.model.secret import masked

LAST_LINES = 5
_LINE = 300


def refuse_odd_logs(logs: Path) -> None:
    """Raises RunFolderError for a log that is a link, a FIFO or the like: workers would write through it."""
    for path in logs.iterdir():
        status = path.lstat()
        if not stat.S_ISREG(status.st_mode) or status.st_nlink > 1:
            problem = "it is not a plain file, or has another name too (hard link), so nothing is logged there"
            raise RunFolderError(problem, where=str(path), hint="move it away: no log is needed to go on")


def open_log(log: Path, point: Point = Point.LOG_OPEN) -> int:
    """A descriptor that appends to a log. Raises EngineError if anything but a file of ours is there."""
    try:
        with must_write(log):
            fault_point(point)
            return open_regular(log, inside=log.parent, flags=os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    except Unusable as error:
        raise EngineError(f"a log cannot be written: {error}", where=str(log), hint="move it away") from None


def cut_back(log: Path, most_bytes: int) -> None:
    """Cuts a log that is larger than `most_bytes` back to half of it. One that is not there yet is fine.

    Raises CannotGoOn if it cannot be cut: a log without a cap would fill the disk that the journal needs.
    """
    with must_write(log), contextlib.suppress(FileNotFoundError):
        size = os.stat(log).st_size
        if size <= most_bytes:
            return
        kept = most_bytes // 2
        fault_point(Point.LOG_CUT)
        os.truncate(log, kept)
        with log.open("ab") as file:
            file.write(b"\n[prealloc: %d bytes cut out here; a log is kept to %d bytes]\n" % (size - kept, most_bytes))


def last_lines(printed: bytes) -> str:
    """The end of what a process has printed, as the end of a sentence about it; nothing if it has printed nothing."""
    lines = _lines(printed)[-LAST_LINES:]
    return "\n".join(["; it printed:", *(f"  {line}" for line in lines)]) if lines else ""


def last_line(printed: bytes) -> str:
    """The same with the last line alone; with the one above that it goes on from, if it is indented."""
    lines = _lines(printed)[-LAST_LINES:]
    begins = max((place for place, line in enumerate(lines) if not line[0].isspace()), default=len(lines) - 1)
    return f"; the last that it printed: {'; '.join(line.strip() for line in lines[begins:])}" if lines else ""


def _lines(printed: bytes) -> list[str]:
    text = printed[-LAST_LINES * 4 * _LINE :].decode("utf-8", "replace")
    return [line[:_LINE] for line in masked(text).splitlines() if line.strip()]


def end_of(file: IO[bytes], since: int = 0) -> bytes:
    """What last_lines needs of an open file, from this offset on."""
    size = os.fstat(file.fileno()).st_size
    since = since if since <= size else 0  # it has been cut back
    file.seek(max(since, size - 2**14))
    return file.read()


def end_of_log(log: Path, since: int = 0) -> bytes:
    """The same of a log. Nothing if it cannot be read: it is only for people."""
    try:
        with open(open_regular(log, inside=log.parent), "rb") as file:
            return end_of(file, since)
    except (OSError, Unusable):
        return b""
