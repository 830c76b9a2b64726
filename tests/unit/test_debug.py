"""`prealloc debug`: one unit in this process, as in the run; nothing is recorded unless told to."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest
from command_line import Type
from zygote import run_command

import prealloc
from prealloc.api.debug import debug
from prealloc.errors import OptionsError
from prealloc.model.outcome import Status

WORKER = """
import os
import prealloc

def solve(task, ctx):
    print("a word of the task", flush=True)
    os.system("echo a word of its program")
    seen = {"seed": ctx.seed, "settings": ctx.settings, "attempt": ctx.attempt, "lane": ctx.lane, "repeat": ctx.repeat}
    for _ in range(3):
        with ctx.throttle(tokens=10) as turn:
            turn.used(5)
    if "BREAK" in os.environ:
        breakpoint()
    if "DOWN" in os.environ:
        raise prealloc.Retryable("down", after_s=1)
    if "BAD" in os.environ:
        fail(task)
    return {"success": True, **seen}

async def solve_async(task, ctx):
    return solve(task, ctx)

def fail(task):
    raise ValueError(f"{task.id} is bad")

class Solver:
    def __init__(self):
        if "NO_BROWSER" in os.environ:
            raise OSError("no browser")
        self.told = open("told", "w")

    def __call__(self, task, ctx):
        self.told.write("called ")
        return solve(task, prealloc.current())

    def close(self):
        self.told.write("closed")
        self.told.close()
"""
UNIT = "small.00/t1#1"


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, type_: Type) -> Path:
    """A plan of two shards on two lanes, each task twice."""
    tasks = [{"id": f"t{i}", "type": "a", "workflow": {"n": i}} for i in range(2)]
    Path("tasks.json").write_text(json.dumps({"tasks": tasks}))
    Path("debug_worker.py").write_text(WORKER)
    lanes = [
        prealloc.Lane.checked(name="k1", models=("small",), key_env="KEY_1", queries_per_second=1000),
        prealloc.Lane.checked(name="k2", models=("big",), key_env="KEY_2"),
    ]
    monkeypatch.setenv("KEY_1", "x")
    monkeypatch.setenv("KEY_2", "x")
    monkeypatch.syspath_prepend(tmp_path)
    prealloc.plan("tasks.json", out="plan", whole=True, repeats=2, factors={"model": ["small", "big"]}, lanes=lanes)
    return tmp_path


def test_a_worker_class_is_made_and_closed(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As in the run; its limits are those of all runs on the key. If it cannot be made, that is said."""
    assert debug("plan", UNIT, worker="debug_worker:Solver").attempt.status == Status.OK
    assert Path("told").read_text() == "called closed"
    shared = list(Path(os.environ["XDG_RUNTIME_DIR"], "prealloc").glob("lane.*"))
    assert b'"spacing_s":0.00104' in b"".join(path.read_bytes() for path in shared)
    monkeypatch.setenv("NO_BROWSER", "1")
    with pytest.raises(prealloc.CannotGoOn, match="Solver cannot be made: OSError: no browser"):
        debug("plan", UNIT, worker="debug_worker:Solver")


def contents(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("name", ["solve", "solve_async"])
def test_the_unit_is_as_in_the_run(place: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Settings, lane, seed and repeat are those of the run, the attempt is its next one; the run stays as it was."""
    prealloc.run("plan", f"debug_worker:{name}", "run", engine="inline")
    there = {f"{each.unit}": each.read() for each in prealloc.outcomes("run")}[UNIT]
    assert there is not None
    before = contents(Path("run"))
    done = debug("run", UNIT)
    assert (done.attempt.status, done.attempt.attempt, done.recorded) == (Status.OK, 2, False)
    assert done.attempt.result == {**there.result, "attempt": 2}
    assert contents(Path("run")) == before
    planned = debug("plan", UNIT, worker=f"debug_worker:{name}")
    assert planned.attempt.result == there.result


def test_it_is_shown_and_json_is_all_that_json_prints(place: Path) -> None:
    """What the task prints is seen, with --json on stderr. 0 is ok, 1 is not: with a traceback of the user's code."""
    words = ["debug", "plan", UNIT, "--worker", "debug_worker:solve"]
    done = run_command(words, place)
    assert done.returncode == 0
    assert done.stdout.startswith("a word of the task\na word of its program\n")
    assert "status  ok" in done.stdout
    assert '"success": true' in done.stdout
    assert "not recorded" in done.stdout
    done = run_command([*words, "--json"], place, {"BAD": "1"})
    assert done.returncode == 1
    assert done.stderr.startswith("a word of the task\na word of its program\n")
    error = json.loads(done.stdout)["attempt"]["error"]
    assert (error["type"], error["message"]) == ("ValueError", "t1 is bad")
    files = [line.split('"')[1] for line in error["traceback"].splitlines() if line.startswith("  File")]
    assert files == [str(place / "debug_worker.py")] * 2


def test_a_debugger_works_on_a_terminal(place: Path) -> None:
    """breakpoint() reads from the terminal and shows the task; leaving it is no failure of the task."""
    out = at_a_terminal("p task.id, ctx.repeat\nc\n", "debug", "plan", UNIT, "--worker", "debug_worker:solve")
    assert "('t1', 1)" in out
    assert "status  ok" in out
    out = at_a_terminal("q\n", "debug", "plan", UNIT, "--worker", "debug_worker:solve", code=130)
    assert "status  cancelled" in out


def at_a_terminal(typed: str, *words: str, code: int = 0) -> str:
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "prealloc", *words],
        env={**os.environ, "BREAK": "1", "PYTHONPATH": str(Path(prealloc.__file__).parents[1]), "TERM": "dumb"},
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        start_new_session=True,
    )
    os.close(theirs)
    os.write(ours, typed.encode())
    shown = b""
    while True:
        try:
            shown += os.read(ours, 1 << 16)
        except OSError:  # EIO: the other end is closed
            break
    os.close(ours)
    assert process.wait() == code, shown.decode()
    return shown.decode()


def test_record_journals_one_attempt(place: Path, type_: Type, monkeypatch: pytest.MonkeyPatch) -> None:
    """`record` makes it the unit's next attempt in a session of its own: no retry, and the others stay as they were."""
    monkeypatch.setenv("BAD", "1")
    ended = prealloc.run("plan", "debug_worker:solve", "run", engine="inline", limit=3)
    assert (ended.census["failed"], ended.census["not_run"]) == (6, 2)
    monkeypatch.delenv("BAD")
    monkeypatch.setenv("DOWN", "1")
    left = next(str(each.unit) for each in prealloc.outcomes("run") if each.status is Status.NOT_RUN)
    done = debug("run", left, record=True)
    assert (done.attempt.status, done.attempt.again, done.recorded) == (Status.INFRA, False, True)
    census = prealloc.status("run").census
    assert (census["failed"], census["infra"], census["not_run"]) == (6, 1, 1)
    monkeypatch.delenv("DOWN")
    assert type_("debug", "run", "small.00/t0#0", "--record").code == 0  # it had failed: it is open again
    history = json.loads(type_("show", "run", "small.00/t0#0", "--json").out)
    assert (history["status"], history["first_status"]) == ("ok", "failed")
    assert [tried["session"] for tried in history["tries"]] == [1, 3]
    assert type_("status", "run").out.endswith("to run the rest: prealloc resume run\n")
    refused = type_("debug", "run", "small.00/t0#0", "--record")
    assert (refused.code, refused.err.splitlines()[0]) == (
        2,
        "error  --record: small.00/t0#0 is ok already, and its first outcome stands",
    )
    assert prealloc.resume("run", failed=True).census["ok"] == 8


def test_mistakes_are_told_at_once(place: Path, type_: Type, monkeypatch: pytest.MonkeyPatch) -> None:
    """What cannot be run here is refused with what to do instead; nothing runs."""
    done = type_("debug", "plan", "small.00/t7#0", "--record")
    assert done.code == 2
    for told in ("has no task 't7'", "did you mean small.00/t1#0?", "a plan names no worker function", "no journal"):
        assert told in done.err
    assert "it is neither a run folder nor a plan folder" in type_("debug", ".", UNIT).err
    monkeypatch.delenv("KEY_1")
    with pytest.raises(OptionsError, match="KEY_1 is not set"):
        debug("plan", UNIT, worker="debug_worker:solve")
    prealloc.run("plan", "true {manifest}", "run", engine="command", only="model=big")
    done = type_("debug", "run", "big.00/t0#0")
    assert "run it by hand: true run/plan/shards/big.00.json" in done.err
