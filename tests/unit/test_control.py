"""`prealloc ctl`: who may ask, what is refused, what is recorded, and what the engine is told."""

from __future__ import annotations

import json
import os
import select
import socket
import stat
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from command_line import Type

import prealloc
from prealloc.api.control import _connected, change
from prealloc.engines import control_socket
from prealloc.engines.control_socket import ControlSocket, NoSocket
from prealloc.errors import OptionsError, RunFolderError
from prealloc.files.paths import MOST_SOCKET_BYTES, RunPaths, control_sockets
from prealloc.model.steer import Change, Course

WORKER = """
import time
from pathlib import Path

def solve(task, ctx):
    Path(f"began.{ctx.shard}.{task.id}").touch()
    while not Path("go").exists():
        time.sleep(0.005)
    return {"success": True}
"""


@pytest.fixture
def paths(tmp_path: Path) -> RunPaths:
    return RunPaths(tmp_path)


@pytest.fixture
def open_socket(paths: RunPaths) -> Iterator[ControlSocket]:
    made = ControlSocket(paths)
    yield made
    made.close()


def connect(paths: RunPaths) -> socket.socket:
    client = socket.socket(socket.AF_UNIX)
    client.connect(paths.control.read_text())
    return client


def asked(open_socket: ControlSocket) -> list[bytes]:
    found = []
    for raw, client in open_socket.requests():
        found.append(raw)
        client.close()
    return found


def test_only_its_owner_can_open_it(paths: RunPaths, open_socket: ControlSocket) -> None:
    """The folder has mode 0700, the socket 0600, and the run folder names it. It is gone at the end."""
    path = Path(paths.control.read_text())
    assert path.parent == Path(os.environ["XDG_RUNTIME_DIR"], "prealloc")
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    open_socket.close()
    assert not path.exists()
    assert not paths.control.exists()


def test_another_user_is_sent_away(
    paths: RunPaths, open_socket: ControlSocket, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever the modes say, the kernel is asked who is at the other end."""
    monkeypatch.setattr(control_socket, "peer_uid", lambda connected: os.getuid() + 1)
    with connect(paths) as client:
        assert asked(open_socket) == []
        assert client.recv(10) == b""
    monkeypatch.undo()
    with connect(paths) as client:
        client.sendall(b"{}\n")
        assert control_socket.peer_uid(client) == os.getuid()
        assert asked(open_socket) == [b"{}\n"]


def test_no_client_keeps_the_master_waiting(
    paths: RunPaths, open_socket: ControlSocket, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that says nothing, half a line, too much, or leaves, has no wish; the next one is heard."""
    silent, half, loud, gone = (connect(paths) for _ in range(4))
    half.sendall(b'{"workers":')
    gone.sendall(b'{"pause":true}\n')
    gone.close()
    loud.setblocking(False)
    while len(select.select([], [loud], [], 0)[1]):
        loud.send(b"x" * 2**16)
    assert asked(open_socket) == []
    with connect(paths) as client:
        client.sendall(b'{"workers":2}\n')
        assert asked(open_socket) == [b'{"workers":2}\n']
    half.sendall(b"3}\n")
    assert asked(open_socket) == [b'{"workers":3}\n']
    monkeypatch.setattr(control_socket, "PATIENCE_S", 0.0)
    assert asked(open_socket) == []
    silent.settimeout(5)
    assert silent.recv(10) == b""
    for client in (silent, half, loud):
        client.close()


def test_what_a_killed_master_left_is_replaced(paths: RunPaths) -> None:
    """The place is the run's own: a socket that nobody listens on any more does not stop the next session."""
    left = ControlSocket(paths)
    left._listener.close()  # as the kernel does it; the files stay
    path = Path(paths.control.read_text())
    assert path.exists()
    again = ControlSocket(paths)
    assert Path(paths.control.read_text()) == path
    with connect(paths) as client:
        client.sendall(b"{}\n")
        assert asked(again) == [b"{}\n"]
    again.close()


def test_where_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In the user's runtime folder; without one in a folder of the user's below the temporary one. Paths are short."""
    own = f"prealloc-{os.getuid()}"
    found = [
        path.parent for path in control_sockets(tmp_path, {"XDG_RUNTIME_DIR": "/run/user/7", "TMPDIR": "/scratch"})
    ]
    assert found == [Path("/run/user/7/prealloc"), Path("/scratch", own), Path("/tmp", own)]
    long = "/" + "x" * MOST_SOCKET_BYTES
    assert [path.parent for path in control_sockets(tmp_path, {"XDG_RUNTIME_DIR": long})] == [Path("/tmp", own)]
    assert control_sockets(tmp_path, {"XDG_RUNTIME_DIR": "relative"})[0].parent == Path("/tmp", own)
    one, two = (control_sockets(tmp_path / name)[0].name for name in "ab")
    assert one != two


def test_a_folder_that_others_can_open_is_not_used(
    paths: RunPaths, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It goes to the next place; if there is none, the run goes on without a socket, and says so."""
    places = [tmp_path / "open" / "a.sock", tmp_path / "link" / "a.sock", tmp_path / "own" / "a.sock"]
    places[0].parent.mkdir()
    places[0].parent.chmod(0o755)
    (tmp_path / "target").mkdir(mode=0o700)
    places[1].parent.symlink_to(tmp_path / "target")
    monkeypatch.setattr(control_socket, "control_sockets", lambda run: places)
    made = ControlSocket(paths)
    assert paths.control.read_text() == str(places[2])
    made.close()
    places.pop()
    with pytest.raises(NoSocket, match="link: it is not a folder"):
        ControlSocket(paths)


def test_a_change_is_checked() -> None:
    """All mistakes at once, by the names of options."""
    with pytest.raises(OptionsError) as error:
        Change.checked(workers=0, concurrency=True, pause="yes", rate=-1, lane="k")  # type: ignore[arg-type]
    assert {mistake.where for mistake in error.value.mistakes} == {"‹workers›", "‹concurrency›", "‹rate›", "pause"}
    with pytest.raises(OptionsError, match="each needs the other"):
        Change.checked(rate=0.5)
    assert Change.checked(lane="k", rate=0.5).rate == 0.5


# -- a run that is running ----------------------------------------------------------------------------------


class Running:
    """A run in a thread of this process, whose tasks wait until they may go."""

    def __init__(self, engine: str, **options: Any) -> None:
        self.events: list[Any] = []
        self.ended: list[prealloc.RunEnded] = []
        self._thread = threading.Thread(target=self._run, args=(engine, options), daemon=True)
        self._thread.start()
        self.until(lambda: RunPaths(Path("run")).control.exists(), "socket")

    def _run(self, engine: str, options: dict[str, Any]) -> None:
        program = "sh -c 'until [ -e go ]; do sleep 0.01; done # {manifest}'"
        worker = "control_worker:solve" if engine != "command" else program
        self.ended.append(prealloc.run("plan", worker, "run", engine=engine, observe=self.events.append, **options))

    def until(self, condition: Any, what: str) -> None:
        for _ in range(3000):
            if condition():
                return
            assert self._thread.is_alive(), f"it ended before there was a {what}: {self.ended}"
            self._thread.join(0.01)
        raise AssertionError(f"no {what}")

    def end(self) -> prealloc.RunEnded:
        Path("go").touch()
        self._thread.join(60)
        return self.ended[0]

    def of(self, name: str) -> list[Any]:
        """The events of this name."""
        return [event for event in self.events if type(event).__name__ == name]

    @staticmethod
    def began() -> int:
        return len(list(Path().glob("began.*")))


@pytest.fixture
def plan(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, type_: Type) -> Iterator[None]:
    """Three shards of four tasks, on two lanes."""
    tasks = [{"id": f"t{i}", "type": "a", "workflow": {}} for i in range(4)]
    Path("tasks.json").write_text(json.dumps({"tasks": tasks}))
    Path("control_worker.py").write_text(WORKER)
    monkeypatch.syspath_prepend(tmp_path)
    lanes = [
        prealloc.Lane.checked(name="k1", models=("m1", "m2"), shards_at_once=4, requests_per_minute=60),
        prealloc.Lane.checked(name="k2", models=("m3",), queries_per_second=9),
    ]
    prealloc.plan("tasks.json", out="plan", whole=True, lanes=lanes, factors={"model": ["m1", "m2", "m3"]})
    yield
    Path("go").touch()


def test_a_run_changes_while_it_runs(plan: None, type_: Type) -> None:
    """The answer says how it goes on; the journal records each change, the observer is told."""
    run = Running("local", workers=2)
    run.until(lambda: run.began() == 2, "start")
    shown = type_("ctl", "run")
    assert (shown.code, shown.out) == (
        0,
        (
            "workers at most 2, each with 1 task at once\nshards  2 running, 1 waiting\n"
            "lanes   k1  1 requests/s\n        k2  9 requests/s\n"
        ),
    )
    course = change("run", pause=True, concurrency=3)
    assert (course.paused, course.concurrency, course.running, course.waiting) == (True, 3, 2, 1)
    assert prealloc.status("run").paused
    assert "paused: no further task starts" in type_("status", "run").out
    assert change("run", workers=3).workers == 3
    assert run.began() == 2
    assert type_("ctl", "run", "--resume").code == 0
    run.until(lambda: run.began() == 9, "nine tasks at once")
    done = type_("ctl", "run", "--lane", "k1", "--rate", "5", "--json")
    assert json.loads(done.out)["lanes"][0] == {"name": "k1", "per_s": 1.0, "halted": None}
    assert json.loads(done.out)["notes"] == ["its requests_per_minute of 60 still holds"]
    assert change("run", lane="k2", rate=0.5).lanes[1].per_s == 0.5
    refused = type_("ctl", "run", "--lane", "k3", "--rate", "5")
    assert (refused.code, refused.err.splitlines()[0]) == (2, "error  --lane: the run has no lane k3")
    assert type_("ctl", "run", "--pause", "--resume").code == 2
    ended = run.end()
    assert ended.exit_code == 0
    lines = [json.loads(line) for line in Path("run/journal/supervisor.0001.jsonl").read_bytes().splitlines()]
    assert [line["change"] for line in lines if line["kind"] == "steered"] == [
        {"concurrency": 3, "pause": True},
        {"workers": 3},
        {"pause": False},
        {"lane": "k1", "rate": 5.0},
        {"lane": "k2", "rate": 0.5},
    ]
    assert [(event.workers, event.concurrency, event.paused) for event in run.of("RunSteered")[:3]] == [
        (2, 3, True),
        (3, 3, True),
        (3, 3, False),
    ]
    assert [(event.lane, event.limit, event.reason) for event in run.of("LaneChanged")] == [
        ("k1", 5.0, "set by prealloc ctl"),
        ("k2", 0.5, "set by prealloc ctl"),
    ]
    with pytest.raises(RunFolderError, match="not running"):
        change("run")
    assert not prealloc.status("run").paused


def test_fewer_workers_hold_the_latest_shards(plan: None) -> None:
    """What runs may end; a shard that is held goes on when another has ended, so all come to their end."""
    run = Running("local", workers=3, concurrency=2)
    run.until(lambda: run.began() == 6, "start")
    assert change("run", workers=1).running == 3
    ended = run.end()
    assert (ended.exit_code, run.began()) == (0, 12)


def test_a_program_cannot_be_held(plan: None) -> None:
    """What would have no effect on programs that run is refused, or said."""
    run = Running("command", workers=1)
    run.until(lambda: run.of("ShardStarted"), "start")
    for given in ({"concurrency": 2}, {"lane": "k1", "rate": 5}):
        with pytest.raises(OptionsError, match="so it cannot be changed now"):
            change("run", **given)  # type: ignore[arg-type]
    course = change("run", pause=True)
    assert course.notes == ("a program that runs cannot be held: those that run go on to their end",)
    Path("go").touch()
    run.until(lambda: run.of("ShardEnded"), "end")
    assert (change("run").running, change("run").waiting) == (0, 2)
    assert change("run", pause=False, workers=2).workers == 2
    assert run.end().census["not_run"] == 12
    assert len(run.of("ShardStarted")) == 3


def test_the_inline_engine_answers_between_two_tasks(plan: None) -> None:
    """It can pause, and refuses what one task at a time does not have."""
    Path("control_worker.py").write_text(WORKER.replace('not Path("go").exists()', "not one_may_go()") + ONE_BY_ONE)
    run = Running("inline")
    run.until(lambda: run.began() == 1, "start")

    def ask(*, let_go: bool, **options: Any) -> Course:
        with _connected(RunPaths(Path("run"))) as server:
            server.sendall(msgspec.json.encode(Change.checked(**options)) + b"\n")
            if let_go:
                Path("one").touch()
            return msgspec.json.decode(server.recv(2**16), type=Course)

    refused = ask(let_go=True, workers=2)
    assert [mistake[1] for mistake in refused.mistakes] == [
        "the inline engine runs one task at a time, so it cannot be changed now"
    ]
    run.until(lambda: run.began() == 2, "second start")
    assert ask(let_go=True, pause=True).paused
    assert not ask(let_go=False).mistakes
    assert run.began() == 2
    assert not ask(let_go=False, pause=False).paused
    run.until(lambda: run.began() == 3, "third start")
    assert run.end().exit_code == 0


ONE_BY_ONE = """

def one_may_go():
    if Path("go").exists():
        return True
    there = Path("one").exists()
    Path("one").unlink(missing_ok=True)
    return there
"""
