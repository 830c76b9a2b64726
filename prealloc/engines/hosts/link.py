"""A host's encrypted connection to the master: WebSocket over TLS, in a thread of its own at both ends.

The rest of the program sees whole frames: `send`, and a mailbox that can be polled. What a connection loses with its
end is the caller's to send again. A side that hears nothing for SILENT_S ends the connection: a link that is cut tells
nothing by itself, and a write that waits hides it.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import gc
import hashlib
import os
import socket
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, NamedTuple

from prealloc.engines.hosts.spec import HostSpec, Identity, needs_extra, trusting
from prealloc.engines.hosts.wire import MOST_FRAME
from prealloc.errors import EngineError
from prealloc.processes.forks import forks

if TYPE_CHECKING:
    from websockets.asyncio.connection import Connection
    from websockets.asyncio.server import ServerConnection
    from websockets.http11 import Request, Response

SILENT_S = 3.0
AGAIN_S = 0.2
REFUSED = 3
"""Refusals in a row, within a second, after which the master's process is surely gone."""
STRANGERS = 64
"""Connections that have not shown a token yet; then the oldest goes."""
MOST_HELD = 64 * 2**20
"""Bytes that have come from all hosts together and wait for the master."""
MOST_UNSENT = 64 * 2**20
"""Bytes that wait for a host that does not take them."""
_BEARER = "Bearer "
_SETTINGS: dict[str, Any] = {
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
        self.held = 0
        self._event = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)

    def fileno(self) -> int:
        """Readable when there is news."""
        return self._event

    def put(self, news: News) -> None:
        if isinstance(news, Heard):
            self.held += len(news.raw)
        self._news.append(news)
        if not self._told:
            self._told = True
            os.eventfd_write(self._event, 1)

    def take(self) -> list[News]:
        """All that has come, in order. Never waits."""
        with contextlib.suppress(BlockingIOError):
            os.eventfd_read(self._event)
        self._told = False  # before the news is taken: what comes from now on is told again
        found = [self._news.popleft() for _ in range(len(self._news))]
        self.held -= sum(len(news.raw) for news in found if isinstance(news, Heard))
        return found

    def close(self) -> None:
        os.close(self._event)


class Link:
    """One connection."""

    def __init__(self, name: str, loop: asyncio.AbstractEventLoop, connection: Connection) -> None:
        self.name = name
        self._loop = loop
        self._connection = connection
        self._urgent: deque[bytes] = deque()
        self._bulk: deque[Iterator[bytes]] = deque()
        self._unsent = 0
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
            self._unsent += len(raw)
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
                    self._unsent -= len(raw)
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
            if self._unsent > MOST_UNSENT:
                self._connection.transport.abort()
                return f"{MOST_UNSENT // 2**20} MB wait for it"


class _Thread:
    """An event loop in a thread of its own."""

    def __init__(self, work: Callable[[], Any]) -> None:
        self.loop = asyncio.new_event_loop()
        self._work = work
        self._thread = threading.Thread(target=self._run, name="prealloc-link", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        asyncio.set_event_loop(self.loop)
        try:
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


class _Door(socket.socket):
    """A listening socket that lets only so many in who have not said who they are."""

    strangers: deque[socket.socket]
    _came = 0

    def accept(self) -> tuple[socket.socket, Any]:
        found, address = super().accept()
        self._came += 1
        if self._came % STRANGERS == 0:  # asyncio leaves those that have failed in cycles, each of 300 kB
            gc.collect()
        self.strangers = deque(each for each in self.strangers if each.fileno() >= 0)
        self.strangers.append(found)
        while len(self.strangers) > STRANGERS:
            with contextlib.suppress(OSError):
                self.strangers.popleft().shutdown(socket.SHUT_RDWR)
        return found, address

    def known(self, peer: Any) -> None:
        """Who has this address has shown a token."""
        for each in self.strangers:
            with contextlib.suppress(OSError):
                if each.getpeername() == peer:
                    self.strangers.remove(each)
                    return


class Listener:
    """The master's end. `reply` answers a frame at once, in the link's thread."""

    def __init__(
        self, address: str, port: int, identity: Identity, reply: Callable[[str, bytes], bytes | None]
    ) -> None:
        """Raises EngineError if it cannot listen there."""
        try:
            import websockets.asyncio.server  # noqa: F401  # here, so that it is missing now
        except ImportError as error:
            raise needs_extra(error) from None
        self.mailbox = Mailbox()
        self._names: dict[bytes, str] = {}
        self._reply = reply
        self._identity = identity
        self._door = _listening(address, port)
        self.port: int = self._door.getsockname()[1]
        forks.keep_from(self._door.fileno())
        self._stop: asyncio.Event | None = None
        self._started = threading.Event()
        self._thread = _Thread(self._serve)
        self._started.wait(10)

    def admit(self, token: str, name: str) -> None:
        """From now on, who shows this token is the host of this name."""
        self._names[_digest(token)] = name

    def strike(self, token: str) -> None:
        """The token is void. A connection that has shown it goes on."""
        self._names.pop(_digest(token), None)

    def close(self) -> None:
        """Ends all connections, once what was sent on them is on its way. May be called twice."""
        if self._stop is None:
            return
        forks.forget(self._door.fileno())
        with contextlib.suppress(RuntimeError):
            self._thread.loop.call_soon_threadsafe(self._stop.set)
        self._thread.end(5)
        self._stop = None
        for each in self._door.strangers:  # asyncio leaves those that have failed open
            each.close()
        self._door.close()
        self.mailbox.close()

    async def _serve(self) -> None:
        from websockets.asyncio.server import serve

        self._stop = asyncio.Event()
        try:
            serving = serve(
                self._handle,
                sock=self._door,
                ssl=self._identity.context,
                process_request=self._admit,
                server_header=None,
                backlog=16,
                **_SETTINGS,
            )
            async with serving:
                self._started.set()
                await self._stop.wait()
        finally:
            self._started.set()

    def _admit(self, connection: ServerConnection, request: Request) -> Response | None:
        """Checks the token, before anything is taken in."""
        shown = request.headers.get("Authorization", "")
        name = self._names.get(_digest(shown.removeprefix(_BEARER)))
        if name is None:
            return connection.respond(HTTPStatus.UNAUTHORIZED, "unknown token\n")
        self._door.known(connection.remote_address)
        connection.username = name
        return None

    async def _handle(self, connection: ServerConnection) -> None:
        link = Link(connection.username, self._thread.loop, connection)
        self.mailbox.put(Opened(link))
        reason = await link.carry(self.mailbox, lambda raw: self._reply(link.name, raw))
        self.mailbox.put(Closed(link, reason))


class Caller:
    """A host's end: it connects, and connects again, until it is closed."""

    def __init__(self, spec: HostSpec) -> None:
        try:
            import websockets.asyncio.client  # noqa: F401
        except ImportError as error:
            raise needs_extra(error) from None
        self.mailbox = Mailbox()
        self._spec = spec
        self._context = trusting(spec.certificate)
        self._ended = False
        self.heard_at = 0.0
        """When the master has last said anything."""
        self.problem = ""
        """Why there is no connection now."""
        self._thread = _Thread(self._call)

    def close(self, most_s: float = 2.0) -> None:
        """No further connection. What was sent on the present one is on its way."""
        self._ended = True
        self._thread.end(most_s)

    async def _call(self) -> None:
        refused: deque[float] = deque(maxlen=REFUSED)
        expected: tuple[type[Exception], ...] = (OSError, *_handshake_errors())  # a TimeoutError is an OSError
        at = 0
        while not self._ended:
            address = self._spec.addresses[at % len(self._spec.addresses)]
            try:
                await self._once(address)
                refused.clear()
            except expected as error:
                at += 1
                now = time.monotonic()
                everywhere = REFUSED * len(self._spec.addresses)
                if refused.maxlen != everywhere:
                    refused = deque(refused, maxlen=everywhere)
                if _was_refused(error):
                    refused.append(now)
                else:
                    refused.clear()
                gone = len(refused) == everywhere and now - refused[0] < len(self._spec.addresses)
                denied = _status(error) == HTTPStatus.UNAUTHORIZED
                reason = "the master does not know this token (any more)" if denied else _words(error)
                self.problem = f"{address}:{self._spec.port}: {reason}"
                self.mailbox.put(Failed(self.problem, gone or denied))
                await asyncio.sleep(AGAIN_S)

    async def _once(self, address: str) -> None:
        from websockets.asyncio.client import connect

        shown = f"[{address}]" if ":" in address else address
        async with connect(
            f"wss://{shown}:{self._spec.port}/",
            ssl=self._context,
            additional_headers={"Authorization": f"{_BEARER}{self._spec.token}"},
            user_agent_header=None,
            proxy=None,
            **_SETTINGS,
        ) as connection:
            link = Link(self._spec.name, self._thread.loop, connection)
            self.problem = ""
            self.mailbox.put(Opened(link))
            reason = await link.carry(self.mailbox, self._heard)
            self.mailbox.put(Closed(link, reason))
            connection.transport.abort()

    def _heard(self, raw: bytes) -> None:
        self.heard_at = time.monotonic()


def own_addresses(listen: str) -> tuple[str, ...]:
    """Where a host may reach a master that listens there."""
    if listen not in ("0.0.0.0", "::", ""):
        return (listen,)
    import psutil

    name = socket.gethostname()
    found: list[str] = [name]
    with contextlib.suppress(OSError), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.connect(("192.0.2.1", 9))  # nothing is sent: the kernel only chooses our address on the way there
        found.append(probe.getsockname()[0])
    # Nodes of a cluster often have neither a route to everywhere nor a name that the others can look up.
    for entries in psutil.net_if_addrs().values():
        found += [entry.address for entry in entries if entry.family == socket.AF_INET]
    return tuple(dict.fromkeys(each for each in found if not each.startswith("127."))) or ("127.0.0.1",)


def _listening(address: str, port: int) -> _Door:
    try:
        family, _, _, _, place = socket.getaddrinfo(
            address or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        door = _Door(family, socket.SOCK_STREAM)
        door.strangers = deque()
        try:
            door.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            door.bind(place)
            door.listen(128)
            door.setblocking(False)
        except OSError:
            door.close()
            raise
    except OSError as error:
        raise EngineError(
            f"the master cannot listen on {address}:{port}: {error.strerror}",
            hint="name another ‹listen› address of this machine",
        ) from None
    return door


def _digest(token: str) -> bytes:
    """What tokens are looked up by: then how long that takes tells nothing of them."""
    return hashlib.sha256(token.encode(errors="replace")).digest()


def _handshake_errors() -> tuple[type[Exception], ...]:
    from websockets.exceptions import WebSocketException

    return (WebSocketException,)


def _was_refused(error: BaseException) -> bool:
    if isinstance(error, ExceptionGroup):
        return all(map(_was_refused, error.exceptions))
    return isinstance(error, OSError) and (
        error.errno == errno.ECONNREFUSED or ("Connect call failed" in str(error) and "111" in str(error))
    )


def _status(error: BaseException) -> int | None:
    return getattr(getattr(error, "response", None), "status_code", None)


def _words(error: BaseException) -> str:
    text = str(error) or type(error).__name__
    number = getattr(error, "errno", None)
    return f"{os.strerror(number)} (errno {number})" if isinstance(number, int) and number > 0 else text
