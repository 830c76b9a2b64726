"""The master's end of the links: it listens, and lets in who shows a token."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import hashlib
import socket
import threading
import time
from collections import deque
from collections.abc import Callable
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from prealloc.engines.hosts.link import BEARER, SETTINGS, Closed, Link, LinkThread, Mailbox, Opened
from prealloc.engines.hosts.spec import Identity, needs_extra
from prealloc.errors import EngineError
from prealloc.processes.forks import forks

if TYPE_CHECKING:
    from websockets.asyncio.server import ServerConnection
    from websockets.http11 import Request, Response


STRANGERS = 64
"""Connections that have not shown a token yet; then the oldest goes."""
TURN_AWAY_S = 1.0


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
            _hang_up(self.strangers.popleft())
        return found, address

    async def turn_away(self) -> None:
        """Lets nobody in any more, hangs up on strangers, and waits until asyncio has closed their sockets.

        The end of the loop would leave open what is in the middle of a handshake.
        """
        asyncio.get_running_loop().remove_reader(self.fileno())
        for each in self.strangers:
            _hang_up(each)
        end = time.monotonic() + TURN_AWAY_S
        while any(each.fileno() >= 0 for each in self.strangers) and time.monotonic() < end:
            await asyncio.sleep(0.001)

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
        self.identity = identity
        self._door = _listening(address, port)
        self.port: int = self._door.getsockname()[1]
        forks.keep_from(self._door.fileno())
        self._stop: asyncio.Event | None = None
        self._started = threading.Event()
        self._thread = LinkThread(self._serve)
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
                ssl=self.identity.context,
                process_request=self._admit,
                server_header=None,
                backlog=16,
                **SETTINGS,
            )
            async with serving:
                self._started.set()
                await self._stop.wait()
                await self._door.turn_away()
        finally:
            self._started.set()

    def _admit(self, connection: ServerConnection, request: Request) -> Response | None:
        """Checks the token, before anything is taken in."""
        shown = request.headers.get("Authorization", "")
        name = self._names.get(_digest(shown.removeprefix(BEARER)))
        if name is None:
            return connection.respond(HTTPStatus.UNAUTHORIZED, "unknown token\n")
        self._door.known(connection.remote_address)
        connection.username = name
        return None

    async def _handle(self, connection: ServerConnection) -> None:
        link = Link(connection.username, connection)
        self.mailbox.put(Opened(link))
        reason = await link.carry(self.mailbox, lambda raw: self._reply(link.name, raw))
        self.mailbox.put(Closed(link, reason))


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


def _hang_up(stranger: socket.socket) -> None:
    with contextlib.suppress(OSError):
        stranger.shutdown(socket.SHUT_RDWR)


def _digest(token: str) -> bytes:
    """What tokens are looked up by: then how long that takes tells nothing of them."""
    return hashlib.sha256(token.encode(errors="replace")).digest()
