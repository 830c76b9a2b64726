"""A server on loopback that notes when each request arrives, by lane, and turns some of them away."""

from __future__ import annotations

import socket
import struct
import threading
import time
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

Answer = Callable[[str, int], tuple[int, dict[str, str]] | tuple[int, dict[str, str], str]]
"""(lane, requests of it before this one) -> status, headers, and the body if there is one."""


def fullest(moments: Iterable[float], window_s: float) -> int:
    """The most of these moments in any window of so many seconds."""
    ordered = sorted(moments)
    return max((bisect_left(ordered, at + window_s) - place for place, at in enumerate(ordered)), default=0)


def came_at(connection: socket.socket) -> float:
    """When its last bytes came, as the kernel says: on a busy machine we are a fifth of a second late to look."""
    info = connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 56)  # as of linux/tcp.h
    (last_data_recv_ms,) = struct.unpack_from("I", info, 52)
    at: float = time.monotonic() - last_data_recv_ms / 1000
    return at


class CountingServer:
    """Speaks just as much HTTP as is needed: what it costs must not be what limits the rate."""

    def __init__(self, answer: Answer) -> None:
        self.arrived: dict[str, list[float]] = defaultdict(list)
        self._answer = answer
        self._lock = threading.Lock()
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=512)
        self.port: int = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def fullest(self, lane: str, window_s: float) -> int:
        """The most requests of a lane that arrived in any window of so many seconds."""
        return fullest(self.arrived[lane], window_s)

    def rate(self, lane: str) -> float:
        """Requests per second, from the first to the last, without the first and last tenth."""
        moments = sorted(self.arrived[lane])
        middle = moments[len(moments) // 10 : -len(moments) // 10]
        return (len(middle) - 1) / (middle[-1] - middle[0])

    def close(self) -> None:
        """Accepts no more."""
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with connection:
            head = b""
            while not head.endswith(b"{}"):
                if not (chunk := connection.recv(4096)):
                    return
                head += chunk
            at = came_at(connection)
            lane = head.split(b" ", 2)[1].decode().strip("/")
            with self._lock:
                status, headers, *rest = self._answer(lane, len(self.arrived[lane]))
                self.arrived[lane].append(at)
            body = "".join(rest)
            lines = [f"HTTP/1.1 {status} X", f"Content-Length: {len(body)}", "Connection: close"]
            lines += [f"{name}: {value}" for name, value in headers.items()]
            connection.sendall("\r\n".join([*lines, "", body]).encode())


@contextmanager
def counting_server(answer: Answer = lambda lane, before: (200, {})) -> Iterator[CountingServer]:
    """A server that answers while the block runs."""
    server = CountingServer(answer)
    try:
        yield server
    finally:
        server.close()
