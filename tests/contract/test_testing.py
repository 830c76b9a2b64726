"""prealloc.testing does what its docstrings say: users' tests stand on it."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import pytest

import prealloc
from prealloc import testing
from prealloc.model.policy import RunPolicy
from prealloc.store.plan_folder import read_plan, write_plan
from prealloc.testing import FakeClock, fails, make_plan, make_task, retries, returns, run_task, scripted


def test_a_fake_clock_moves_only_when_somebody_sleeps() -> None:
    """And never back."""
    clock = FakeClock(10.0)
    assert clock() == clock.monotonic() == 10.0
    clock.sleep(2.5)
    clock.advance(1)
    assert clock() == 13.5
    assert clock.slept == [2.5]
    with pytest.raises(ValueError, match="does not go back"):
        clock.sleep(-1)


def test_plans_are_what_they_look_like(tmp_path: Path) -> None:
    """Dealt in the order given; written and read back they are the same plan."""
    plan = make_plan(5, shards=2, types=("x", "y"), repeats=3, settings={"m": 1}, workflow={"w": 1})
    assert [[task.id for task in shard.tasks] for shard in plan.shards] == [
        ["task-1", "task-3", "task-5"],
        ["task-2", "task-4"],
    ]
    assert {task.type for task in plan.shards[1].tasks} == {"y"}
    assert plan.shards[0].settings == {"m": 1}
    write_plan(plan, tmp_path / "plan")
    assert read_plan(tmp_path / "plan").id == plan.id
    paired = make_plan(3, shards=2, strategy="paired")
    assert [len(shard.tasks) for shard in paired.shards] == [3, 3]


def test_bad_builders_are_refused() -> None:
    """With the same errors as the real thing."""
    with pytest.raises(prealloc.OptionsError):
        make_plan(2, shards=0)
    with pytest.raises(ValueError, match="a script takes the workflow's place"):
        make_task(workflow=1, script=[returns()])


def solve(task: prealloc.LightweightTask, ctx: prealloc.TaskContext) -> Any:
    ctx.log(f"solving {task.id}")
    task.workflow["used"] = True
    return {"success": True, "score": 1, "model": ctx.settings["model"], "left": ctx.remaining_s, "seed": ctx.seed}


async def solve_async(task: prealloc.LightweightTask, ctx: prealloc.TaskContext) -> Any:
    return solve(task, ctx)


class Throttled(Exception):
    status_code = 429


@pytest.mark.parametrize("function", [solve, solve_async, "prealloc.testing:scripted"])
def test_run_task_is_one_attempt(function: Any) -> None:
    """With a real context, through JSON; the caller's own task and settings are left as they were."""
    task, settings, said = make_task(workflow={"goal": 1}, extra={"d": 2}), {"model": "none"}, list[str]()
    clock = FakeClock()
    attempt = run_task(function, task, settings=settings, timeout_s=9.0, monotonic=clock, log=said.append)
    assert attempt.status == "ok", attempt.error
    assert attempt.working_s == 0.0
    assert task.workflow == {"goal": 1}
    assert task.extra == {"d": 2}
    assert settings == {"model": "none"}
    if not isinstance(function, str):
        assert attempt.result["left"] == 9.0
        assert attempt.result["model"] == "none"
        assert said == ["solving task-1"]


def test_run_task_gives_what_a_run_gives(tmp_path: Path) -> None:
    """The same result, seed included, as the inline engine journals."""
    plan = make_plan([make_task(workflow={})], settings={"model": "m"}, seed=3)
    prealloc.run(plan, solve, tmp_path / "run", engine="inline", timeout_s=None)
    (outcome,) = prealloc.outcomes(tmp_path / "run")
    alone = run_task(solve, make_task(workflow={}), settings={"model": "m"}, seed=3)
    attempt = outcome.read()
    assert attempt is not None
    assert attempt.result == alone.result


def test_run_task_turns_everything_into_an_ending() -> None:
    """failed, infra, NaN: data. Only what no run would start with raises."""
    assert run_task(scripted, make_task(script=[fails("no")])).status == "failed"
    attempt = run_task(scripted, make_task(script=[retries(retry_after_s=1)]))
    assert (attempt.status, attempt.result) == ("infra", None)
    attempt = run_task(lambda task, ctx: {"x": float("nan")})
    assert attempt.error is not None
    assert "result.x" in attempt.error.message
    attempt = run_task(lambda task, ctx: "x" * 100, max_result_bytes=50)
    assert attempt.status == "failed"
    with pytest.raises(prealloc.WorkerFunctionError):
        run_task("prealloc.testing:nobody")


@pytest.mark.parametrize(
    ("worked_s", "error", "status"),
    [
        (8.9, TimeoutError(), "infra"),
        (8.96, TimeoutError(), "timeout"),
        (9.1, ConnectionResetError(), "timeout"),
        (8.96, Throttled(), "infra"),
        (9.1, Throttled(), "timeout"),
        (9.1, ValueError(), "failed"),
    ],
    ids=repr,
)
def test_an_infrastructure_error_at_the_deadline_is_a_timeout(worked_s: float, error: Exception, status: str) -> None:
    """Or a moment before it: a request that was given `ctx.remaining_s`. A server's word counts up to the deadline.

    Waiting moves the deadline. What the agent itself raises is its own at any time.
    """
    clock = FakeClock()

    def work(task: prealloc.LightweightTask, ctx: prealloc.TaskContext) -> None:
        with ctx.waiting():
            clock.advance(100)
        clock.advance(worked_s)
        raise error

    attempt = run_task(work, timeout_s=9.0, monotonic=clock)
    assert attempt.status == status
    assert attempt.error is not None
    assert (attempt.error.type == "Timeout") == (status == "timeout")


def test_scripts_say_what_each_attempt_does() -> None:
    """The last step is for all further attempts; a task without a script returns its id."""
    task = make_task(script=[retries(), returns(7)])
    assert [run_task(scripted, task, attempt=n).status for n in (1, 2, 3)] == ["infra", "ok", "ok"]
    assert run_task(scripted, make_task("x")).result == {"task": "x"}
    assert run_task(scripted, make_task(workflow={"script": [{"do": "dance", "after_s": 0}]})).status == "failed"


def test_everything_public_is_documented() -> None:
    """Each name of __all__ has a docstring, and its errors pickle."""
    for name in testing.__all__:
        assert getattr(testing, name).__doc__, name
    again = pickle.loads(pickle.dumps(testing.ScriptedFailure("x")))
    assert str(again) == "x"
    assert RunPolicy().max_result_bytes > 0
