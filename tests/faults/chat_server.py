"""A server on loopback that speaks the chat API with tools, keeps to a rate, and says 429 with Retry-After above it."""

from __future__ import annotations

import json
import threading
import time
from collections import Counter, deque
from collections.abc import Mapping
from contextlib import AbstractContextManager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import MappingProxyType
from typing import Any, NamedTuple

from serving import serving

KEY = "the-key-of-the-test"


class Odd(NamedTuple):
    """An answer that is no completion, or an odd one."""

    status: int
    body: object
    """JSON, or the very bytes."""
    headers: Mapping[str, str] = MappingProxyType({})


class ChatServer(ThreadingHTTPServer):
    """Each model calls the tools it was told of in the order of the user's message, one a turn, then says so."""

    daemon_threads = True
    request_queue_size = 256

    def __init__(self, per_second: int | None) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.per_second = per_second
        self.answered: Counter[str] = Counter()
        """Requests by status."""
        self.conversations: Counter[str] = Counter()
        """First requests of conversations, by the user's first message."""
        self.odd: dict[str, list[Odd]] = {}
        """By the task: how its first requests are answered in place of a completion."""
        self.asked: dict[str, list[float]] = {}
        """By the task: when it asked."""
        self.refuse_first = 0
        """So many first requests are turned away, whatever the rate."""
        self._lock = threading.Lock()
        self._went: deque[float] = deque()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/v1"

    def admit(self) -> bool:
        """A sliding second."""
        with self._lock:
            if self.refuse_first > 0:
                self.refuse_first -= 1
                return False
            now = time.monotonic()
            while self._went and self._went[0] <= now - 1:
                self._went.popleft()
            if self.per_second is not None and len(self._went) >= self.per_second:
                return False
            self._went.append(now)
            return True

    def next_odd(self, told: str) -> Odd | None:
        """Takes in that a task asks; it is named in what the user's first message tells."""
        task = told.partition(".")[0].rpartition(" ")[2]
        with self._lock:
            self.asked.setdefault(task, []).append(time.monotonic())
            odd = self.odd.get(task)
            return odd.pop(0) if odd else None

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that has gone away is what these tests are about."""


def chat_server(per_second: int | None = None) -> AbstractContextManager[ChatServer]:
    """A server that answers while the block runs."""
    return serving(ChatServer(per_second))


class _Handler(BaseHTTPRequestHandler):
    server: ChatServer
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if self.headers["Authorization"] != f"Bearer {KEY}":
            self._answer(401, {"error": {"message": "bad key", "type": "auth", "code": "invalid_api_key"}})
        elif odd := self.server.next_odd(asked["messages"][1]["content"]):
            self._answer(*odd)
        elif not self.server.admit():
            told = {"message": "slow down", "type": "rate", "code": "rate_limit"}
            self._answer(429, {"error": told}, {"Retry-After": "1"})
        elif asked["model"] == "dripping":
            self._drip()
        else:
            self._answer(200, _completion(asked, self.server.conversations))

    def _drip(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", "1000000")
        self.end_headers()
        for _ in range(1000):
            self.wfile.write(b" ")
            self.wfile.flush()
            time.sleep(0.1)

    def _answer(self, status: int, content: object, headers: Mapping[str, str] = MappingProxyType({})) -> None:
        self.server.answered[str(status)] += 1
        body = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.send_response(status)
        for name, value in {"Content-Type": "application/json", **headers}.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *arguments: object) -> None:
        """Nothing: the tests look at the counts."""


def _completion(asked: dict[str, Any], conversations: Counter[str]) -> dict[str, Any]:
    """Calls the next tool of the sequence in the user's message; a failed one again."""
    messages = asked["messages"]
    told = messages[1]["content"]
    if len(messages) == 2:
        conversations[told] += 1
    sequence = told.rpartition(": ")[2].split(" -> ") if " in this order: " in told else []
    worked = sum(m["role"] == "tool" and json.loads(m["content"])["status"] == "ok" for m in messages)
    message: dict[str, Any] = {"role": "assistant", "content": "All is done."}
    if worked < len(sequence):
        call = {
            "id": f"c{len(messages)}",
            "type": "function",
            "function": {"name": sequence[worked], "arguments": "{}"},
        }
        message = {"role": "assistant", "content": None, "tool_calls": [call]}
    return {
        "id": "1",
        "object": "chat.completion",
        "created": 0,
        "model": asked["model"],
        "choices": [{"index": 0, "finish_reason": "stop", "message": message}],
        "usage": {"prompt_tokens": 100, "completion_tokens": 10, "total_tokens": 110},
    }
