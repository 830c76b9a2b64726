"""Row 28: what importing the worker's module does to the process that workers are forked from."""

from __future__ import annotations

from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from harness import Stage
from serving import serving

import prealloc

pytestmark = [pytest.mark.fault, pytest.mark.fresh]


class Echo(BaseHTTPRequestHandler):
    """Answers with what it was sent, over connections that stay open."""

    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        text = self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(200)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, *arguments: Any) -> None: ...


class Server(ThreadingHTTPServer):
    daemon_threads = True


def test_a_connection_that_is_made_at_import(stage: Stage) -> None:
    """Workers that are forked with it would share it, and be `ok` with each other's answers: each imports by itself.

    The note names the connection.
    """
    stage.make_plan({f"t{n}": {"do": "ask"} for n in range(10)}, shards=4, strategy="paired")
    with serving(Server(("127.0.0.1", 0), Echo)) as server:
        port = server.server_address[1]
        words = ("run", str(stage.plan), "--worker", "leaving_import:ask", "--out", str(stage.run), "--workers", "4")
        session = stage.command(*words, environment={"ECHO_PORT": str(port)})
        assert session.wait() == 0, session.output()
    results = [outcome.read().result for outcome in prealloc.outcomes(stage.run)]
    assert results == [{"success": True, "imported_here": True}] * 40
    (note,) = session.notes()
    assert f"leaving_import leaves open: a connection to 127.0.0.1:{port};" in note
    stage.check(session)


def test_a_module_that_changes_signals_at_import(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """The fork server heeds SIGCHLD again, so deaths are known; it is preloaded all the same. Without, no end comes.

    Workers have numbers of their own from numpy's global generator too, and one thread for numerical libraries.
    """
    monkeypatch.delenv("OPENBLAS_NUM_THREADS")  # conftest.py's
    stage.make_plan({f"t{n}": {"do": "kill_self" if n == 0 else "ok"} for n in range(3)}, shards=3, strategy="paired")
    session = stage.start("--timeout", "none", "--workers", "3", worker="meddling_import:act")
    assert session.wait() == 1, session.output()
    assert session.census == {"ok": 6, "crashed": 3}
    assert not session.notes(), "it leaves nothing behind"
    results = [result for outcome in prealloc.outcomes(stage.run) if (result := outcome.read().result)]
    assert not any(result["imported_here"] for result in results)
    assert all(result["threads"] == ["1", "1", "1"] for result in results)
    assert len({result["random"] for result in results}) == 6
    by_worker = {result["numpy"] for result in results}
    assert len(by_worker) >= 3
    assert 42 not in by_worker
    stage.check(session)


@pytest.mark.parametrize(
    ("ending", "told"),
    [
        ("exit", "importing its module ends the process: exit code 7; it printed:"),
        ("kill", "importing its module ends the process: killed by SIGKILL; it printed:"),
        ("hang", "importing its module takes longer than --start-timeout 6 s; it printed:"),
    ],
)
def test_an_import_that_does_not_come_back(stage: Stage, ending: str, told: str) -> None:
    """Told by its cause with the last lines it printed, no key among them; 2, for there is no run to resume."""
    stage.make_plan(2)
    words = ("run", str(stage.plan), "--worker", "ending_import:act", "--out", str(stage.run), "--start-timeout", "6")
    session = stage.command(*words, environment={"ENDING": ending})
    assert session.wait() == 2
    output = session.output()
    assert told in output
    assert "no GPU here, leaving" in output
    assert "the key was ***" in output
    assert "sk-abc" not in output
    assert "Traceback" not in output
    assert "resume" not in output
    if ending == "hang":
        session.wait_for("note", text="importing ending_import; it may take up to 6 s")
    assert not stage.run.exists()
    assert not stage.alive()
