"""The journal: the only truth about a run. Append-only JSON lines, one file per writer. Here it is read.

A worker's file holds attempts, and what they note for those who clean up after them. The supervisor's file holds
attempts too (its verdicts on workers that died) and records of its own. Records carry a `kind`. Nothing is ever
rewritten, so a reader needs no lock. (A repair replaces a file that no reader accepts, or drops an unfinished tail,
which is behind every offset: readers notice neither.)
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import BinaryIO, NamedTuple

from prealloc.errors import JournalError
from prealloc.files.paths import JournalName, RunPaths, parse_journal_name
from prealloc.files.regular import Unusable, open_regular, refuse_foreign_folder
from prealloc.files.strict_json import StrictJsonError, has_surely_short_integers
from prealloc.model.document import UNREADABLE
from prealloc.model.outcome import Attempt, Status
from prealloc.model.words import brief, quoted
from prealloc.store.journal_lines import (
    MOST_LINE_BYTES,
    AnyRecord,
    AttemptLine,
    AttemptRecord,
    SessionEnded,
    SessionStarted,
    attempt_lines,
    encoder,
    record_lines,
    refuse_twice,
)

_PIECE = 2**20


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
            attempts: list[AttemptLine] = attempt_lines.decode_lines(piece)
            piece.decode()  # results are text too
        except UNREADABLE:
            return None
        fine = (
            len(attempts) == len(lines)
            and encoder.encode_lines(attempts) == piece
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
        line = attempt_lines.decode(raw)
        refuse_twice(raw)
    except (Unusable, OSError, *UNREADABLE, StrictJsonError) as error:
        hint = "restore it from a copy; a journal is append-only"
        raise JournalError(f"the line at byte {offset} cannot be read: {error}", where=str(path), hint=hint) from None
    return line.judged()


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
        content: AttemptLine | AnyRecord = (record_lines if line.startswith(b'{"kind":') else attempt_lines).decode(
            line
        )
        refuse_twice(line)
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
