"""What a worker and its supervisor say to each other: one JSON array a line, its tag first."""

from __future__ import annotations

import socket
import threading

import msgspec

from prealloc.model.outcome import ErrorInfo, Status
from prealloc.worker.job import UnitOrder


class Message(msgspec.Struct, frozen=True, array_like=True, tag=str.lower):
    """The root of all messages."""


class Ready(Message, frozen=True, array_like=True, tag="ready"):
    """The worker has its job and its function; it starts now."""


class Broken(Message, frozen=True, array_like=True, tag="broken"):
    """The worker cannot start: its function does not load, or its journal cannot be written."""

    error: ErrorInfo
    where: str | None
    mend: str | None


class Started(Message, frozen=True, array_like=True, tag="s"):
    """An attempt starts. Sent before the function is called, so that a death finds its suspects."""

    position: int
    repeat: int
    attempt: int
    tries: int
    waited_s: float


class Ended(Message, frozen=True, array_like=True, tag="e"):
    """An attempt ended, and its line is in the journal."""

    position: int
    repeat: int
    attempt: int
    status: Status
    working_s: float
    waiting_s: float
    success: bool | None
    score: float | None
    error: ErrorInfo | None
    again: UnitOrder | None
    """Set if the unit is tried again: how it then stands."""
    written_off: bool = False
    """The function has not returned: the unit is decided, but its thread is still held."""


class Heartbeat(Message, frozen=True, array_like=True, tag="h"):
    """The control thread could run. Lists the running attempts that have waited: (position, repeat, s, now)."""

    waits: tuple[tuple[int, int, float, bool], ...] = ()


class Opened(Message, frozen=True, array_like=True, tag="lib"):
    """The library guard refused an open."""

    path: str


class Retiring(Message, frozen=True, array_like=True, tag="retire"):
    """A thread did not come back: the worker starts nothing more, these units are for a replacement."""

    left: tuple[UnitOrder, ...]


class Bye(Message, frozen=True, array_like=True, tag="bye"):
    """Nothing is running and nothing will be. The worker exits by itself."""


class Drain(Message, frozen=True, array_like=True, tag="drain"):
    """To a worker: start nothing more; what runs may end."""


class Slots(Message, frozen=True, array_like=True, tag="slots"):
    """To a worker: this many units may run at once."""

    slots: int


FromWorker = Ready | Broken | Started | Ended | Heartbeat | Opened | Retiring | Bye
ToWorker = Drain | Slots

_encoder = msgspec.json.Encoder()
_commands = msgspec.json.Decoder(ToWorker)  # made before forking, shared by all workers


def line(message: Message) -> bytes:
    """A message as it crosses the socket."""
    return _encoder.encode(message) + b"\n"


class Channel:
    """The worker's end: whole lines, from any thread."""

    def __init__(self, sock: socket.socket) -> None:
        self._socket = sock
        self._lock = threading.Lock()
        self._buffer = b""

    def fileno(self) -> int:
        return self._socket.fileno()

    def send(self, lines: bytes) -> None:
        """Sends whole lines; waits while the supervisor is behind. Raises OSError if it is gone."""
        with self._lock:
            self._socket.sendall(lines)

    def commands(self) -> list[ToWorker] | None:
        """The commands that have arrived; None if the supervisor is gone. Call it when readable."""
        received = self._socket.recv(65536)
        if not received:
            return None
        *lines, self._buffer = (self._buffer + received).split(b"\n")
        return [_commands.decode(each) for each in lines]
