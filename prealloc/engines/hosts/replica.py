"""A host's journal as the master takes it in: every line is checked before the same bytes are in the run's journal.

A host's file is known by its name there; its lines go to a file that the master has numbered, so two hosts of one
shard never meet in a file. What a host says of a unit that is not its own (any more) is kept as evidence, marked late:
files are folded in the order of their numbers, so an old one's new line could change an outcome that was told.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from typing import NamedTuple

import msgspec

from prealloc.engines.base import RunSetup
from prealloc.errors import JournalError
from prealloc.files.faultpoint import Point, fault_point
from prealloc.files.paths import JournalName, parse_journal_name
from prealloc.model.document import Unreadable
from prealloc.store.fold import Due, Untidied
from prealloc.store.journal import JournalFile, parse_line
from prealloc.store.journal_lines import (
    MOST_LINE_BYTES,
    AnyRecord,
    AttemptLine,
    AttemptRecord,
    LibraryOpen,
    SoloDeath,
    WorkerEnded,
    WorkerStarted,
)
from prealloc.store.journal_writer import JournalWriter

ACK_S, ACK_BYTES = 0.1, 2**18
"""What is in the run's journal is acknowledged after this time, or when it is so much."""
MOST_OPEN = 64
"""Files of one host that are open here at once. It may start a worker for each of its units, one after the other."""
MOST_FURTHER_ATTEMPTS = 10_000
"""More than a host may make of a unit by itself."""


class GivenShard(NamedTuple):
    """What a host may speak of."""

    positions: Mapping[str, int]
    """Of its tasks."""
    repeats: int


class Copied(NamedTuple):
    """A line that is in the run's journal now."""

    line: AttemptLine | AnyRecord
    late: bool = False
    size: int = 0
    """Its bytes."""


class _File:
    """One file of a host."""

    def __init__(self, name: str, writer: JournalName, where: JournalFile) -> None:
        self.name = name
        self.writer = writer
        self.where = where
        """As errors name it."""
        self.offset = 0
        """The bytes of it that are in the run's journal."""
        self.begun = bytearray()
        """A line of which the rest has not come yet."""
        self.number = 0
        """Lines so far."""


class Replica:
    """The journal of one host."""

    def __init__(
        self,
        host: str,
        setup: RunSetup,
        shards: Mapping[str, GivenShard],
        next_incarnation: Callable[[str], int],
        holds: Callable[[AttemptLine], bool],
    ) -> None:
        """`holds` says whether an ending is of a unit that the host has now."""
        self._host = host
        self._setup = setup
        self._shards = shards
        self._next_incarnation = next_incarnation
        self._holds = holds
        self._files: dict[str, _File] = {}
        self._incarnations: dict[tuple[str, int], int] = {}
        self._writers: dict[tuple[str, int], JournalWriter] = {}
        """Those that are open; the one that was written to last is at the end."""
        self._began: set[tuple[str, int]] = set()
        """Workers whose file is there."""
        self._unwritten: dict[JournalWriter, list[bytes]] = {}
        """Lines that were taken in, and that nobody may hear of before they are in the journal."""
        self._to_sync: dict[JournalWriter, None] = {}
        self._changed: set[str] = set()
        """Files of which more has come since acknowledgements were last given."""
        self._urgent = setup.policy.fsync  # nobody is told what would not survive
        """Acknowledgements must not wait."""
        self._unacked = 0
        """Bytes that have come since they were last given."""
        self._acked_at = 0.0
        self._closed: set[tuple[str, int]] = set()
        """Workers of whom there is nothing more."""
        self._untidied = Untidied()
        self.fenced = False
        """The host is lost: nothing that it says counts any more."""

    @property
    def acks(self) -> dict[str, int]:
        """Of each file, what is in the run's journal."""
        return {file.name: file.offset for file in self._files.values()}

    def hurry(self) -> None:
        """The host waits for its acknowledgements."""
        self._urgent = True

    @property
    def acks_are_due(self) -> bool:
        """Whether to acknowledge now: a job may end for it, or more would be held back."""
        return self._urgent or self._unacked > ACK_BYTES or time.monotonic() - self._acked_at > ACK_S

    def new_acks(self) -> dict[str, int]:
        """Those that have changed since the last call; what they say survives a power loss, if that is asked for."""
        self._urgent, self._unacked, self._acked_at = self._setup.policy.fsync, 0, time.monotonic()
        for writer in self._to_sync:
            writer.sync()
        self._to_sync.clear()
        new = {name: self._files[name].offset for name in self._changed}
        self._changed.clear()
        if new:
            fault_point(Point.REPLICA_TOLD)
        return new

    def owe(self, dues: Iterable[Due]) -> None:
        """The host was given these to clean up after."""
        for due in dues:
            self._untidied.owe(due)

    def due(self, shard: str) -> tuple[Due, ...]:
        """Attempts of this shard that have begun on the host, and that nobody has cleaned up after."""
        return tuple(due for due in self._untidied.due() if due.unit.shard == shard)

    def finish(self, shard: str) -> None:
        """The host has told all there is of this shard, until it is given some of it again: its files are closed."""
        for key in [key for key in self._began if key[0] == shard]:
            if key in self._writers:
                self._close(self._writers.pop(key))
            self._began.remove(key)
            self._closed.add(key)

    def incarnation(self, shard: str, theirs: int) -> int:
        """The number in the run of what the host calls the worker number `theirs` of the shard."""
        key = shard, theirs
        if key not in self._incarnations:
            self._incarnations[key] = self._next_incarnation(shard)
        return self._incarnations[key]

    def begin_again(self) -> dict[str, int]:
        """There is a new connection: what had come of a line comes again. Gives the acks."""
        for file in self._files.values():
            file.begun.clear()
        self._changed.clear()
        return self.acks

    @property
    def begun_bytes(self) -> int:
        """Of lines that have not come to their end."""
        return sum(len(file.begun) for file in self._files.values())

    def take(self, name: str, offset: int, raw: bytes) -> Generator[Copied]:
        """Takes bytes of a file in. What it gives is in the journal when it has come to its end, or is closed: nobody
        may be told before. Raises Unreadable for what no host may write, JournalError if we cannot write.
        """
        file = self._file(name)
        expected = file.offset + len(file.begun)
        if offset > expected:
            raise Unreadable(f"{name}: bytes {expected} to {offset} are missing")
        raw = raw[expected - offset :]
        if not raw:
            return
        *lines, begun = raw.split(b"\n")
        try:
            for rest in lines:
                line = bytes(file.begun) + rest
                file.begun.clear()
                yield from self._take_line(file, line)
                file.offset += len(line) + 1
                self._changed.add(name)
                self._unacked += len(line)
        finally:
            self._write()
        file.begun += begun  # a line may come in many pieces: none is looked at twice
        if len(file.begun) > MOST_LINE_BYTES:
            raise Unreadable(f"{name}: a line of more than {MOST_LINE_BYTES} bytes")

    def _write(self) -> None:
        """Appends what was taken in to the run's journal."""
        unwritten, self._unwritten = self._unwritten, {}
        for writer, lines in unwritten.items():
            writer.copy(lines)
            self._to_sync[writer] = None

    def _close(self, writer: JournalWriter) -> None:
        """What was written survives a power loss, if that is asked for."""
        if writer in self._to_sync:
            writer.sync()
            del self._to_sync[writer]
        writer.close()

    def close(self) -> None:
        """Nothing more is written."""
        for writer in self._writers.values():
            writer.close()
        self._writers.clear()

    def _file(self, name: str) -> _File:
        if name not in self._files:
            writer = parse_journal_name(name)
            if writer is None or writer.session != self._setup.session:
                raise Unreadable(f"{name!r} is not a journal file of this session")
            if writer.shard is not None and writer.shard not in self._shards:
                raise Unreadable(f"shard {writer.shard} was not given to it")
            where = JournalFile(self._setup.paths.journal / f"{self._host}:{name}", writer)
            self._files[name] = _File(name, writer, where)
        return self._files[name]

    def _take_line(self, file: _File, line: bytes) -> Iterator[Copied]:
        file.number += 1
        try:
            content = parse_line(file.where, line, file.number)
        except JournalError as error:
            raise Unreadable(f"{file.name}: {error.problem}") from None
        self._refuse_foreign(file, content)
        if isinstance(content, AttemptLine):
            late = not content.late and (self.fenced or not self._holds(content))
            self._copy(file, msgspec.json.encode(_marked(line)) if late else line)
            yield Copied(content, late or content.late, len(line))
            return
        if isinstance(content, WorkerStarted | WorkerEnded):
            number = self.incarnation(content.shard, content.incarnation)
            if not self.fenced:
                self._write()  # lines keep their order
                self._setup.journal.append(msgspec.structs.replace(content, incarnation=number))
        elif not (self.fenced and isinstance(content, SoloDeath)):
            self._copy(file, line)
            self._untidied.take_in(content)
        yield Copied(content, self.fenced)

    def _refuse_foreign(self, file: _File, content: AttemptLine | AnyRecord) -> None:
        """Raises Unreadable for what a host has no right to say."""
        if isinstance(content, LibraryOpen):
            if content.shard and content.shard not in self._shards:
                raise Unreadable(f"{file.name}: shard {content.shard!r} was not given to it")
            return
        if not isinstance(content, AttemptLine | AttemptRecord | SoloDeath | WorkerStarted | WorkerEnded):
            raise Unreadable(f"{file.name}: only the master writes such a line")
        shard = self._shards.get(content.shard)
        if shard is None:
            raise Unreadable(f"{file.name}: shard {content.shard!r} was not given to it")
        if isinstance(content, WorkerStarted | WorkerEnded):
            return
        if content.task not in shard.positions or not 0 <= content.repeat < shard.repeats:
            raise Unreadable(f"{file.name}: the plan has no unit {content.shard}/{content.task}#{content.repeat}")
        if isinstance(content, AttemptLine) and (content.host != self._host or content.reused is not None):
            raise Unreadable(f"{file.name}: it speaks for another one")

    def _copy(self, file: _File, line: bytes) -> None:
        writer = self._writer(file)  # first: it may write what there is
        self._unwritten.setdefault(writer, []).append(line)

    def _writer(self, file: _File) -> JournalWriter:
        shard = file.writer.shard
        if shard is None:
            return self._setup.journal
        key = shard, file.writer.incarnation
        if key in self._closed:
            raise Unreadable(f"{file.name}: a line of a worker whose end was told")
        if (writer := self._writers.pop(key, None)) is None:
            if len(self._writers) >= MOST_OPEN:
                self._write()
                self._close(self._writers.pop(next(iter(self._writers))))
            path = self._setup.paths.worker_journal(shard, self._setup.session, self.incarnation(*key))
            again = key in self._began
            writer = JournalWriter(path, fsync=self._setup.policy.fsync, replica=True, again=again)
            self._began.add(key)
        self._writers[key] = writer
        return writer


def _marked(line: bytes) -> AttemptLine:
    """The line, as one that counts for nothing."""
    return msgspec.structs.replace(msgspec.json.decode(line, type=AttemptLine), late=True)
