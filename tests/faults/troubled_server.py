"""A server on loopback that speaks as an LLM's does, and fails as it is told: the first time, or every time.

Beside HTTP (with WebSockets) it speaks what Redis and gRPC clients need to fail in the same ways.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
import socket
import socketserver
import struct
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import grpc
from serving import serving

RETRY_AFTER_S = 3
ONCE = ("429", "500", "503", "reset", "silent", "cut")
"""Troubles that are over when they are met a second time."""
NEVER_REACHED = ("refused", "dns", "tls", "proxy", "garbled")
"""Troubles before the server."""
ALWAYS = ("400", "404")
"""What is wrong with the request itself."""
SILENT_S = 5.0
"""Longer than the clients of these tests wait."""

ANSWER = {
    "id": "1",
    "object": "chat.completion",
    "created": 0,
    "model": "m",
    "choices": [{"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "hello"}}],
    "role": "assistant",  # Anthropic's
    "type": "message",
    "content": [{"type": "text", "text": "hello"}],
    "candidates": [{"content": {"role": "model", "parts": [{"text": "hello"}]}}],  # Google's
    "message": {"role": "assistant", "content": "hello"},  # Ollama's
}


class TroubledServer(ThreadingHTTPServer):
    """Counts the requests by task."""

    daemon_threads = True
    request_queue_size = 256

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.asked: Counter[str] = Counter()
        self.redis = self.grpc = ""
        """Where these are spoken, as an address too."""
        self._lock = threading.Lock()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def place(self, trouble: str, spoken: str = "http") -> str:
        """The address to ask for this trouble, for a client that speaks HTTP, Redis' protocol or gRPC."""
        spoken_here = {"http": self.url, "redis": self.redis, "grpc": self.grpc}
        return {
            "refused": f"http://127.0.0.1:{_closed_port()}",
            "dns": "http://no-such-host.invalid:80",
            "tls": spoken_here[spoken].replace("http", "https"),
            "proxy": "https://behind-the-proxy.invalid:443",
            "garbled": self.url if spoken == "redis" else self.redis,  # a server that speaks something else
        }.get(trouble, spoken_here[spoken])

    def fails(self, trouble: str, task: str) -> bool:
        """Takes in that a task asks, and tells whether this time it meets its trouble."""
        with self._lock:
            self.asked[task] += 1
            return trouble in ALWAYS or (trouble in ONCE and self.asked[task] == 1)

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that has gone away is what these tests are about."""


@contextlib.contextmanager
def troubled_server() -> Iterator[TroubledServer]:
    """A server that answers while the block runs."""
    with serving(TroubledServer()) as server, _redis(server), _grpc(server):
        yield server


def _closed_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port: int = taken.getsockname()[1]
        return port


def _reset(connection: socket.socket) -> None:
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()


class _Handler(BaseHTTPRequestHandler):
    server: TroubledServer
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        """`/<trouble>/<task>/...`."""
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        trouble, task = self.path.split("/")[1:3]
        if self.server.fails(trouble, task):
            self._fail(trouble)
        elif self.headers.get("Upgrade") == "websocket":
            self._upgrade(b"\x81\x05hello")
        else:
            self._answer(200, ANSWER)

    def do_GET(self) -> None:
        """As above."""
        self.do_POST()

    def do_CONNECT(self) -> None:
        """As a proxy it opens no tunnel."""
        self._answer(502, {})

    def _fail(self, trouble: str) -> None:
        if trouble == "reset":
            self.rfile.close()  # the socket is closed only with all that holds it
            self.wfile.close()
            _reset(self.connection)
            self.close_connection = True
        elif trouble == "silent":
            time.sleep(SILENT_S)
        elif trouble == "cut" and self.headers.get("Upgrade") == "websocket":
            self._upgrade(b"\x81\x05he")
        elif trouble == "cut":
            self._answer(200, ANSWER, cut=True)
        else:
            headers = {"Retry-After": str(RETRY_AFTER_S)} if trouble == "429" else {}
            told = {"message": f"trouble {trouble}", "type": "t", "code": "c"}
            self._answer(int(trouble), {"error": told, **told}, headers)

    def _upgrade(self, frame: bytes) -> None:
        key = self.headers["Sec-WebSocket-Key"] + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"  # RFC 6455, 1.3
        self.send_response_only(101)
        self.send_header("Upgrade", "websocket")
        self.send_header("Connection", "Upgrade")
        self.send_header("Sec-WebSocket-Accept", base64.b64encode(hashlib.sha1(key.encode()).digest()).decode())
        self.end_headers()
        self.wfile.write(frame)
        self.close_connection = True

    def _answer(
        self, status: int, content: object, headers: dict[str, str] | None = None, *, cut: bool = False
    ) -> None:
        body = json.dumps(content).encode()
        self.send_response(status)
        told = {"Content-Type": "application/json", "Content-Length": str(len(body)), **(headers or {})}
        for name, value in told.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body[: len(body) // 2] if cut else body)
        self.close_connection = cut

    def log_message(self, format: str, *arguments: object) -> None:
        """Nothing: the tests look at the counts."""


@contextlib.contextmanager
def _redis(troubled: TroubledServer) -> Iterator[None]:
    """A server whose keys are `<trouble>/<task>`; to all else it says OK."""

    class Handler(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            while received := self.request.recv(65536):
                if not received.startswith(b"*"):
                    return self.request.sendall(b"-ERR unknown command\r\n")
                key = next((word for word in received.decode().split("\r\n") if "/" in word), None)
                if key is None:
                    self.request.sendall(b"+OK\r\n" * received.count(b"*"))
                    continue
                trouble, task = key.split("/")
                if not troubled.fails(trouble, task):
                    self.request.sendall(b"$5\r\nhello\r\n")
                elif trouble == "reset":
                    return _reset(self.request)
                elif trouble == "silent":
                    time.sleep(SILENT_S)
                else:
                    return self.request.sendall(b"$5\r\nhe")
            return None

    class Server(socketserver.ThreadingTCPServer):
        daemon_threads = True

        def handle_error(self, request: object, client_address: object) -> None:
            """As above."""

    with serving(Server(("127.0.0.1", 0), Handler)) as server:
        troubled.redis = f"http://127.0.0.1:{server.server_address[1]}"
        yield


GRPC_CODES = {
    "429": grpc.StatusCode.RESOURCE_EXHAUSTED,
    "500": grpc.StatusCode.INTERNAL,
    "503": grpc.StatusCode.UNAVAILABLE,
    "400": grpc.StatusCode.INVALID_ARGUMENT,
    "404": grpc.StatusCode.NOT_FOUND,
}


@contextlib.contextmanager
def _grpc(troubled: TroubledServer) -> Iterator[None]:
    """A server whose methods are `/<trouble>/<task>`."""

    class Methods(grpc.GenericRpcHandler):  # type: ignore[misc]  # it has no types
        def service(self, call: Any) -> Any:
            _, trouble, task = call.method.split("/")

            def answer(request: bytes, context: Any) -> bytes:
                if troubled.fails(trouble, task):
                    if trouble == "silent":
                        time.sleep(SILENT_S)
                    else:
                        context.set_trailing_metadata((("retry-after", str(RETRY_AFTER_S)),) * (trouble == "429"))
                        context.abort(GRPC_CODES[trouble], f"trouble {trouble}")
                return b"hello"

            return grpc.unary_unary_rpc_method_handler(answer)

    server = grpc.server(ThreadPoolExecutor(8), handlers=[Methods()])
    troubled.grpc = f"http://127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    server.start()
    try:
        yield
    finally:
        server.stop(None).wait(10)
