"""Rows 7 and 33: a task whose time is over cleans up, and after one that cannot its named cleanup does."""

from __future__ import annotations

import asyncio
import signal
import time
from collections import Counter

import pytest
from harness import Session, Stage, wait_until

import prealloc
from examples import in_laws
from prealloc import Lane
from prealloc.model.events import RunEnded

pytestmark = pytest.mark.fault

LATE_S = 5.0
"""Ten times the gate of 0.5 s."""


def traces(stage: Stage, kind: str) -> dict[str, float]:
    """When each task left this trace."""
    return {
        path.name.partition(".")[2]: float(path.read_text())
        for path in stage.signals.glob(f"{kind}.*")
        if not path.name.startswith(".")
    }


def first_start(stage: Stage, task: str) -> float:
    """When a task began, by the clock of the traces."""
    (path,) = stage.signals.glob(f"started.{task}.*")
    return time.monotonic() - (time.time() - path.stat().st_mtime)


def lines(stage: Stage, task: str) -> list[dict[str, object]]:
    """All lines of the journal for a task, without records."""
    found = [line for path in sorted((stage.run / "journal").iterdir()) for line in stage.lines(path)]
    return [line for line in found if line.get("task") == task and "kind" not in line]


@pytest.mark.parametrize("worker", ["cleaning:hold", "cleaning:hold_async", "cleaning:wrapped"])
def test_on_exit_runs_however_an_attempt_ends(stage: Stage, worker: str) -> None:
    """`finally` and on_exit run after ok, failed and timeout; what is returned in the grace is not counted.

    The outcome does not wait for it, and neither does the next task: that starts while the one before still cleans up.
    """
    tasks = {"held": {"do": "hold", "clean_s": 1.5}, "fine": {"do": "ok"}, "poor": {"do": "fail"}}
    stage.make_plan(tasks, first="held")
    session = stage.start("--timeout", "0.5", "--grace", "20", worker=worker)
    assert session.wait() == 1
    assert session.census == {"ok": 1, "failed": 1, "timeout": 1}
    assert traces(stage, "finally").keys() == traces(stage, "exit").keys() == tasks.keys()
    assert max(first_start(stage, task) for task in ("fine", "poor")) < traces(stage, "finally")["held"]
    assert [line.get("late", False) for line in lines(stage, "held")] == [False, True]
    assert session.ended_at - session.started_at < 20  # nobody waits for the grace to pass
    if worker != "cleaning:hold":
        assert (
            traces(stage, "first")["held"] < traces(stage, "exit")["held"]
        )  # the last that was registered comes first
    stage.check(session)


@pytest.mark.parametrize("signals", [1, 2])
@pytest.mark.parametrize("worker", ["cleaning:hold", "cleaning:hold_async"])
def test_what_is_stopped_cleans_up(stage: Stage, worker: str, signals: int) -> None:
    """At the drain's end, and at the second Ctrl-C, what runs is `cancelled` at once and then has its grace."""
    stage.make_plan({f"t{n}": {"do": "hold", "clean_s": 0.5} for n in range(4)}, shards=2)
    session = stage.start("-c", "2", "--drain", "0.2" if signals == 1 else "60", "--grace", "20", worker=worker)
    stage.wait_for_start("t0", "t1", "t2", "t3")
    for number in range(signals):
        session.signal(signal.SIGINT)
        session.wait_for("stopping", number + 1)
    assert session.wait() == 130
    assert session.census == {"cancelled": 4}
    assert not session.of("worker_lost")
    assert len(traces(stage, "finally")) == len(traces(stage, "exit")) == 4
    told = max(event["told_at"] for event in session.of("attempt_ended"))
    assert told < min(traces(stage, "exit").values())
    stage.check(session)


def test_the_third_ctrl_c_waits_for_nobody(stage: Stage) -> None:
    """Whoever asks a third time gets no grace."""
    stage.make_plan({"t0": {"do": "linger"}})
    session = stage.start("--drain", "60", "--grace", "60", worker="cleaning:hold")
    stage.wait_for_start("t0")
    for number in range(2):
        session.signal(signal.SIGINT)
        session.wait_for("stopping", number + 1)
    wait_until(lambda: traces(stage, "told"), "the cancellation")
    session.signal(signal.SIGINT)
    assert session.wait(LATE_S) == 130
    assert session.census == {"cancelled": 1}
    stage.check(session)


@pytest.mark.parametrize(("grace_s", "told"), [(0.3, 1), (0.0, 0)])
def test_who_takes_no_notice_is_killed_after_the_grace(stage: Stage, grace_s: float, told: int) -> None:
    """Row 7: the tree of a task that swallows its end is dead at limit + grace + 0.5 s; --grace 0 tells it nothing."""
    others = {f"t{n}": {"do": "hold"} for n in range(2)}
    stage.make_plan({"bad": {"do": "stubborn"}, **others}, first="bad")
    session = stage.start("--timeout", "0.5", "--grace", f"{grace_s}", worker="cleaning:stubborn")
    ended = session.wait_for("attempt_ended", task="bad")
    wait_until(lambda: stage.attempts("t0") + stage.attempts("t1"), "a replacement")
    bad = stage.pids("bad")[0]
    wait_until(lambda: bad not in stage.alive(), "the end of its process")
    assert time.monotonic() - ended["told_at"] < grace_s + LATE_S
    session.signal(signal.SIGINT)
    session.wait_for("stopping")
    session.signal(signal.SIGINT)
    session.wait()
    assert ("bad" in traces(stage, "told")) == told
    stage.check(session)


def test_who_holds_the_interpreter_in_its_grace(stage: Stage) -> None:
    """Its worker cannot end itself: it is killed from outside all the same, also without any --timeout."""
    stage.make_plan({"t0": {"do": "gil"}})
    session = stage.start("--timeout", "none", "--drain", "0.1", worker="cleaning:stubborn")
    stage.wait_for_start("t0")
    session.signal(signal.SIGINT)
    assert session.wait() == 130
    assert session.census == {"cancelled": 1}
    stage.check(session)


@pytest.mark.parametrize("count", [30, in_laws(60)])
def test_an_exception_that_comes_late_hits_nobody(stage: Stage, count: int) -> None:
    """Tasks that end at about their deadline: the exception meets them, or is taken back; never our own code, never the
    next task. No worker is lost, the journal is whole, each task has one outcome and nobody failed.
    """
    past = [-0.004 + 0.012 * n / count for n in range(count)]
    lane = Lane.checked(name="k", shards_at_once=2, queries_per_second=100_000)
    stage.make_plan({f"t{n:02}": {"past_s": past[n]} for n in range(count)}, shards=2, lanes=(lane,))
    session = stage.start("-c", "3", "--timeout", "0.25", "--grace", "5", worker="cleaning:at_the_limit")
    session.wait()
    assert set(session.census) <= {"ok", "timeout"}
    assert sum(session.census.values()) == count
    assert not session.of("worker_lost")
    assert not session.of("note")
    assert all(stage.attempts(f"t{n:02}") == 1 for n in range(count))
    stage.check(session)


def test_a_killed_task_is_cleaned_up_after_before_it_runs_again(stage: Stage) -> None:
    """--cleanup gets the unit's id and its notes after a SIGKILL, each attempt once, and before the next attempt.

    The same for a call that no exception reaches, once its grace is over. What came back by itself gets none.
    """
    stage.make_plan({"kill": {"do": "kill"}, "hung": {"do": "sleep"}, "fine": {"do": "ok"}})
    (stage.signals / "slow").touch()
    session = stage.start("--timeout", "2", "--grace", "0.3", "--cleanup", "cleaning:sweep", worker="cleaning:hold")
    assert session.wait() == 1
    assert session.census == {"ok": 1, "crashed": 1, "timeout": 1}
    swept = traces(stage, "swept")
    kills = stage.attempts("kill")
    assert swept.keys() == {*(f"kill-{n + 1}" for n in range(kills)), "hung-1"}
    assert (stage.signals / "unit.hung-1").read_text() == "shard-00/hung#0"
    starts = sorted(path.stat().st_mtime for path in stage.signals.glob("started.kill.*"))
    begun = [time.monotonic() - (time.time() - at) for at in starts]
    assert all(swept[f"kill-{n}"] < begun[n] for n in range(1, kills))
    assert not session.of("note")
    stage.check(session)
    again = stage.resume()
    again.wait()
    assert traces(stage, "swept") == swept  # nothing is due any more
    stage.check(again)


def test_resume_cleans_up_first_what_a_dead_master_left(stage: Stage) -> None:
    """The master's death, in the middle of a task and of a grace: resume cleans up before anything starts.

    A cleanup that fails is told, and due again.
    """
    stage.make_plan({"held": {"do": "hold"}, "hung": {"do": "sleep"}, "next": {"do": "hold"}}, first="hung")
    session = stage.start("--timeout", "1", "--grace", "60", "--cleanup", "cleaning:sweep", worker="cleaning:hold")
    session.wait_for("attempt_ended", task="hung")
    wait_until(lambda: stage.attempts("held") + stage.attempts("next"), "the one after it")
    session.kill()
    stage.check(session)
    assert not traces(stage, "swept")
    begun = {f"{task}-1" for task in ("held", "hung", "next") if stage.attempts(task)}
    (stage.signals / "broken").touch()
    stage.let_go()
    second = stage.resume()
    assert second.wait() == 1
    assert second.census == {"ok": 2, "timeout": 1}
    swept = traces(stage, "swept")
    assert swept.keys() == begun
    first_again = min(float(path.stat().st_mtime) for path in stage.signals.glob("started.*.0.2.*"))
    assert max(swept.values()) < time.monotonic() - (time.time() - first_again)
    assert Counter("failed" in event["text"] for event in second.of("note"))[True] == len(begun)
    stage.check(second)
    (stage.signals / "broken").unlink()
    third = stage.resume()
    assert third.wait() == 1
    assert not [event for event in third.of("note") if "failed" in event["text"]]
    fourth = stage.resume()
    assert fourth.wait() == 1
    assert [event["text"] for event in fourth.of("note")] == ["nothing is left to run: every unit has its outcome"]
    stage.check(fourth)


@pytest.mark.parametrize(
    ("cleanup", "problem"),
    [("cleaning:no_such", "has no no_such"), ("cleaning:hold_all", "no hold_all"), ("x", "name")],
)
def test_a_cleanup_that_cannot_be_called(stage: Stage, cleanup: str, problem: str) -> None:
    """Found before anything runs, and not at the first kill: exit code 2, and no folder."""
    stage.make_plan(1)
    session = stage.start("--cleanup", cleanup, worker="cleaning:hold")
    assert session.wait() == 2
    assert problem in session.output()
    assert not stage.run.exists()


def test_the_inline_engine_cleans_up_first(stage: Stage) -> None:
    """There the master's death is the task's: resume calls the cleanup in its own thread, then runs the rest."""
    stage.make_plan({"t0": {"do": "kill"}, "t1": {"do": "ok"}}, first="t0")
    session = stage.start("--engine", "inline", "--cleanup", "cleaning:sweep", worker="cleaning:hold")
    session.wait()
    assert not traces(stage, "swept")
    second = stage.resume()
    second.wait()  # it kills its master again
    assert traces(stage, "swept").keys() == {"t0-1"}


def test_the_inline_engine_cleans_up_beside_an_event_loop(stage: Stage) -> None:
    """A notebook's cell runs in one: a coroutine that cleans up has a loop of its own."""
    stage.make_plan({"t0": {"do": "ok"}})
    session = stage.start(
        *("--engine", "inline", "--cleanup", "cleaning:sweep_async"),
        worker="cleaning:hold",
        faults="attempt.finished:1:kill",
    )
    session.wait()

    async def cell() -> RunEnded:
        return prealloc.resume(stage.run)

    assert asyncio.run(cell()).census["ok"] == 1
    assert traces(stage, "swept").keys() == {"t0-1"}


def test_a_worker_flushes_at_its_end(stage: Stage) -> None:
    """atexit handlers run, and one that hangs costs no more than the grace. No task sees another's ContextVars."""
    stage.make_plan({"t0": {"do": "flush"}, "t1": {"do": "slow flush"}, "t2": {"do": "flush"}}, first="t1")
    session: Session = stage.start("--grace", "1", worker="cleaning:telemetry")
    assert session.wait() == 0
    assert session.of("run_ended")[0]["success"]["successes"] == 3
    assert {"t0", "t2"} <= traces(stage, "flushed").keys()
    assert session.ended_at - session.started_at < 1 + 2 * LATE_S
    assert not session.of("worker_lost")
    stage.check(session)
