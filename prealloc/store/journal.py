"""The journal: the only truth about a run. Append-only JSON lines, one file per writer.

A worker's file holds attempts. The supervisor's file holds attempts too (its verdicts on workers that died)
and records of its own, which carry a `kind`. Nothing is ever rewritten, so a reader needs no lock.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import msgspec

from prealloc.errors import JournalError
from prealloc.files.atomic import fsync_folder
from prealloc.files.faultpoint import Point, fault_point
from prealloc.files.paths import JournalName, RunPaths, parse_journal_name
from prealloc.model.outcome import Attempt


class Record(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="kind", tag=str.lower):
    """What the supervisor notes besides verdicts."""


class SessionStarted(Record, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="session"):
    """A master took up the run: `run` is session 1, each resume the next."""

    session: int
    reopen_failed: bool
    """`resume --failed`: outcomes that are final but not ok are open again from here on."""


class WorkerStarted(Record, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="worker"):
    """A worker process was started for a shard."""

    shard: str
    incarnation: int
    pid: int
    units: int


class SoloDeath(Record, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="death"):
    """A unit's worker died while the unit was alone in it. The count must survive the master."""

    shard: str
    task: str
    repeat: int
    attempt: int
    reason: str


class LibraryOpen(Record, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="library_open"):
    """A worker of this shard (the fork server, if empty) tried to open the task library."""

    shard: str
    path: str


AnyRecord = SessionStarted | WorkerStarted | SoloDeath | LibraryOpen

_attempts = msgspec.json.Decoder(Attempt)
_records = msgspec.json.Decoder(AnyRecord)
_encoder = msgspec.json.Encoder()


class _Points(NamedTuple):
    """What the fault points of a journal file are called: they differ by who writes it."""

    open: Point
    fsync: Point
    attempt: Point


_WORKER = _Points(Point.WORKER_OPEN, Point.WORKER_FSYNC, Point.WORKER_APPEND)
_SUPERVISOR = _Points(Point.SUPERVISOR_OPEN, Point.SUPERVISOR_FSYNC, Point.SUPERVISOR_VERDICT)
_RECORDS: Mapping[type[Attempt | Record], Point] = {
    SessionStarted: Point.SUPERVISOR_SESSION,
    WorkerStarted: Point.SUPERVISOR_WORKER,
    SoloDeath: Point.SUPERVISOR_DEATH,
    LibraryOpen: Point.SUPERVISOR_LIBRARY,
}


class JournalWriter:
    """Appends lines, from any thread, to a file that nobody else writes.

    A line is on its way to the disk when append returns.
    Raises JournalError if a line cannot be written (no space, device error): then nothing more may be
    told to anyone, since an outcome that is not in the journal does not exist. From then on every append raises:
    a line behind half a line would be damage in the middle, and a line that came through after one that did not
    would let the run look whole.
    """

    def __init__(self, path: Path, *, fsync: bool = False) -> None:
        self._path = path
        writer = parse_journal_name(path.name)
        self._points = _SUPERVISOR if writer is not None and writer.shard is None else _WORKER
        self._lock = threading.Lock()
        self._failure: OSError | None = None
        self._fsync = fsync
        try:
            fault_point(self._points.open)
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC
            self._descriptor = os.open(path, flags, 0o666)
            if fsync:
                fault_point(self._points.fsync)
                fsync_folder(path.parent)
        except OSError as error:
            raise self._failed(error) from error

    def append(self, line: Attempt | Record) -> None:
        """Writes one line."""
        rest = memoryview(_encoder.encode(line) + b"\n")
        with self._lock:  # a line may take several writes
            if self._failure is not None:
                raise self._failed(self._failure)
            try:
                fault_point(self._point(line), self._descriptor, rest)
                while rest:
                    rest = rest[os.write(self._descriptor, rest) :]
            except OSError as error:
                self._failure = error
                raise self._failed(error) from error
        if self._fsync:
            self._sync()

    def _sync(self) -> None:
        try:
            fault_point(self._points.fsync)
            os.fsync(self._descriptor)
        except OSError as error:
            self._failure = error
            raise self._failed(error) from error

    def _point(self, line: Attempt | Record) -> Point:
        if isinstance(line, Attempt) and line.reused is not None:
            return Point.SUPERVISOR_REUSED
        return _RECORDS.get(type(line), self._points.attempt)

    def close(self) -> None:
        os.close(self._descriptor)

    def _failed(self, error: OSError) -> JournalError:
        return JournalError(
            f"the journal cannot be written: {error.strerror}",
            where=str(self._path),
            mend="free space or mend the disk, then `prealloc resume`; what finished before is kept",
        )


class Line(NamedTuple):
    """One line of one journal file. `offset` and `length` are where its bytes lie."""

    content: Attempt | AnyRecord
    number: int
    offset: int
    length: int


class JournalFile(NamedTuple):
    """A journal file and who wrote it."""

    path: Path
    writer: JournalName


def journal_files(run: RunPaths) -> list[JournalFile]:
    """The journal's files in the order of sessions, the supervisor's first. Raises JournalError."""
    found = []
    for path in run.journal.iterdir() if run.journal.is_dir() else ():
        writer = parse_journal_name(path.name)
        if writer is None or not path.is_file():
            raise JournalError(
                "it is no journal file of this run", where=str(path), mend="move it out of the journal folder"
            )
        found.append(JournalFile(path, writer))
    found.sort(key=lambda file: (file.writer.session, file.writer.shard or "", file.writer.incarnation))
    return found


def last_session(run: RunPaths) -> int:
    """The number of the run's latest session; 0 if there was none."""
    return max((file.writer.session for file in journal_files(run)), default=0)


def read_lines(file: JournalFile, warnings: list[str] | None = None) -> Iterator[Line]:
    """The lines of one journal file.

    Every writer that is killed may leave a last line that is cut, or zeros where the system had not written
    it yet: such a tail is no line, it is left out, and `warnings` gets a sentence. Any other line that cannot
    be read is damage: JournalError, naming file and line.
    """
    raw = file.path.read_bytes()
    whole = raw.rstrip(b"\0")
    end = whole.rfind(b"\n") + 1
    if end < len(raw) and warnings is not None:
        warnings.append(f"{file.path}: {len(raw) - end} bytes of an unfinished last line left out")
    offset = 0
    for number, line in enumerate(whole[:end].splitlines(), start=1):
        yield Line(_parse(file, line, number), number, offset, len(line))
        offset += len(line) + 1


def read_attempt(path: Path, offset: int, length: int) -> Attempt:
    """The attempt whose line lies there (see Line)."""
    with path.open("rb") as file:
        file.seek(offset)
        return _attempts.decode(file.read(length))


def damaged(path: Path, number: int, why: str) -> JournalError:
    """The error for a line that is not one."""
    return JournalError(
        f"line {number} is damaged: {why}",
        where=str(path),
        mend="restore the file from a copy, or move the line out of it: its unit then runs again on resume",
    )


def _parse(file: JournalFile, line: bytes, number: int) -> Attempt | AnyRecord:
    try:
        if line.startswith(b'{"kind":'):
            record: AnyRecord = _records.decode(line)
            return record
        attempt = _attempts.decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise damaged(file.path, number, str(error)) from None
    if file.writer.shard is not None and attempt.shard != file.writer.shard:
        raise damaged(file.path, number, f"it is of shard {attempt.shard!r}")
    return attempt
