"""Row 23: the wall clock steps, the machine stands still. Deadlines rest on the monotonic clock."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import time
from pathlib import Path

import pytest
from harness import Stage

pytestmark = pytest.mark.fault

CLOCK = Path(__file__).parent / "stepped_clock"
HOUR_S = 3600
LATE_S = 5.0


@pytest.mark.parametrize(("worker", "step_s"), [("agents:act", HOUR_S), ("agents:act_async", -HOUR_S)])
def test_a_clock_that_steps(stage: Stage, worker: str, step_s: int) -> None:
    """An hour forth or back while tasks run: nobody times out for it, who hangs does in time, backoff is kept."""
    clock = stage.root / "clock"
    clock.write_text("0")
    tasks = {f"t{n}": {"do": "sleep", "s": 0.4} for n in range(8)}
    stage.make_plan({"hang": {"do": "sleep"}, "busy": {"do": "busy", "times": 1, "after_s": 0.3}, **tasks})
    words = f"run {stage.plan} --worker {worker} --out {stage.run} -c 4 --timeout 1.5 --retries 1"
    environment = {"PYTHONPATH": str(CLOCK), "STEPPED_CLOCK": str(clock)}
    session = stage.command(*words.split(), environment=environment)
    stage.wait_for_start("hang")
    write(clock, str(step_s))
    assert session.wait() == 1
    assert session.census == {"ok": 9, "timeout": 1}
    (hung,) = session.of("attempt_ended", task="hang")
    assert 1.5 <= hung["working_s"] <= 1.5 + LATE_S
    assert all(stage.attempts(task) == 1 for task in tasks)
    assert session.of("run_ended")[0]["duration_s"] < 10 + LATE_S
    started = [json.loads(json.loads(t)["line"])["started_at"] for t in session.acknowledged.read_text().splitlines()]
    assert max(started) - min(started) > HOUR_S - 60, "the step was not seen: this has shown nothing"
    stage.check(session)


def test_a_tree_that_stands_still(stage: Stage) -> None:
    """Master, fork server and workers stopped for 5 s: silent for so long, nobody is taken for hung or dead.

    The monotonic clock runs on in a stopped process, so the stop counts as working time, for the hung one too.
    """
    tasks = {f"t{n}": {"do": "sleep", "s": 0.3} for n in range(6)}
    stage.make_plan({"hang": {"do": "sleep"}, **tasks}, first="hang")
    session = stage.start("-c", "3", "--timeout", "7")
    stage.wait_for_start("hang")
    stopped = list(stage.alive())
    assert len(stopped) >= 3
    for number in (signal.SIGSTOP, signal.SIGCONT):
        for pid in stopped:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)
        if number is signal.SIGSTOP:
            time.sleep(5)
    assert session.wait() == 1
    assert session.census == {"ok": 6, "timeout": 1}
    (hung,) = session.of("attempt_ended", task="hang")
    assert 7.0 <= hung["working_s"] <= 7.0 + LATE_S
    assert not session.of("worker_lost")
    assert all(stage.attempts(task) == 1 for task in tasks)
    stage.check(session)


def write(path: Path, text: str) -> None:
    """In one step: somebody reads it all the time."""
    beside = path.with_suffix(".new")
    beside.write_text(text)
    beside.rename(path)
