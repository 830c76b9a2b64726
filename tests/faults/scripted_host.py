"""A host that a test plays by hand: it speaks the real wire, and says what the test wants."""

from __future__ import annotations

import contextlib
import secrets
import threading
import time
from collections import deque
from typing import Any, TypeVar

import msgspec
from harness import PATIENCE_S
from run_events import attempt_line
from websockets.exceptions import ConnectionClosed, InvalidMessage
from websockets.sync.client import ClientConnection, connect

from prealloc._version import __version__
from prealloc.engines.base import ShardJob
from prealloc.engines.hosts import wire
from prealloc.engines.hosts.ship import module_digest
from prealloc.engines.hosts.spec import HostSpec, trusting

M = TypeVar("M", bound=wire.Message)


class ScriptedHost:
    """One host, on one connection. Its beats come by themselves."""

    def __init__(self, spec: HostSpec, *, room: int = 1, launch: str | None = None) -> None:
        self.name = spec.name
        self.room = room
        self.jobs: deque[ShardJob] = deque()
        self.session = 0
        self._launch = launch or secrets.token_hex(8)
        self._numbered = wire.Numbered()
        self._files: dict[str, bytes] = {}
        self._sizes: dict[str, int] = {}
        self._heard: deque[Any] = deque()
        self._lock = threading.Lock()
        self._ended = threading.Event()
        self._connecting, self.connection = _call(spec)
        hi = wire.Hi(launch=self._launch, version=__version__, python="3", machine="scripted", room=room)
        self.send(self._numbered.plain(hi))
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        threading.Thread(target=self._beat_on, daemon=True).start()

    # -- what it does as any host ---------------------------------------------------------------------------

    def join(self) -> None:
        """Until it takes part in the session."""
        check = self.hear(wire.Check)
        digest = module_digest(check.worker, check.import_path)
        self.say(wire.Ready(notes=(), unset=(), digest=digest))
        self.session = self.hear(wire.Open).session
        self.beat()

    def take_job(self) -> ShardJob:
        """The next job that it is given."""
        run = self.hear(wire.Run)
        end = time.monotonic() + PATIENCE_S
        while run.job not in self._files:
            assert time.monotonic() < end, "a job without its file"
            time.sleep(0.01)
        return wire.unpack_job(self._files[run.job])

    def beat(self) -> None:
        told = wire.Beat(
            clock=time.monotonic(), rtt_s=None, ahead_s=0.0, room=self.room, memory={}, unbegun={}, spool_left=1
        )
        self.send(self._numbered.plain(told))

    def say(self, message: wire.Message) -> None:
        self.send(self._numbered.number(message))

    def write(self, file: str, raw: bytes) -> None:
        """Adds these bytes to a file of its journal, and sends them."""
        offset = self._sizes.get(file, 0)
        self._sizes[file] = offset + len(raw)
        self.send(self._numbered.plain(wire.Lines(file, offset), raw))

    def send(self, raw: bytes) -> None:
        with contextlib.suppress(ConnectionClosed), self._lock:
            self.connection.send(raw)

    def close(self) -> None:
        self._ended.set()
        self.connection.close_timeout = 0.1
        with contextlib.suppress(Exception):
            self.connection.close()

    # -- what it hears --------------------------------------------------------------------------------------

    def hear(self, kind: type[M]) -> M:
        """The next message of this kind; what has come before is passed over."""
        end = time.monotonic() + PATIENCE_S
        while True:
            while self._heard:
                if isinstance(found := self._heard.popleft(), kind):
                    return found
            assert time.monotonic() < end, f"{self.name} has heard no {kind.__name__}"
            assert self._reader.is_alive() or self._heard, f"{self.name} was closed before a {kind.__name__} came"
            time.sleep(0.01)

    def _read(self) -> None:
        with contextlib.suppress(ConnectionClosed):
            for raw in self.connection:
                assert isinstance(raw, bytes)
                found = wire.read_frame(raw, wire.to_host)
                if not self._numbered.take(found):
                    continue
                if isinstance(found.message, wire.Blob):
                    key = found.message.sha256
                    self._files[key] = self._files.get(key, b"")[: found.message.offset] + found.body
                elif not isinstance(found.message, wire.Echo):
                    self._heard.append(found.message)

    def _beat_on(self) -> None:
        while not self._ended.wait(0.5):
            self.beat()


def ending(host: str, job: ShardJob, unit: int = 0, /, **more: Any) -> bytes:
    """The journal line of a unit of a job that has ended well."""
    order = job.units.orders[unit]
    told = {"shard": job.manifest.id, "task": job.ids[order.position][0], "host": host, "success": True}
    told |= {"repeat": order.repeat, "attempt": order.attempt}
    told["started_at"] = float(int(time.time()))  # of one length, as the same line is written again
    return msgspec.json.encode(attempt_line(**told | more)) + b"\n"


def _call(spec: HostSpec) -> tuple[connect, ClientConnection]:
    """What keeps a connection, and the connection. Calls again, as any host does: a master that is busy hangs up."""
    until = time.monotonic() + PATIENCE_S
    while True:
        try:
            connecting = connect(
                f"wss://127.0.0.1:{spec.port}/",
                ssl=trusting(spec.certificate),
                additional_headers={"Authorization": f"Bearer {spec.token}"},
                user_agent_header=None,
                compression=None,
                max_size=None,
                proxy=None,
                open_timeout=PATIENCE_S,
            )
            return connecting, connecting.__enter__()
        except (OSError, ConnectionClosed, InvalidMessage):
            if time.monotonic() > until:
                raise
            time.sleep(0.1)
