"""A server on loopback that speaks as an LLM's does, and fails as it is told: the first time, or every time."""

from __future__ import annotations

import json
import socket
import struct
import time
from collections import Counter
from contextlib import AbstractContextManager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from serving import serving

RETRY_AFTER_S = 1
ONCE = ("429", "500", "503", "reset", "silent")
"""Troubles that are over when they are met a second time."""
ALWAYS = ("400", "401")


class TroubledServer(ThreadingHTTPServer):
    """Counts the requests by path."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.asked: Counter[str] = Counter()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that has gone away is what these tests are about."""


def troubled_server() -> AbstractContextManager[TroubledServer]:
    """A server that answers while the block runs."""
    return serving(TroubledServer())


class _Handler(BaseHTTPRequestHandler):
    server: TroubledServer

    def do_POST(self) -> None:
        """`/<trouble>/<task>/chat/completions`."""
        self.rfile.read(int(self.headers["Content-Length"]))
        trouble, task = self.path.split("/")[1:3]
        self.server.asked[task] += 1
        if trouble in ALWAYS or (trouble in ONCE and self.server.asked[task] == 1):
            self._fail(trouble)
        else:
            message = {"role": "assistant", "content": f"hello {task}"}
            choice = {"index": 0, "finish_reason": "stop", "message": message}
            self._answer(200, {"id": "1", "object": "chat.completion", "created": 0, "model": "m", "choices": [choice]})

    def _fail(self, trouble: str) -> None:
        if trouble == "reset":
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.connection.close()
        elif trouble == "silent":
            time.sleep(2)
        else:
            headers = {"Retry-After": str(RETRY_AFTER_S)} if trouble == "429" else {}
            self._answer(int(trouble), {"error": {"message": f"trouble {trouble}", "type": "t", "code": "c"}}, headers)

    def _answer(self, status: int, content: object, headers: dict[str, str] | None = None) -> None:
        body = json.dumps(content).encode()
        self.send_response(status)
        for name, value in {**(headers or {}), "Content-Type": "application/json"}.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *arguments: object) -> None:
        """Nothing: the tests look at the counts."""
