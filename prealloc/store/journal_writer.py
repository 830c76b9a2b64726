"""Writes a file of the journal: lines that are on their way to the disk before anybody is told."""

from __future__ import annotations

import os
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from prealloc.errors import JournalError
from prealloc.files.atomic import fsync_folder, hint_of
from prealloc.files.faultpoint import Point, fault_point
from prealloc.files.lock import hold
from prealloc.files.paths import parse_journal_name
from prealloc.store.journal_lines import (
    AttemptLine,
    AttemptLost,
    CleanedUp,
    LibraryOpen,
    Record,
    Reopened,
    Sealed,
    SessionEnded,
    SessionStarted,
    SoloDeath,
    Steered,
    WorkerEnded,
    WorkerStarted,
    encoder,
)


class _Points(NamedTuple):
    """What the fault points of a journal file are called: they differ by who writes it."""

    open: Point
    fsync: Point
    attempt: Point


_WORKER = _Points(Point.WORKER_OPEN, Point.WORKER_FSYNC, Point.WORKER_APPEND)
_REPLICA = _Points(Point.REPLICA_OPEN, Point.REPLICA_FSYNC, Point.REPLICA_APPEND)
_SUPERVISOR = _Points(Point.SUPERVISOR_OPEN, Point.SUPERVISOR_FSYNC, Point.SUPERVISOR_VERDICT)
_RECORDS: Mapping[type[AttemptLine | Record], Point] = {
    SessionStarted: Point.SUPERVISOR_SESSION,
    Reopened: Point.SUPERVISOR_REOPENED,
    Steered: Point.SUPERVISOR_STEERED,
    Sealed: Point.SUPERVISOR_SEALED,
    SessionEnded: Point.SUPERVISOR_SESSION_END,
    WorkerStarted: Point.SUPERVISOR_WORKER,
    WorkerEnded: Point.SUPERVISOR_WORKER_END,
    SoloDeath: Point.SUPERVISOR_DEATH,
    AttemptLost: Point.SUPERVISOR_LOST,
    LibraryOpen: Point.SUPERVISOR_LIBRARY,
}


class JournalWriter:
    """Appends lines, from any thread, to a file that has no other writer.

    A line is on its way to the disk when append returns.
    Raises JournalError if a line cannot be written (no space, device error): then nothing more may be
    told to anyone, since an outcome that is not in the journal does not exist. From then on every append raises:
    a line behind half a line would be damage in the middle, and a line that came through after one that did not
    would let the run look whole.
    """

    def __init__(self, path: Path, *, fsync: bool = False, replica: bool = False, again: bool = False) -> None:
        """`replica`: its lines are those of a worker elsewhere; `again`: it was closed, and there is more."""
        self._path = path
        writer = parse_journal_name(path.name)
        own = _SUPERVISOR if writer is not None and writer.shard is None else _WORKER
        self._points = _REPLICA if replica else own
        self._lock = threading.Lock()
        self._failure: OSError | None = None
        self._fsync = fsync
        try:
            fault_point(self._points.open)
            flags = os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC
            self._descriptor = os.open(path, flags if again else flags | os.O_CREAT | os.O_EXCL, 0o666)
            hold(self._descriptor)
            if fsync and not again:
                fault_point(self._points.fsync)
                fsync_folder(path.parent)
        except OSError as error:
            raise self._failed(error) from error

    def append(self, line: AttemptLine | Record) -> None:
        """Writes one line."""
        self._write(self._point(line), encoder.encode(line) + b"\n")
        self.sync()

    def copy(self, lines: Sequence[bytes]) -> None:
        """Writes lines of another journal, which have been checked, as they are. Call `sync` before that is told."""
        self._write(Point.REPLICA_APPEND, b"\n".join((*lines, b"")))

    def sync(self) -> None:
        """Has what was written survive power loss too, where that is asked for."""
        if self._fsync:
            try:
                fault_point(self._points.fsync)
                os.fsync(self._descriptor)
            except OSError as error:
                self._failure = error
                raise self._failed(error) from error

    def _write(self, point: Point, rest: bytes) -> None:
        with self._lock:  # a line may take several writes
            if self._failure is not None:
                raise self._failed(self._failure)
            try:
                fault_point(point, self._descriptor, rest)
                while rest:  # nearly always once
                    rest = rest[os.write(self._descriptor, rest) :]
            except OSError as error:
                self._failure = error
                raise self._failed(error) from error

    def _point(self, line: AttemptLine | Record) -> Point:
        if isinstance(line, AttemptLine) and line.reused is not None:
            return Point.SUPERVISOR_REUSED
        if isinstance(line, CleanedUp) and self._points is _SUPERVISOR:
            return Point.SUPERVISOR_CLEANED
        return _RECORDS.get(type(line), self._points.attempt)

    def close(self) -> None:
        os.close(self._descriptor)

    def _failed(self, error: OSError) -> JournalError:
        remedy = hint_of(error, self._path) or "free space or fix the disk"
        hint = f"{remedy}, then `prealloc resume`; what finished before is kept"
        return JournalError(f"the journal cannot be written: {error.strerror}", where=str(self._path), hint=hint)
