"""A host's encrypted connection to the master: WebSocket over TLS, in a thread of its own at both ends.

The rest of the program sees whole frames: `send`, and a mailbox that can be polled. What a connection loses with its
end is the caller's to send again. A side that hears nothing for SILENT_S ends the connection: a link that is cut tells
nothing by itself, and a write that waits hides it.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

from prealloc.engines.hosts.wire import MOST_FRAME
from prealloc.model.words import size
from prealloc.processes.setting import SWITCH_INTERVAL

if TYPE_CHECKING:
    from websockets.asyncio.connection import Connection


SILENT_S = 3.0
MOST_HELD = 32 * 2**20
"""Bytes that have come from all hosts together and wait for the master."""
MOST_UNSENT = 64 * 2**20
"""Bytes that wait for a host that does not take them."""
SWITCH_S = 0.0005
"""How long a thread may go on computing while another one of the program has something to do. A turn of a lane changes
threads several times, and Python's own 5 ms for each would be most of its way.
"""
BEARER = "Bearer "
SETTINGS: dict[str, Any] = {
    "compression": None,
    "max_size": MOST_FRAME + 4096,
    "max_queue": 4,
    "write_limit": 65536,
    "ping_interval": None,  # our own beats are seen where a write waits, too
    "open_timeout": 5,
    "close_timeout": 1,
    "ssl_handshake_timeout": 5,
    "ssl_shutdown_timeout": 1,
}


class Opened(NamedTuple):
    """There is a connection."""

    link: Link


class Heard(NamedTuple):
    """A frame has come."""

    link: Link
    raw: bytes
    at: float
    """When, by our monotonic clock."""


class Closed(NamedTuple):
    """The connection is gone, and what was on its way with it."""

    link: Link
    reason: str


class Failed(NamedTuple):
    """A connection was not made."""

    reason: str
    final: bool
    """And none will be: the master is gone, or knows nothing of this token."""


News = Opened | Heard | Closed | Failed


class Mailbox:
    """News from the link's thread."""

    def __init__(self) -> None:
        self._news: deque[News] = deque()
        self._told = False
        """There is news that nobody has taken, and the descriptor says so."""
        self._came = self._gone = 0
        """Bytes, each counted by one thread alone: two that add to the same number lose some."""
        self._event = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)

    def fileno(self) -> int:
        """Readable when there is news."""
        return self._event

    @property
    def held(self) -> int:
        """Bytes that wait, with those that whoever takes them looks at now."""
        return self._came - self._gone

    def put(self, news: News) -> None:
        if isinstance(news, Heard):
            self._came += len(news.raw)
        self._news.append(news)
        if not self._told:
            self._told = True
            os.eventfd_write(self._event, 1)

    def take(self) -> Iterator[News]:
        """All that has come, in order, each let go of before the next. Never waits."""
        with contextlib.suppress(BlockingIOError):
            os.eventfd_read(self._event)
        self._told = False  # before the news is taken: what comes from now on is told again
        for _ in range(len(self._news)):
            news = self._news.popleft()
            yield news
            if isinstance(news, Heard):
                self._gone += len(news.raw)

    def close(self) -> None:
        os.close(self._event)


class Link:
    """One connection."""

    def __init__(self, name: str, connection: Connection) -> None:
        self.name = name
        self._loop = asyncio.get_running_loop()
        self._connection = connection
        self._urgent: deque[bytes] = deque()
        self._bulk: deque[Iterator[bytes]] = deque()
        self._wake = asyncio.Event()
        self._woken = False
        self._ending = False
        self.open = True
        self.broken = False
        """The other side has said what the protocol does not allow."""
        self.heard_at = time.monotonic()

    def send(self, raw: bytes) -> None:
        """Sends a frame, in order. What cannot be sent is lost with the connection."""
        if self.open:
            self._urgent.append(raw)
            self._nudge()

    def feed(self, pieces: Iterator[bytes]) -> None:
        """Sends these frames whenever nothing else waits. They are made in the link's thread."""
        if self.open:
            self._bulk.append(pieces)
            self._nudge()

    def close(self) -> None:
        """Ends the connection once what was sent is on its way."""
        self._ending = True
        self._nudge()

    def abort(self) -> None:
        """Ends it now."""
        with contextlib.suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self._connection.transport.abort)

    def _nudge(self) -> None:
        if not self._woken:
            self._woken = True
            with contextlib.suppress(RuntimeError):  # the loop has ended
                self._loop.call_soon_threadsafe(self._wake.set)

    async def carry(self, mailbox: Mailbox, reply: Callable[[bytes], bytes | None]) -> str:
        """Reads and writes until the connection ends. Gives the reason."""
        reader = asyncio.create_task(self._read(mailbox, reply))
        tasks = [reader, asyncio.create_task(self._write()), asyncio.create_task(self._watch())]
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            self.open = False
            for task in tasks:
                task.cancel()
            wrong = self._connection.protocol.parser_exc
            self.broken = self.broken or not (wrong is None or isinstance(wrong, EOFError))
        for task in done:
            error = task.exception()
            if error is None:
                return str(task.result())
            return f"{type(error).__name__}: {error}"
        return "it has ended"

    async def _read(self, mailbox: Mailbox, reply: Callable[[bytes], bytes | None]) -> str:
        async for raw in self._connection:
            self.heard_at = time.monotonic()
            if isinstance(raw, str):
                self.broken = True
                return "it has sent text"
            if (answer := reply(raw)) is not None:
                self.send(answer)
            mailbox.put(Heard(self, raw, self.heard_at))
            while mailbox.held > MOST_HELD:
                await asyncio.sleep(0.01)
                self.heard_at = time.monotonic()
        return "the other side has closed it"

    async def _write(self) -> str:
        while True:
            self._woken = False
            self._wake.clear()
            while self._urgent or self._bulk:
                if self._urgent:
                    raw = self._urgent.popleft()
                else:
                    piece = next(self._bulk[0], None)
                    if piece is None:
                        self._bulk.popleft()
                        continue
                    raw = piece
                await self._connection.send(raw)
            if self._ending:
                await self._connection.close()
                return "closed"
            await self._wake.wait()

    async def _watch(self) -> str:
        while True:
            await asyncio.sleep(SILENT_S / 6)
            if time.monotonic() - self.heard_at > SILENT_S:
                self._connection.transport.abort()
                return f"nothing was heard for {SILENT_S:g} s"
            if sum(map(len, [*self._urgent])) > MOST_UNSENT:
                self._connection.transport.abort()
                return f"{size(MOST_UNSENT)} wait for it"


class LinkThread:
    """An event loop in a thread of its own."""

    def __init__(self, work: Callable[[], Any]) -> None:
        self.loop = asyncio.new_event_loop()
        self._work = work
        self._thread = threading.Thread(target=self._run, name="prealloc-link", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        asyncio.set_event_loop(self.loop)
        try:
            with SWITCH_INTERVAL.at(SWITCH_S):
                self.loop.run_until_complete(self._work())
        except asyncio.CancelledError:
            pass
        finally:
            pending = asyncio.all_tasks(self.loop)
            for task in pending:
                task.cancel()
            if pending:
                self.loop.run_until_complete(asyncio.wait(pending, timeout=2))
            self.loop.close()

    def end(self, most_s: float) -> None:
        self._thread.join(most_s)
