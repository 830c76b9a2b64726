"""The journal: the only truth about a run. Append-only JSON lines, one file per writer.

A worker's file holds attempts, and what they note for those who clean up after them. The supervisor's file holds
attempts too (its verdicts on workers that died) and records of its own. Records carry a `kind`. Nothing is ever
rewritten, so a reader needs no lock. (A repair replaces a file that no reader accepts, or drops an unfinished tail,
which is behind every offset: readers notice neither.)
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, BinaryIO, NamedTuple

import msgspec

from prealloc.errors import JournalError
from prealloc.files.atomic import fsync_folder, hint_of
from prealloc.files.faultpoint import Point, fault_point
from prealloc.files.lock import hold
from prealloc.files.paths import JournalName, RunPaths, parse_journal_name
from prealloc.files.regular import Unusable, open_regular, refuse_foreign_folder
from prealloc.files.strict_json import MOST_WALKED, StrictJsonError, compact, has_surely_short_integers
from prealloc.model.document import UNREADABLE
from prealloc.model.outcome import MOST_ATTEMPTS, Attempt, Seconds, Status, verdict
from prealloc.model.part import Part
from prealloc.model.plan import Unit
from prealloc.model.policy import MOST_RESULT_BYTES
from prealloc.model.prices import Price
from prealloc.model.provenance import Provenance
from prealloc.model.steer import Change
from prealloc.model.usage import Usage
from prealloc.model.words import brief, quoted

NO_RESULT = msgspec.Raw(b"null")


class AttemptLine(Attempt, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True, gc=False):
    """An attempt as its line has it: the result is JSON text, which only those decode who want to see it."""

    result: msgspec.Raw = NO_RESULT

    @property
    def unit(self) -> Unit:
        return Unit(self.shard, self.task, self.repeat)

    def without_result(self) -> AttemptLine:
        """All that is held in memory of an attempt; the shard's name is the same object in all of them."""
        return msgspec.structs.replace(self, shard=sys.intern(self.shard), result=NO_RESULT)

    def told(self) -> AttemptLine:
        """What is said of it to other processes."""
        if self.error is None:
            return msgspec.structs.replace(self, result=NO_RESULT)
        return msgspec.structs.replace(self, result=NO_RESULT, error=self.error.brief())

    def judged(self) -> AttemptLine:
        """The same with the verdict of its result: the first version of the format left that to the reader."""
        if self.success is not None or self.result is NO_RESULT:
            return self
        return msgspec.structs.replace(self, **verdict(_values.decode(self.result))._asdict())


class Record(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="kind", tag=str.lower):
    """What is noted besides endings."""


class SessionStarted(Record, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="session", omit_defaults=True):
    """A master took up the run: `run` is session 1, each resume the next."""

    session: int
    reopen_failed: bool
    """`resume --failed`: outcomes that are final but not ok are open again from here on."""
    started_at: Seconds | None = None
    """Wall clock, as all times of records. None: of a version that did not note it."""
    part: Part | None = None
    """What it was asked for; None: everything that is open."""
    options: dict[str, Any] = {}
    """Fields of RunPolicy that have other values from here on than run.json says."""
    on_end: str | None = None
    """The command that gets the summary from here on, empty for none; None: the one that run.json names."""
    prices: dict[str, Price] = {}
    """Of tokens by model, from here on; none: those of run.json."""
    made_with: Provenance | None = None
    """What its code was; None: as run.json says."""


class Reopened(Record, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="reopened"):
    """These units are open again from here on, though they have ended: `resume --failed` for a part of a run."""

    units: tuple[tuple[str, str, int], ...]
    """(shard, task, repeat)."""


class SessionEnded(Record, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="session_end"):
    """It came to its end, or was stopped by the user. Without this line: it was killed, or could not go on."""

    session: int
    ended_at: Seconds


class SealedFile(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """So many bytes at the beginning of a file had this SHA-256."""

    file: str
    """Its place in the run folder."""
    bytes: Annotated[int, msgspec.Meta(ge=0)]
    sha256: str


class Sealed(Record, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="sealed"):
    """What stood in the journal's files at this time, so that a later edit is noticed."""

    at: Seconds
    files: tuple[SealedFile, ...]


class Steered(Record, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="steered", omit_defaults=True):
    """From here on the session goes on in another way."""

    at: Seconds
    stopped: str | None = None
    """A limit of the whole run is reached, and nothing more starts: which one."""
    change: Change | None = None
    """What `prealloc ctl` has asked for."""


class WorkerStarted(Record, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="worker", omit_defaults=True):
    """A worker process was started for a shard."""

    shard: str
    incarnation: int
    pid: int
    units: int
    started_at: Seconds | None = None
    lane: str | None = None
    """The lane that serves it."""
    host: str | None = None
    """The host that the process id is of; None: the machine of the master."""


class WorkerEnded(Record, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="worker_end", omit_defaults=True):
    """It is gone for certain, in whatever way, and its units have been decided or handed on."""

    shard: str
    incarnation: int
    ended_at: Seconds
    lost: str | None = None
    """Why, if it died or was killed."""


class UnitRecord(Record, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is noted of an attempt at a unit."""

    shard: str
    task: str
    repeat: int
    attempt: Annotated[int, msgspec.Meta(ge=1, le=MOST_ATTEMPTS)]

    @property
    def unit(self) -> Unit:
        return Unit(self.shard, self.task, self.repeat)


class SoloDeath(UnitRecord, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="death"):
    """A unit's worker died while the unit was alone in it. The count must survive the master."""

    reason: str


class LibraryOpen(Record, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="library_open"):
    """A worker of this shard (the fork server, if empty) tried to open the task library."""

    shard: str
    path: str


class AttemptRecord(UnitRecord, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is noted of an attempt so that somebody can clean up after it, should its process be killed."""


class AttemptBegan(AttemptRecord, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="began"):
    """Written in runs with --cleanup only, before the function is called."""


class Noted(AttemptRecord, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="note"):
    """What the function recorded with `ctx.note`."""

    value: Any


class AttemptLost(AttemptRecord, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="lost", omit_defaults=True):
    """Its worker died while it ran, which decided nothing: the unit is tried again."""

    reason: str
    usage: Usage | None = None
    """What it had used by then, as far as it has said so."""


class CleanedUp(AttemptRecord, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="clean"):
    """The attempt has come back and cleaned up by itself, or --cleanup has done it in its stead."""


AnyRecord = (
    SessionStarted
    | Reopened
    | Steered
    | Sealed
    | SessionEnded
    | WorkerStarted
    | WorkerEnded
    | SoloDeath
    | LibraryOpen
    | AttemptBegan
    | Noted
    | AttemptLost
    | CleanedUp
)

MOST_LINE_BYTES = MOST_RESULT_BYTES + 2**20
"""The largest result, and around it an error with its traceback, ids and numbers."""

_PIECE = 2**20

_lines = msgspec.json.Decoder(AttemptLine)
_values = msgspec.json.Decoder()
_records = msgspec.json.Decoder(AnyRecord)
_encoder = msgspec.json.Encoder()


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
        self._write(self._point(line), _encoder.encode(line) + b"\n")
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


class Line(NamedTuple):
    """One line of one journal file. `offset` and `length` are where its bytes lie."""

    content: AttemptLine | AnyRecord
    number: int
    offset: int
    length: int


class JournalFile(NamedTuple):
    """A journal file and who wrote it."""

    path: Path
    writer: JournalName


def journal_files(run: RunPaths) -> list[JournalFile]:
    """The journal's files in the order of sessions, the supervisor's first. Raises JournalError."""
    found, strangers = sort_folder(run)
    if strangers:
        raise _stranger(strangers[0], "it is not a journal file of this run")
    return found


def sort_folder(run: RunPaths) -> tuple[list[JournalFile], list[Path]]:
    """The journal's files in the order of sessions, the supervisor's first; and what no writer of ours made.

    Raises JournalError if the folder cannot be read.
    """
    found, strangers = [], []
    for path in _listed(run):
        writer = parse_journal_name(path.name)
        if writer is None or not path.is_file():
            strangers.append(path)
        else:
            found.append(JournalFile(path, writer))
    found.sort(key=lambda file: (file.writer.session, file.writer.shard or "", file.writer.incarnation))
    return found, sorted(strangers)


def _listed(run: RunPaths) -> list[Path]:
    try:
        refuse_foreign_folder(run.journal, inside=run.root)
        return list(run.journal.iterdir())
    except (Unusable, OSError) as error:
        # Not taken for an empty one: then everything would seem not to have run.
        hint = "restore the folder from a copy: it is the only record of the run"
        raise JournalError(f"the journal cannot be read: {error}", where=str(run.journal), hint=hint) from None


def _stranger(path: Path, problem: str) -> JournalError:
    return JournalError(problem, where=str(path), hint=f"move it out of the journal folder, or run `{_repair(path)}`")


def last_session(run: RunPaths) -> int:
    """The number of the run's latest session; 0 if there was none."""
    return max((file.writer.session for file in journal_files(run)), default=0)


def read_lines(file: JournalFile, warnings: list[str] | None = None) -> Iterator[Line]:
    """The lines of one journal file.

    Every writer that is killed may leave a last line that is cut, or zeros where the system had not written
    it yet: such a tail is not a line, it is left out, and `warnings` gets a sentence. Any other line that cannot
    be read is damage: JournalError, naming file and line.
    """
    try:
        descriptor = open_regular(file.path, inside=file.path.parent)
    except Unusable as error:
        raise _stranger(file.path, f"it is not a journal file of this run: {error}") from None
    with open(descriptor, "rb") as stream:
        yield from _Reader(file, stream, warnings).lines()


class _Reader:
    """Goes through a journal file once, and holds a piece of it at a time."""

    def __init__(self, file: JournalFile, stream: BinaryIO, warnings: list[str] | None) -> None:
        self._file = file
        self._stream = stream
        self._warnings = warnings
        self._number = 0
        self._offset = 0

    def lines(self) -> Iterator[Line]:
        while piece := self._read(self._stream.read, _PIECE):
            if not piece.endswith(b"\n"):
                piece += self._read(self._stream.readline, MOST_LINE_BYTES)
            end = piece.rfind(b"\n") + 1
            yield from self._parse(piece[:end])
            if end < len(piece):
                return self._end_with(len(piece) - end)
        return None

    def _read(self, read: Callable[[int], bytes], size: int) -> bytes:
        try:
            return read(size)
        except OSError as error:
            hint = "fix the disk, or restore the file from a copy"
            where = str(self._file.path)
            raise JournalError(f"it cannot be read: {error.strerror}", where=where, hint=hint) from error

    def _parse(self, piece: bytes) -> Iterator[Line]:
        """The lines in a piece of whole lines."""
        lines = piece.split(b"\n")[:-1]
        for line, content in zip(lines, self._at_once(piece, lines) or self._one_by_one(lines), strict=True):
            self._number += 1
            yield Line(content, self._number, self._offset, len(line))
            self._offset += len(line) + 1

    def _at_once(self, piece: bytes, lines: Sequence[bytes]) -> Sequence[AttemptLine] | None:
        """The attempts in a piece that is just what a worker's writer makes of them; None if it is not.

        That they are written again to the very same bytes proves that nothing is there twice or left out. In the
        results themselves that is looked for when they are read.
        """
        try:
            attempts: list[AttemptLine] = _lines.decode_lines(piece)
            piece.decode()  # results are text too
        except UNREADABLE:
            return None
        fine = (
            len(attempts) == len(lines)
            and _encoder.encode_lines(attempts) == piece
            and has_surely_short_integers(piece)
            and b'"status":"not_run"' not in piece
            and {attempt.shard for attempt in attempts} <= {self._file.writer.shard}
        )
        return attempts if fine else None

    def _one_by_one(self, lines: Sequence[bytes]) -> Iterator[AttemptLine | AnyRecord]:
        for line in lines:
            yield parse_line(self._file, line, self._number + 1)

    def _end_with(self, size: int) -> None:
        """The last line was cut. It may be long and without end (zeros), but no whole line may follow it."""
        while more := self._read(self._stream.read, _PIECE):
            if b"\n" in more:
                raise damaged(self._file.path, self._number + 1, f"it is longer than {MOST_LINE_BYTES} bytes")
            size += len(more)
        if self._warnings is not None:
            self._warnings.append(f"{self._file.path}: {size} bytes of an unfinished last line left out")


def split_lines(raw: bytes) -> tuple[list[bytes], int]:
    """The whole lines of a journal file, without their line feeds, and where its unfinished tail begins."""
    end = raw.rstrip(b"\0").rfind(b"\n") + 1
    # Not splitlines(): a carriage return ends no line, and offsets must stay true whatever somebody's editor did.
    return raw[:end].split(b"\n")[:-1], end


def read_line(path: Path, offset: int, length: int) -> AttemptLine:
    """The line that lies there (see Line), its result read strictly. Raises JournalError if it has gone since."""
    try:
        with open(open_regular(path, inside=path.parent), "rb") as file:
            file.seek(offset)
            raw = file.read(length)
        line = _lines.decode(raw)
        _refuse_twice(raw)
    except (Unusable, OSError, *UNREADABLE, StrictJsonError) as error:
        hint = "restore it from a copy; a journal is append-only"
        raise JournalError(f"the line at byte {offset} cannot be read: {error}", where=str(path), hint=hint) from None
    return line.judged()


def with_result(line: AttemptLine) -> Attempt:
    """The attempt as people want it, its result decoded."""
    return Attempt(**{**msgspec.structs.asdict(line), "result": _values.decode(line.result)})


def _repair(path: Path) -> str:
    """The command that puts a journal's file aside, or lines of it."""
    return f"prealloc doctor {quoted(path.parent.parent)} --repair"


def damaged(path: Path, number: int, why: str) -> JournalError:
    """The error for a line that is not one."""
    aside = f"move the line aside with `{_repair(path)}`: its unit then runs again on resume"
    hint = f"restore the file from a copy, or {aside}"
    return JournalError(f"line {number} is damaged: {brief(why)}", where=str(path), hint=hint)


def parse_line(file: JournalFile, line: bytes, number: int) -> AttemptLine | AnyRecord:
    """What a line of this file says. Raises JournalError if it is damaged."""
    if len(line) > MOST_LINE_BYTES:
        raise damaged(file.path, number, f"it is longer than {MOST_LINE_BYTES} bytes")
    try:
        content: AttemptLine | AnyRecord = (_records if line.startswith(b'{"kind":') else _lines).decode(line)
        _refuse_twice(line)
    except (*UNREADABLE, StrictJsonError) as error:
        raise damaged(file.path, number, str(error)) from None
    if (why := _misplaced(file.writer, content)) is not None:
        raise damaged(file.path, number, why)
    return content.judged() if isinstance(content, AttemptLine) else content


def _misplaced(writer: JournalName, content: AttemptLine | AnyRecord) -> str | None:
    """Why the writer of a file cannot have written this; None if it can."""
    if isinstance(content, Attempt | AttemptRecord):
        if isinstance(content, Attempt) and content.status is Status.NOT_RUN:
            return "not_run is not an ending"
        return None if writer.shard in (None, content.shard) else f"it belongs to shard {content.shard!r}"
    if writer.shard is not None:
        return "only the supervisor writes such a line"
    if isinstance(content, SessionStarted | SessionEnded) and content.session != writer.session:
        return f"it belongs to session {content.session}"
    return None


def _refuse_twice(line: bytes) -> None:
    """One text has one meaning: of two equal keys msgspec would take the last. Raises StrictJsonError."""
    same = _encoder.encode(_values.decode(line)) == line
    if same and (has_surely_short_integers(line) or len(line) > MOST_WALKED):
        return
    if len(line) > MOST_WALKED:
        raise StrictJsonError("it is not as prealloc writes it")
    compact(line)
