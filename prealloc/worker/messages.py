"""What a worker and its supervisor say to each other: one JSON array a line, its tag first."""

from __future__ import annotations

import os
import socket
import threading
import time
from typing import NamedTuple

import msgspec

from prealloc.model.outcome import Answer, ErrorInfo
from prealloc.model.usage import Usage
from prealloc.store.journal_lines import AttemptLine
from prealloc.worker.job import Count, UnitOrder

NO_THREAD = 75
"""Exit code of a worker that the system lets start no thread, so that it cannot begin (EX_TEMPFAIL of sysexits.h)."""


class Message(msgspec.Struct, frozen=True, array_like=True, tag=str.lower):
    """The root of all messages."""


class Ready(Message, frozen=True, array_like=True, tag="ready"):
    """The worker has its job and its function; it starts now."""


class Broken(Message, frozen=True, array_like=True, tag="broken"):
    """The run cannot go on: the worker's function does not load, or its journal cannot be written."""

    error: ErrorInfo
    where: str | None
    hint: str | None


class Struck(Message, frozen=True, array_like=True, tag="struck"):
    """An error that no task has caught has reached what the worker runs by itself: it ends now."""

    error: str


class Started(Message, frozen=True, array_like=True, tag="s"):
    """An attempt has been running for a while. Only for people: the in-flight table says what runs."""

    position: Count
    repeat: Count
    attempt: Count


class Ended(Message, frozen=True, array_like=True, tag="e"):
    """An attempt ended, and its line is in the journal."""

    position: Count
    line: AttemptLine
    """Without the result, and its error is brief."""
    again: UnitOrder | None
    """Set if the unit is tried again: how it then stands."""
    announced: bool
    """Whether its start was told before."""
    lingers: bool = False
    """It still cleans up: its unit is not tried again elsewhere before its worker is gone."""


class Opened(Message, frozen=True, array_like=True, tag="lib"):
    """The library guard refused an open."""

    path: str


class Retiring(Message, frozen=True, array_like=True, tag="retire"):
    """A thread did not come back: the worker starts nothing more, these units are for a replacement."""

    left: tuple[UnitOrder, ...]


class Returned(Message, frozen=True, array_like=True, tag="returned"):
    """The worker has let go of these units, which have not begun: they may run elsewhere."""

    left: tuple[UnitOrder, ...]


class NotClosed(Message, frozen=True, array_like=True, tag="not-closed"):
    """The object of the worker's class is not closed, or not cleanly: why."""

    problem: str


class Bye(Message, frozen=True, array_like=True, tag="bye"):
    """Nothing is running and nothing will be. The worker exits by itself."""


class Ask(Message, frozen=True, array_like=True, tag="ask"):
    """A request that will take about this many tokens waits for its turn on the shard's lane."""

    turn: Count
    tokens: Count


class Done(Message, frozen=True, array_like=True, tag="done"):
    """The request of a turn is answered, or given up."""

    turn: Count
    tokens: Count
    answer: Answer


class Spent(Message, frozen=True, array_like=True, tag="spent"):
    """What a request of an attempt has used: so that it is known if the worker is killed before it has ended."""

    position: Count
    repeat: Count
    attempt: Count
    usage: Usage


class Permit(NamedTuple):
    """The moment of a turn, in seconds of the machine's monotonic clock, and how late it may be used."""

    turn: int
    at: float
    late_s: float


class Granted(Message, frozen=True, array_like=True, tag="go"):
    """To a worker: these turns come."""

    permits: tuple[Permit, ...]


class HandBack(Message, frozen=True, array_like=True, tag="back"):
    """To a worker: hand back so many units that have not begun, but no more than half of them. It answers Returned."""

    units: Count


class Drain(Message, frozen=True, array_like=True, tag="drain"):
    """To a worker: start nothing more; what runs may end. Of a lane that has halted: hand back what has not begun."""

    key_refused: bool
    """Because of the lane's key: a 403 is that key's from now on."""
    lane_halted: str | None
    """Because the lane has halted, and why: it gives no further turn."""


class Cancel(Message, frozen=True, array_like=True, tag="cancel"):
    """To a worker: end what runs. It is `cancelled` now, and has the grace to clean up."""


class Slots(Message, frozen=True, array_like=True, tag="slots"):
    """To a worker: this many units may run at once."""

    slots: int


FromWorker = (
    Ready | Broken | Struck | Started | Ended | Opened | Retiring | Returned | Ask | Done | Spent | NotClosed | Bye
)
ToWorker = Drain | Cancel | Slots | HandBack | Granted

_encoder = msgspec.json.Encoder()
_commands = msgspec.json.Decoder(ToWorker)  # made before forking, shared by all workers


def line(message: Message) -> bytes:
    """A message as it crosses the socket."""
    return _encoder.encode(message) + b"\n"


FLUSH_S = 0.02
"""Endings that follow each other faster than this are sent together."""


class Channel:
    """The worker's end: whole lines, from any thread. Processes that tasks fork inherit it, and may not speak."""

    def __init__(self, sock: socket.socket) -> None:
        self._socket = sock
        self._pid = os.getpid()
        self._lock = threading.Lock()
        self._held: list[bytes] = []
        self._flushed_at = 0.0
        self._buffer = b""

    def fileno(self) -> int:
        return self._socket.fileno()

    def tell(self, message: Message) -> None:
        """Sends a line soon: at once if the last one was a while ago, else with the next, or the next beat."""
        now = time.monotonic()
        with self._lock:
            self._held.append(line(message))
            if now - self._flushed_at < FLUSH_S:
                return
            self._flush(now)

    def send(self, *messages: Message) -> None:
        """Sends lines now, after those that are held. Raises OSError if the supervisor is gone.

        In a process that a task has forked only the opening of the library is sent: it must not send what is held.
        """
        if os.getpid() != self._pid:
            if not all(isinstance(message, Opened) for message in messages):
                raise RuntimeError(
                    "a process that a task forked cannot use the lane: wait for turns in the task itself"
                )
            self._socket.sendall(b"".join(map(line, messages)))  # without the lock, which a thread of old may hold
            return
        with self._lock:
            self._held += map(line, messages)
            if self._held:
                self._flush(time.monotonic())

    def _flush(self, now: float) -> None:
        lines = b"".join(self._held)
        self._held.clear()
        self._flushed_at = now
        self._socket.sendall(lines)  # waits while the supervisor is behind

    def commands(self) -> list[ToWorker] | None:
        """The commands that have arrived; None if the supervisor is gone. Call it when readable."""
        received = self._socket.recv(65536)
        if not received:
            return None
        *lines, self._buffer = (self._buffer + received).split(b"\n")
        return [_commands.decode(each) for each in lines]
