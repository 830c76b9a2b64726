"""A worker process as its supervisor sees it: what it was given, what it has said, what it must still end."""

from __future__ import annotations

import enum
import socket
import time
from pathlib import Path
from typing import NamedTuple

import msgspec

from prealloc.model.policy import RunPolicy
from prealloc.worker.job import UnitOrder
from prealloc.worker.messages import FromWorker, Heartbeat, Started, ToWorker, line

SILENT_S = 1.0
"""A worker that has not beaten for this long holds the GIL, is stopped, or starves."""

Key = tuple[int, int]
"""A unit within its shard: (position, repeat)."""


class Stage(enum.Enum):
    """Where a worker process is in its life; see engines/local.py for the drawing."""

    STARTING = "starting"
    WORKING = "working"
    RETIRING = "retiring"
    DYING = "dying"


class Flight(NamedTuple):
    """A unit that runs in a worker right now."""

    order: UnitOrder
    started_at: float
    started_wall: float


class WorkerProcess:
    """One incarnation of a shard's worker."""

    def __init__(
        self,
        *,
        shard: str,
        incarnation: int,
        orders: tuple[UnitOrder, ...],
        slots: int,
        solo: bool,
        journal: Path,
        positions: list[int],
        policy: RunPolicy,
    ) -> None:
        self.shard = shard
        self.incarnation = incarnation
        self.slots = slots
        self.solo = solo
        """It runs one suspect, alone: only a death in here counts."""
        self.journal = journal
        self.stage = Stage.STARTING
        self.pid: int | None = None
        self.waiting: dict[Key, UnitOrder] = {(order.position, order.repeat): order for order in orders}
        """Units it holds and has not started (backoff included)."""
        self.flights: dict[Key, Flight] = {}
        self.killed_for: str | None = None
        self.said_bye = False
        self.progressed = False
        """It has started a unit."""
        self._positions = positions
        self._policy = policy
        self._beat_at = time.monotonic()
        self._waits: dict[Key, tuple[float, bool]] = {}
        self._decoder = msgspec.json.Decoder(FromWorker)
        self._buffer = b""
        self.channel, self.far_end = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        self.channel.setblocking(False)

    def receive(self) -> list[FromWorker]:
        """The messages that have arrived. Never waits."""
        chunks = [self._buffer]
        try:
            while chunk := self.channel.recv(1 << 18):
                chunks.append(chunk)
        except (BlockingIOError, ConnectionError):
            pass
        *lines, self._buffer = b"".join(chunks).split(b"\n")
        if lines:
            self._beat_at = time.monotonic()
        return [self._decoder.decode(each) for each in lines]

    def send(self, command: ToWorker) -> None:
        """Sends a command; a worker that is gone or does not listen has no use for it."""
        try:
            self.channel.send(line(command))
        except OSError:
            return

    def position(self, shipped: int) -> int:
        """The position in the shard of a task at this place in the shipment."""
        return self._positions[shipped]

    def took_off(self, message: Started) -> None:
        key = (self.position(message.position), message.repeat)
        order = UnitOrder(*key, message.attempt, message.tries, message.waited_s)
        self.waiting.pop(key, None)
        self.progressed = True
        self.flights[key] = Flight(order, time.monotonic(), time.time())

    def landed(self, key: Key) -> None:
        self.flights.pop(key, None)

    def beat(self, message: Heartbeat) -> None:
        self._waits = {
            (self.position(shipped), repeat): (waited_s, now) for shipped, repeat, waited_s, now in message.waits
        }

    @property
    def silent(self) -> bool:
        return time.monotonic() - self._beat_at > SILENT_S

    def overdue(self) -> list[Key]:
        """Flights that are past --timeout by our own clock, going by the waits that were last told."""
        limit_s = self._policy.timeout_s
        if limit_s is None:
            return []
        now = time.monotonic()
        found = []
        for key, flight in self.flights.items():
            waited_s, waiting = self._waits.get(key, (0.0, False))
            if not waiting and now - flight.started_at - waited_s > limit_s:
                found.append(key)
        return found

    def close(self) -> None:
        self.channel.close()
        self.far_end.close()
