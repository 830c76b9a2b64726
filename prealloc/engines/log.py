"""Keeps a shard's log to its cap: its beginning stays, then a line that says what was cut, then the latest output.

Workers write into the file themselves, so a flood costs the master nothing and can block nobody. It is looked
at every now and then, and cut back. Since all writers append, they go on behind the cut.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from prealloc.files.atomic import must_write
from prealloc.files.faultpoint import Point, fault_point


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
