"""The socket on which a run's master is asked for changes: a line of JSON in, a line of JSON out.

Only its owner can open it: it lies in a folder of mode 0700, has mode 0600, and whoever connects is asked for by the
kernel. The run folder names it. Nothing waits here: the master looks in between two events.
"""

from __future__ import annotations

import contextlib
import os
import socket
import struct
import time
from collections.abc import Iterator
from pathlib import Path

from prealloc.files.atomic import must_write, write_file
from prealloc.files.faultpoint import Point, fault_point
from prealloc.files.paths import RunPaths, control_sockets
from prealloc.files.private import private_folder
from prealloc.files.regular import Unusable
from prealloc.processes.forks import forks

MOST_BYTES = 2**16
"""Of a request."""
MOST_CLIENTS = 16
PATIENCE_S = 5.0
"""A client that has not said what it wants by then is sent away."""
_CREDENTIALS = struct.Struct("3i")
"""pid, uid, gid: Linux's struct ucred."""


class NoSocket(Exception):
    """The system has no place for it; says why."""


class ControlSocket:
    """The master's end. It is there while the object is open. Raises NoSocket, and CannotGoOn for a full disk."""

    def __init__(self, run: RunPaths) -> None:
        self._run = run
        self._clients: dict[socket.socket, tuple[bytearray, float]] = {}
        self._path, self._listener = _listen(run)
        try:
            with must_write(run.control):
                write_file(run.control, os.fsencode(self._path))
        except BaseException:
            self.close()
            raise

    def requests(self) -> Iterator[tuple[bytes, socket.socket]]:
        """What clients have asked for since the last call, and where each waits for its answer. Never waits itself.

        A client that has left has no wish any more.
        """
        while len(self._clients) < MOST_CLIENTS:
            try:
                client, _ = self._listener.accept()
            except OSError:  # nobody is there; or the system has no descriptor left
                break
            client.setblocking(False)
            if peer_uid(client) in (None, os.getuid()):
                self._clients[client] = bytearray(), time.monotonic()
            else:
                client.close()
        for client, (heard, since) in list(self._clients.items()):
            gone = _hear(client, heard)
            if gone or len(heard) > MOST_BYTES or (b"\n" not in heard and time.monotonic() - since > PATIENCE_S):
                del self._clients[client]
                client.close()
            elif b"\n" in heard:
                del self._clients[client]
                yield bytes(heard), client

    def close(self) -> None:
        """Takes the socket away."""
        for client in self._clients:
            client.close()
        forks.forget(self._listener.fileno())
        self._listener.close()
        for path in (self._path, self._run.control):
            with contextlib.suppress(OSError):
                os.unlink(path)


def answer(client: socket.socket, line: bytes) -> None:
    """Answers a client, and hangs up. One that does not listen has no use for it."""
    with client, contextlib.suppress(OSError):
        client.settimeout(0.5)
        client.sendall(line + b"\n")


def peer_uid(connected: socket.socket) -> int | None:
    """The user at the other end; None where the system does not say."""
    option = getattr(socket, "SO_PEERCRED", None)
    if option is None:
        return None
    _, uid, _ = _CREDENTIALS.unpack(connected.getsockopt(socket.SOL_SOCKET, option, _CREDENTIALS.size))
    return int(uid)


def _listen(run: RunPaths) -> tuple[Path, socket.socket]:
    """At the first place where that is possible. Raises NoSocket if there is none."""
    if not hasattr(socket, "AF_UNIX"):
        raise NoSocket("this system has no Unix sockets")
    reason = "no folder for it has a path that is short enough"
    for path in control_sockets(run.root):
        try:
            with contextlib.suppress(OSError):
                os.makedirs(path.parent.parent, exist_ok=True)
            private_folder(path.parent)
        except Unusable as error:
            reason = str(error)
            continue
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(path)  # of a master that was killed: the run's lock is ours
            fault_point(Point.CONTROL_BIND)
            listener.bind(os.fspath(path))
            os.chmod(path, 0o600)
            listener.listen(MOST_CLIENTS)
            listener.setblocking(False)
        except OSError as error:
            listener.close()
            reason = f"{path}: {error.strerror or error}"
            continue
        forks.keep_from(listener.fileno())
        return path, listener
    raise NoSocket(reason)


def _hear(client: socket.socket, heard: bytearray) -> bool:
    """Takes in what a client has said. True: it has left."""
    try:
        while chunk := client.recv(MOST_BYTES):
            heard += chunk
            if len(heard) > MOST_BYTES:
                return True
    except BlockingIOError:
        return False
    except OSError:
        return True
    return True
