"""Rows 29 and 30: what a task does to its worker's calls, channel, threads or process never ends the run."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import Any

import odd_agents
import pytest
from harness import HERE, PACKAGE_ROOT, Stage, wait_until

from prealloc.model.lane import Lane
from prealloc.store.plan_folder import write_plan
from prealloc.testing import make_plan, make_task

pytestmark = pytest.mark.fault

LANE = Lane.checked(name="k", shards_at_once=64)


def plan_odd(stage: Stage, odd: list[dict[str, Any]], *, units: int = 5, **settings: Any) -> None:
    """Two shards of so many units on a lane; the odd tasks stand in the first, with an innocent before each."""
    harm = {2 * n + 1: make_task(f"odd-{n:02}", workflow=do) for n, do in enumerate(odd)}
    places = range(max(units, 2 * len(odd) + 1))
    dealt = [task for n in places for task in (harm.get(n) or make_task(f"first-{n:02}"), make_task(f"second-{n:02}"))]
    settings = {"signals": str(stage.signals), **settings}
    write_plan(make_plan(dealt, shards=2, lanes=[LANE], settings=settings), stage.plan)


def outcomes(stage: Stage) -> dict[str, dict[str, Any]]:
    """The last line of each task in the workers' journals."""
    files = sorted((stage.run / "journal").glob("*.jsonl"))
    lines = [line for path in files for line in stage.lines(path) if "task" in line and "status" in line]
    return {line["task"]: line for line in lines}


@pytest.mark.parametrize("engine", ["local", "inline"])
def test_numbers_of_tokens(stage: Stage, engine: str) -> None:
    """Row 29: rounded up, None is the estimate; what is no number of tokens fails the attempt and names the call."""
    names = [(call, what) for call in ("estimate", "used") for what in odd_agents.TOKENS]
    plan_odd(stage, [{"do": call, "what": what} for call, what in names])
    session = stage.start("--engine", engine, worker="odd_agents:act")
    assert session.wait() == 1
    ended = outcomes(stage)
    for n, (call, what) in enumerate(names):
        line = ended[f"odd-{n:02}"]
        if what in odd_agents.TAKEN:
            expected = {"fraction": 3, "none": 0 if call == "estimate" else 7, "decimal": 3, "zero": 0}
            assert line["result"] == {"tokens": expected[what]}, (call, what)
        else:
            assert line["status"] == "failed", (call, what)
            name = {"estimate": "ctx.throttle(", "used": "turn.used("}[call]
            assert line["error"]["message"].startswith(name), line["error"]
    assert session.census["ok"] == len(ended) - session.census["failed"]
    stage.check(session)


@pytest.mark.parametrize("what", odd_agents.LINES)
def test_a_message_that_cannot_be_read(stage: Stage, what: str) -> None:
    """Row 29: its worker is lost, what ran in it are suspects, the unit that does it each time is `crashed`.

    The other shard and the innocents beside it do not notice; a run whose task said it is read and resumed as any.
    """
    plan_odd(stage, [{"do": "say", "what": what}])
    session = stage.start("-c", "2", worker="odd_agents:act")
    assert session.wait() == 1
    assert session.census["crashed"] == 1
    assert set(session.census) == {"ok", "crashed"}
    assert outcomes(stage)["odd-00"]["status"] == "crashed"
    assert all("cannot be read" in event["reason"] for event in session.of("worker_lost"))
    assert len(session.of("shard_started", shard="shard-01")) == 1
    stage.check(session)


def test_a_journal_that_a_task_has_written_into(stage: Stage) -> None:
    """Row 29: the other shard runs to its end before the run says so. Repaired, it is a run as any."""
    plan_odd(stage, [{"do": "scribble"}], units=30)
    # Not by the harness, which reads the journal along with the events.
    words = ("run", str(stage.plan), "--worker", "odd_agents:act", "--out", str(stage.run), "--json")
    environment = {**os.environ, "PYTHONPATH": str(PACKAGE_ROOT)}
    command = [sys.executable, "-m", "prealloc", *words]
    done = subprocess.run(command, cwd=HERE, env=environment, capture_output=True, text=True, check=False, timeout=60)
    assert (done.returncode, "is damaged" in done.stdout + done.stderr) == (3, True)
    events = [json.loads(line) for line in done.stdout.splitlines()]
    assert sum(each.get("shard") == "shard-01" and each.get("status") == "ok" for each in events) == 30
    assert stage.command("doctor", str(stage.run), "--repair").wait() == 0
    assert (
        "to run the rest: prealloc resume"
        in subprocess.run(
            [sys.executable, "-m", "prealloc", "status", str(stage.run)], capture_output=True, text=True, check=False
        ).stdout
    )


@pytest.mark.parametrize("do", ["exit in the background", "stop the loop", "cancel all"])
def test_a_coroutine_that_ends_the_event_loop(stage: Stage, do: str) -> None:
    """Row 30: that worker is lost, and says why; its units are suspects; the others go on, and so does `resume`."""
    plan_odd(stage, [{"do": do}])
    session = stage.start("-c", "2", "--timeout", "20", worker="odd_agents:act_async")
    assert session.wait() == 1
    assert set(session.census) == {"ok", "crashed"}
    assert outcomes(stage)["odd-00"]["status"] == "crashed"
    assert session.of("worker_lost", shard="shard-00")
    assert all("reached the worker itself" in event["reason"] for event in session.of("worker_lost"))
    assert len(session.of("shard_started", shard="shard-01")) == 1
    stage.check(session)
    second = stage.resume("--failed")
    assert second.wait() == 1
    stage.check(second)


def test_an_error_that_is_thrown_late(stage: Stage) -> None:
    """Row 30: it comes to the worker's own loop when the task has ended. Its worker is lost; no result is, no shard."""
    plan_odd(stage, [{"do": "late"}], wait=True)
    session = stage.start("-c", "3", worker="odd_agents:act")
    session.wait_for("attempt_ended", task="odd-00")
    stage.wait_for_start("first-02")
    stage.let_go()
    assert session.wait() in (0, 1)
    assert outcomes(stage)["odd-00"]["status"] == "ok"
    assert set(session.census) <= {"ok", "failed"}
    assert session.census.get("failed", 0) <= 1  # it may have met the next task of its thread instead
    assert len(session.of("shard_started", shard="shard-01")) == 1
    stage.check(session)


@pytest.mark.parametrize("engine", ["local", "inline"])
def test_a_child_that_comes_back_from_a_task(stage: Stage, engine: str) -> None:
    """Row 30: it ends there, with the exit code of how it came back. It writes no line, tells nothing, runs no task."""
    codes = {"return": 0, "raise": 1, "exit": 7, "turn": 1, "clean up": 0}
    plan_odd(stage, [{"do": "fork", "how": how} for how in codes])
    session = stage.start("--engine", engine, "-c", "2", worker="odd_agents:act")
    assert session.wait() == 0
    ended = outcomes(stage)
    told = [ended[f"odd-{n:02}"]["result"]["child"] for n in range(len(codes))]
    assert told == ([0, 1, 7, 1, 0] if engine == "local" else [0, 1, 7, 0, 0])  # inline a turn is the process's own
    assert len(session.of("attempt_ended")) == sum(session.census.values())
    for path in stage.signals.glob("started.*"):
        assert stage.attempts(path.name.split(".")[1]) == 1, path
    assert (stage.run / "logs" / "shard-00.log").read_text().count("returned from the task") == len(codes)
    stage.check(session)


def test_a_child_that_comes_back_while_another_task_imports(stage: Stage) -> None:
    """Row 30: the import's lock is held for ever in the child, which ends before it needs anything of the worker."""
    plan_odd(stage, [{"do": "hold import"}, {"do": "fork beside it"}])
    session = stage.start("-c", "2", "--no-rebalance", worker="odd_agents:act")
    assert session.wait() == 0
    ended = outcomes(stage)
    assert (ended["odd-00"]["result"]["odd"], ended["odd-01"]["result"]["child"]) == ([1], 0)
    stage.check(session)


def test_a_child_that_comes_back_to_the_event_loop(stage: Stage) -> None:
    """Row 30: a copy of the loop would go on with all other tasks of the worker; it ends at its next turn.

    So does one that comes back to the thread of an `on_exit`.
    """
    plan_odd(stage, [*[{"do": "fork"}] * 3, {"do": "fork at exit"}], units=20)
    session = stage.start("-c", "4", worker="odd_agents:act_async")
    assert session.wait() == 0
    assert [path.name for path in stage.signals.glob("ended.*")] == ["ended.0"]
    assert len(session.of("attempt_ended")) == sum(session.census.values())
    assert all(stage.attempts(task) == 1 for task in outcomes(stage))
    wait_until(lambda: not stage.alive(), "the end of all children")
    stage.check(session)
