"""Rows 4 to 9: a task does not come back. --timeout holds whatever it does, and nobody else pays for it."""

from __future__ import annotations

import json
import os
import signal
import time

import pytest
from harness import Stage, wait_until

from examples import in_laws
from prealloc import plan

pytestmark = pytest.mark.fault

LIMIT_S = 1.0
LATE_S = 5.0
"""Ten times the gate of 0.5 s."""

HANGS = ("loop", "sleep", "silent_socket", "dripping_socket", "gil_blocked", "gil_spinning")


@pytest.mark.parametrize("concurrency", [in_laws(1), 4])
@pytest.mark.parametrize("how", HANGS)
def test_a_task_that_hangs(stage: Stage, how: str, concurrency: int) -> None:
    """Rows 4 to 6 and 8: `timeout` at the limit + 0.5 s, capacity back; the innocents end ok.

    Innocents run once, except beside a call that holds the interpreter: it stops them too, so they run again.
    """
    stage.make_plan({"hang": {"do": how}, **{f"t{n}": {"do": "ok", "s": 0.02} for n in range(8)}})
    session = stage.start("-c", str(concurrency), "--timeout", f"{LIMIT_S}")
    assert session.wait() == 1
    assert session.census == {"ok": 8, "timeout": 1}
    (ended,) = session.of("attempt_ended", task="hang")
    assert LIMIT_S <= ended["working_s"] <= LIMIT_S + LATE_S
    again = [n for n in range(8) if stage.attempts(f"t{n}") > 1]
    assert len(again) <= (concurrency - 1 if how.startswith("gil") else 0)
    assert stage.attempts("hang") <= (2 if how.startswith("gil") and concurrency > 1 else 1)
    rounds = stage.attempts("hang")
    assert session.ended_at - session.started_at < rounds * (LIMIT_S + LATE_S) + 5
    stage.check(session)


def test_a_task_names_its_own_timeout(stage: Stage) -> None:
    """It beats --timeout both ways, also where the call holds the interpreter; others have --timeout. Resume too."""
    tasks = {
        "hang": ({"do": "gil_blocked"}, {"limit": LIMIT_S}),
        "long": ({"do": "sleep", "s": 2 * LIMIT_S}, {"limit": "1m"}),
        "plain": ({"do": "sleep", "s": 2 * LIMIT_S}, {}),
    }
    rows = [{"id": id, "type": "t", "workflow": workflow, **more} for id, (workflow, more) in tasks.items()]
    stage.library.write_text(json.dumps(rows))
    settings = {"signals": str(stage.signals)}
    plan(stage.library, out=stage.plan, whole=True, timeout_field="limit", settings=settings)
    patient = stage.start("--timeout", f"{LIMIT_S + 2 * LATE_S}")
    assert patient.wait() == 1
    assert patient.census == {"ok": 2, "timeout": 1}
    again = stage.resume("--failed")
    assert again.wait() == 1
    for session in (patient, again):
        (ended,) = session.of("attempt_ended", status="timeout")
        assert ended["working_s"] <= LIMIT_S + LATE_S
        assert f"the timeout of {LIMIT_S:g} s" in ended["error"]["message"]
    stage.check(again)
    hasty = stage.start("--timeout", f"{LIMIT_S}", out=stage.root / "hasty")
    assert hasty.wait() == 1
    assert {event["task"] for event in hasty.of("attempt_ended", status="timeout")} == {"hang", "plain"}


@pytest.mark.parametrize("how", ["sleep", "stubborn"])
def test_coroutines_that_hang(stage: Stage, how: str) -> None:
    """Row 5: coroutines are cancelled at their deadline, and those that swallow it are left behind.

    Many of them one after another: none may get lost between its worker's end and the next.
    """
    count = 12
    hangs = {f"hang{n}": {"do": how} for n in range(count)}
    stage.make_plan({**hangs, **{f"t{n}": {"do": "ok"} for n in range(count)}})
    session = stage.start("-c", "3", "--timeout", "0.3", worker="agents:act_async")
    assert session.wait() == 1
    assert session.census == {"ok": count, "timeout": count}
    assert all(stage.attempts(task) == 1 for task in hangs)
    stage.check(session)


def test_coroutines_that_hang_one_at_a_time(stage: Stage) -> None:
    """Row 5 at concurrency 1, where each cancelled coroutine is the last thing its worker runs."""
    stage.make_plan({f"t{n}": {"do": "sleep" if n % 2 else "ok"} for n in range(16)})
    session = stage.start("--timeout", "0.2", worker="agents:act_async")
    assert session.wait() == 1
    assert session.census == {"ok": 8, "timeout": 8}
    stage.check(session)


def test_a_coroutine_that_blocks_its_event_loop(stage: Stage) -> None:
    """A blocking call in a coroutine stops its neighbours too. They are innocent: they run again and end ok."""
    innocents = {f"t{n}": {"do": "sleep", "s": 0.3} for n in range(8)}
    stage.make_plan({"hang": {"do": "gil_blocked"}, "block": {"do": "loop"}, **innocents})
    session = stage.start("-c", "4", "--timeout", f"{LIMIT_S}", worker="agents:act_async")
    assert session.wait() == 1
    assert session.census == {"ok": 8, "timeout": 2}
    stage.check(session)


@pytest.mark.parametrize("then", ["sleep", "gil_blocked"])
def test_the_whole_tree_of_a_hung_task(stage: Stage, then: str) -> None:
    """Row 7: children that ignore SIGTERM, and one that called setsid: all dead at limit + grace + 0.5 s.

    While the run goes on: that all die when it ends is another matter.
    """
    others = {f"t{n}": {"do": "ok", "s": 0.7} for n in range(12)}  # they keep the run going for 8 s more
    stage.make_plan({"family": {"do": "family", "then": then}, **others}, first="family")
    session = stage.start("--timeout", f"{LIMIT_S}")
    wait_until((stage.signals / "family").exists, "start of the family")
    started_at = time.monotonic()
    session.wait_for("attempt_ended", task="family")
    assert time.monotonic() - started_at < LIMIT_S + LATE_S

    def shells() -> dict[int, str]:
        return {pid: command for pid, command in stage.alive().items() if "trap" in command}

    while shells() and time.monotonic() < started_at + LIMIT_S + 0.2 + LATE_S:
        time.sleep(0.05)
    left = shells()
    assert session.process.poll() is None, "the run ended too early to tell"
    assert not left, f"alive while the run goes on: {left}"
    session.signal(signal.SIGINT)
    session.wait()
    stage.check(session)


def test_all_shards_hang_at_once(stage: Stage) -> None:
    """Row 9: the run ends within its bound, in about one limit and not in one for each; earlier results stay."""
    stage.make_plan({"a": {"do": "ok"}, "b": {"do": "ok"}, "c": {"do": "sleep"}}, shards=12, strategy="paired")
    session = stage.start("--timeout", f"{LIMIT_S}", "--workers", "12")
    assert session.wait() == 1
    assert session.census == {"ok": 24, "timeout": 12}
    assert session.of("run_ended")[0]["duration_s"] < LIMIT_S + LATE_S
    stage.check(session)


def test_a_stopped_worker(stage: Stage) -> None:
    """A worker that somebody stopped (SIGSTOP) does not beat: killed at the deadline, its task `timeout`."""
    stage.make_plan({"t0": {"do": "gate"}, "t1": {"do": "ok"}, "t2": {"do": "ok"}})
    session = stage.start("--timeout", f"{LIMIT_S}")
    stage.wait_for_start("t0")
    os.kill(stage.pids("t0")[0], signal.SIGSTOP)
    assert session.wait(LIMIT_S + LATE_S + 5) == 1
    assert session.census == {"ok": 2, "timeout": 1}
    stage.check(session)


def test_a_worker_that_is_stopped_while_its_task_waits(stage: Stage) -> None:
    """I6: waiting is no working time, so no deadline comes; but a worker silent for so long will not end it either.

    It is killed, and the task runs again without blame.
    """
    stage.make_plan({"t0": {"do": "wait"}, "t1": {"do": "ok"}, "t2": {"do": "ok"}}, first="t0")
    session = stage.start("--timeout", f"{LIMIT_S}")
    stage.wait_for_start("t0")
    time.sleep(0.5)  # a beat has shown the wait on the table
    os.kill(stage.pids("t0")[0], signal.SIGSTOP)
    assert session.wait(LIMIT_S + LATE_S + 5) == 0
    assert session.census == {"ok": 3}
    assert stage.attempts("t0") == 2
    stage.check(session)


def test_a_module_that_hangs_when_a_worker_imports_it(stage: Stage) -> None:
    """I6: nothing that a worker does before its first task keeps the run from ending within its bound."""
    stage.make_plan(2)
    session = stage.start(
        "--timeout",
        "1",
        "--max-wait",
        "1",
        "--retries",
        "0",
        "--drain",
        "1",
        "--start-timeout",
        "2",
        worker="slow_import:act",
    )
    started = session.wait_for("run_started")
    assert session.wait(started["bound_s"] + 10) in (1, 3)
    stage.check(session)
