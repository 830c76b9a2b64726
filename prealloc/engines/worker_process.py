"""A worker process as its supervisor sees it: what it was given, what it has said, what it must still end."""

from __future__ import annotations

import enum
import socket
import time
from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path

import msgspec

from prealloc.engines.base import ShardJob
from prealloc.errors import EngineError
from prealloc.files.atomic import must_write
from prealloc.model.document import Unreadable, heard
from prealloc.model.events import AttemptEnded, AttemptStarted, Event
from prealloc.model.usage import Usage, added
from prealloc.store.fold import Due
from prealloc.worker.in_flight import InFlight, InFlightTable, most_slots, new_descriptor
from prealloc.worker.job import Key, UnitOrder, WorkerJob
from prealloc.worker.messages import Ended, FromWorker, Retiring, Returned, Slots, Spent, Started, ToWorker, line

SILENT_S = 1.0
"""A worker that has not beaten for this long holds the GIL, is stopped, or starves."""

_LEAST_LINE, _ORDER = 2**20, 200
"""Bytes of the longest message that a worker sends, which hands back all orders that it was given."""

SPARE_S = 0.3
"""A worker that has nothing more to do, and has had its grace, should end by itself within this long."""


class Stage(enum.Enum):
    """Where a worker process is in its life; see engines/local.py for the drawing."""

    STARTING = "starting"
    WORKING = "working"
    RETIRING = "retiring"
    DYING = "dying"


class WorkerProcess:
    """One incarnation of a shard's worker."""

    def __init__(
        self,
        job: ShardJob,
        shipped: WorkerJob | None = None,
        orders: Sequence[UnitOrder] = (),
        *,
        incarnation: int = 0,
        solo: bool = False,
        only: bool = False,
        due: Due | None = None,
    ) -> None:
        """`orders` are those of what is `shipped`."""
        self.job = job.number
        """The number of the job that it runs for."""
        self.shard = job.shard
        self.incarnation = incarnation
        self.slots = shipped.slots if shipped is not None else 0
        self.slot = shipped.slot if shipped is not None else None
        """A number that no other living worker has; None for one that runs no task."""
        self.solo = solo
        """It runs one suspect, alone: only a death in here counts."""
        self.only = only
        """And no other worker runs meanwhile: memory that runs out is this task's doing."""
        self.crowded = True
        """When it died, others ran beside it."""
        self.journal = Path(shipped.journal) if shipped is not None else None
        self.stage = Stage.STARTING
        self.pid: int | None = None
        self.undecided: dict[Key, UnitOrder] = {order.key: order for order in orders}
        """Units it holds: not started, running, or in backoff. Which of them run, the in-flight table says."""
        self.killed_for: str | None = None
        self.held_bytes = 0
        """The memory that it was killed for."""
        self.last_words: str | None = None
        """Why it ends, if it has said so, or what it said that cannot be read."""
        self.due = due
        """It runs no unit, but cleans up after this attempt."""
        self.asked_back = False
        """It was asked to hand units back, and has not answered yet."""
        self.cancelled_at: float | None = None
        """When it was told to end what runs in it."""
        self.killer: str | None = None
        """The kernel's OOM killer, in words, if it was that."""
        self.said_bye = False
        self.spent: dict[Key, tuple[int, Usage]] = {}
        """What attempts that have not ended have used so far, with their numbers."""
        self.progressed = False
        """It has ended a unit."""
        self._shard_job = job
        self._positions = frozenset(order.position for order in orders)
        self._repeats = 1 + max((order.repeat for order in orders), default=0)
        self._longest = _LEAST_LINE + _ORDER * len(orders)
        self._policy = job.policy
        self.made_at = time.monotonic()
        self._idle_since: float | None = None
        self._decoder: msgspec.json.Decoder[FromWorker] = msgspec.json.Decoder(FromWorker)
        self._buffer = b""
        with must_write(f"what a worker of shard {self.shard} needs", EngineError):  # too many open files, say
            self.channel, self.far_end = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
            self.most_slots = most_slots(job.policy.concurrency)
            self.table_descriptor = new_descriptor(self.most_slots)
            self._table = InFlightTable(self.table_descriptor, self.most_slots)
        self.channel.setblocking(False)
        self.was_narrowed = False
        """More may run in it than it has slots."""

    def reach(self, stage: Stage) -> None:
        """Goes on to a stage, unless it is being killed: its last words may come after that."""
        if self.stage is not Stage.DYING:
            self.stage = stage

    def receive(self) -> Iterator[FromWorker]:
        """The messages that have arrived. Never waits. Raises Unreadable if one cannot be read; later ones are lost."""
        chunks = [self._buffer]
        try:
            while chunk := self.channel.recv(1 << 18):
                chunks.append(chunk)
        except (BlockingIOError, ConnectionError):
            pass
        *lines, self._buffer = b"".join(chunks).split(b"\n")
        for each in lines:
            message = heard(self._decoder, each)
            for key in _units(message):
                if not self._holds(key):
                    raise Unreadable(f"it does not hold unit {key}; the message began {each[:60]!r}")
            if isinstance(message, Ended) and self._unit(message.position) != (message.line.shard, message.line.task):
                raise Unreadable(f"it names a unit that it does not hold; the message began {each[:60]!r}")
            yield message
        if len(self._buffer) > self._longest:
            self._buffer = b""
            raise Unreadable(f"a line of more than {self._longest} bytes")

    def _holds(self, key: Key) -> bool:
        return key[0] in self._positions and 0 <= key[1] < self._repeats

    def _unit(self, position: int) -> tuple[str, str]:
        return self.shard, self._shard_job.ids[position][0]

    def spend(self, message: Spent) -> None:
        """An attempt has used this much more."""
        key = message.position, message.repeat
        before = self.used(key, message.attempt)
        self.spent[key] = message.attempt, added((before, message.usage)) or {}

    def used(self, key: Key, attempt: int) -> Usage | None:
        """What an attempt that runs in it, or ran when it died, has said that it used."""
        number, usage = self.spent.get(key, (0, None))
        return usage if number == attempt else None

    def send(self, command: ToWorker) -> None:
        """Sends a command; a worker that is gone or does not listen has no use for it."""
        try:
            self.channel.send(line(command))
        except OSError:
            return

    def set_slots(self, slots: int) -> None:
        """Lets this many units run at once in it; what runs beyond that may end."""
        slots = min(slots, self.most_slots)
        self.was_narrowed = self.was_narrowed or slots < self.slots
        self.slots = slots
        self.send(Slots(slots))

    def rows(self) -> dict[Key, InFlight]:
        """What runs in it right now, or ran when it died."""
        rows = {row.order.key: row for row in self._table.rows()}
        # The table is memory of the worker's, where a task may have written.
        return {key: row for key, row in rows.items() if self._holds(key)}

    @property
    def has_worked(self) -> bool:
        """It has started a unit."""
        return self.progressed or bool(self._table.rows())

    @property
    def unbegun(self) -> int:
        """Units that it may hand back, if it is asked now."""
        may = self.stage in (Stage.STARTING, Stage.WORKING) and not (self.solo or self.said_bye or self.silent)
        return max(0, len(self.undecided) - max(self.slots, len(self.rows()))) if may and self.due is None else 0

    @property
    def age_s(self) -> float:
        return time.monotonic() - self.made_at

    @property
    def silent(self) -> bool:
        return self._silent_s > SILENT_S

    @property
    def lost(self) -> bool:
        """Silent for longer than an attempt may work: whatever runs or waits in it will not come to its end."""
        return self._longest_s is not None and self._silent_s > SILENT_S + self._longest_s

    @cached_property
    def _longest_s(self) -> float | None:
        """What an attempt at any of its tasks may work."""
        limits = {self._shard_job.timeout_s(position) for position in self._positions} or {self._policy.timeout_s}
        return None if None in limits else max(limit_s for limit_s in limits if limit_s is not None)

    @property
    def _silent_s(self) -> float:
        return time.monotonic() - max(self.made_at, self._table.beat_at)

    def overdue(self) -> list[Key]:
        """Flights that are past their timeout by our own clock, going by the waits that the table shows."""
        now = time.monotonic()
        return [
            key
            for key, row in self.rows().items()
            if (limit_s := self._shard_job.timeout_s(key[0])) is not None
            and not row.waiting
            and now - row.started_at - row.waited_s > limit_s
        ]

    @property
    def outlived(self) -> bool:
        """Nothing has run in it, and nothing will, for longer than what it gets to clean up."""
        if not (self.said_bye or self.stage is Stage.RETIRING) or self.rows():
            self._idle_since = None
            return False
        self._idle_since = self._idle_since or time.monotonic()
        return time.monotonic() > self._idle_since + self._policy.grace_s + SPARE_S

    def close(self) -> None:
        self.channel.close()
        self.far_end.close()
        self._table.close()


def not_closed(shard: str, problem: str, log: Path) -> str:
    """What the user hears of a worker class whose object was not closed. Its units have their outcomes."""
    return f"{shard}: its worker was not closed: {problem}; see {log}"


def _units(message: FromWorker) -> Sequence[Key]:
    """The units that a message names."""
    if isinstance(message, Ended):
        key = message.position, message.line.repeat
        return [key] if message.again is None else [key, message.again.key]
    if isinstance(message, Started | Spent):
        return [(message.position, message.repeat)]
    if isinstance(message, Retiring | Returned):
        return [left.key for left in message.left]
    return []


def events_of(message: Ended, type: str) -> list[Event]:
    """An ending as reporters see it; its start before it, unless that was told. `type` is the task's."""
    line = message.line
    ended = AttemptEnded.of(line, type)
    if message.announced:
        return [ended]
    return [AttemptStarted(shard=line.shard, task=line.task, repeat=line.repeat, attempt=line.attempt), ended]
