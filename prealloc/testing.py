"""For tests of worker functions and of what is built on prealloc: tasks, plans, a clock, one attempt, scripts.

    FakeClock                     time that passes only when somebody sleeps
    make_task(), make_plan()      small inputs in memory, without any library
    run_task()                    one attempt at one task, as a worker makes it; gives the Attempt
    scripted() and its steps      a worker function that does what each task's script says

A worker function is tested without a plan, a folder or a process:

    from prealloc.testing import make_task, run_task

    def test_solve():
        attempt = run_task(solve, make_task(workflow={"goal": 3}), settings={"model": "none"})
        assert attempt.status == "ok", attempt.error
        assert attempt.result == {"success": True}
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec

from prealloc.errors import Retryable, WorkerFunctionError
from prealloc.model.cell import lanes_of, settings_of
from prealloc.model.lane import Lane
from prealloc.model.outcome import Attempt
from prealloc.model.plan import Plan
from prealloc.model.plan_spec import PlanSpec, Strategy
from prealloc.model.policy import RunPolicy
from prealloc.model.task import LightweightTask
from prealloc.planning.planner import shard_ids
from prealloc.store.build import PlannedShard, build_plan
from prealloc.worker.alone import Alone
from prealloc.worker.attempt import Ending, Running
from prealloc.worker.clocks import AttemptClock, Monotonic
from prealloc.worker.context import TaskContext
from prealloc.worker.function import WorkerFunction, checked_function, load_function
from prealloc.worker.job import UnitOrder

__all__ = [
    "FakeClock",
    "ScriptedFailure",
    "dies",
    "exits",
    "fails",
    "hangs",
    "make_plan",
    "make_task",
    "retries",
    "returns",
    "run_task",
    "scripted",
]


class FakeClock:
    """A monotonic clock that stands still, except that `sleep` and `advance` move it on. Thread-safe.

    Call it, or its `monotonic`, where code takes a `time.monotonic`; give its `sleep` where code takes a
    `time.sleep`. `slept` lists what was slept, in seconds, so that a test can see how long code would wait.
    """

    def __init__(self, start_s: float = 1000.0) -> None:
        self._lock = threading.Lock()
        self._now_s = start_s
        self.slept: list[float] = []

    def __call__(self) -> float:
        return self.monotonic()

    def monotonic(self) -> float:
        """The time now, in seconds."""
        with self._lock:
            return self._now_s

    def sleep(self, seconds: float) -> None:
        """Moves the time on and returns at once. Raises ValueError for a negative time, as time.sleep does."""
        self.advance(seconds)
        with self._lock:
            self.slept.append(seconds)

    def advance(self, seconds: float) -> None:
        """Moves the time on. It never goes back: ValueError for a negative time."""
        if seconds < 0:
            raise ValueError(f"time does not go back: {seconds}")
        with self._lock:
            self._now_s += seconds


def make_task(
    id: str = "task-1",
    type: str = "simple_task",
    *,
    workflow: Any = None,
    extra: Mapping[str, Any] | None = None,
    script: Sequence[Mapping[str, Any]] | None = None,
) -> LightweightTask:
    """A task. `workflow` is any JSON value, `extra` the kept fields, as `prealloc plan --keep` ships them.

    `script` makes it a task for the worker function `scripted`: one step for each attempt, the last one for
    all further ones. It takes the workflow's place.
    """
    if script is not None:
        if workflow is not None or not script:
            raise ValueError("a script takes the workflow's place, and needs at least one step")
        workflow = {"script": [dict(step) for step in script]}
    return LightweightTask(
        id=id,
        type=type,
        workflow_json=msgspec.json.encode(workflow),
        extra_json=msgspec.json.encode(dict(extra or {})),
    )


def make_plan(
    tasks: int | Sequence[LightweightTask] = 4,
    *,
    shards: int = 1,
    types: Sequence[str] = ("simple_task",),
    workflow: Any = None,
    repeats: int = 1,
    settings: Mapping[str, Any] | None = None,
    seed: int = 0,
    strategy: Strategy = "disjoint",
    lanes: Sequence[Lane] = (),
) -> Plan:
    """A plan in memory, for `prealloc.run` or to be written with `prealloc.write_plan`.

    `tasks` are dealt in the order given: shard i of S takes tasks i, i+S, i+2S, ...; with
    `strategy="paired"` every shard takes them all. A number makes that many tasks `task-1`, `task-2`, ...,
    their types taken in turn from `types`, all with the same `workflow`. Nothing is sampled, so a test knows
    what is where; shards are `shard-00`, `shard-01`, ..., and are dealt in turn to those of the `lanes` that
    serve the settings' model. Raises OptionsError as `prealloc.plan` does.
    """
    if isinstance(tasks, int):
        numbers = range(tasks)
        tasks = [make_task(f"task-{n + 1}", types[n % len(types)], workflow=workflow) for n in numbers]
    spec = PlanSpec.checked(
        shards=shards, whole=True, repeats=repeats, seed=seed, settings=settings or {}, strategy=strategy, lanes=lanes
    )
    step = 1 if strategy == "paired" else shards
    dealt = [tasks[(0 if strategy == "paired" else number) :: step] for number in range(shards)]
    names = tuple(lane.name for lane in lanes_of({}, lanes, spec.settings))
    planned = [
        PlannedShard(id, mine, {}, settings_of({}, None, spec.settings), _in_turn(names, number))
        for number, (id, mine) in enumerate(zip(shard_ids(shards), dealt, strict=True))
    ]
    return build_plan(spec, [], planned)


def _in_turn(lanes: tuple[str, ...], number: int) -> tuple[str, ...]:
    """All of them, first the one whose turn it is."""
    first = number % len(lanes) if lanes else 0
    return (*lanes[first:], *lanes[:first])


def run_task(
    function: Callable[..., Any] | str,
    task: LightweightTask | None = None,
    *,
    settings: Mapping[str, Any] | None = None,
    shard: str = "shard-00",
    repeat: int = 0,
    attempt: int = 1,
    seed: int = 0,
    slot: int = 0,
    timeout_s: float | None = None,
    max_result_bytes: int = RunPolicy().max_result_bytes,
    monotonic: Monotonic = time.monotonic,
    log: Callable[[str], None] | None = None,
) -> Attempt:
    """Calls a worker function once, sync or async, with a real TaskContext, and gives the line of the journal.

    What the function returns goes through JSON, as in a run: `.result` is what `prealloc results` would see.
    What it raises becomes `.status` and `.error`, never an exception here: `failed`, or `infra` for what a
    run would try again, and `timeout` if that comes when the time is over. `function` may be a "module:function"
    too; then it is checked as `prealloc run --worker` checks it, and WorkerFunctionError is raised. `seed` is the
    plan's, `timeout_s` is only what `ctx.deadline` says: nothing is stopped. `log` takes the lines of `ctx.log`.
    What `ctx.on_exit` was given is called; a `ctx.note` is checked and forgotten.

    A class is made before and closed after; WorkerFunctionError is raised if it cannot be. An object of it, such as
    one with a fake client, is only called.
    """
    task = task if task is not None else make_task()
    clock = AttemptClock(monotonic, queued_s=0.0, waited_before_s=0.0)
    context = TaskContext(
        shard=shard,
        # Through JSON, as a manifest goes: a copy, and what is not JSON shows here and not in the run.
        settings=msgspec.json.decode(msgspec.json.encode(dict(settings or {}))),
        repeat=repeat,
        attempt=attempt,
        seed_parts=(seed, {}, task.id, repeat, 0),
        clock=clock,
        timeout_s=timeout_s,
        slot=slot,
        log=log,
    )
    worker = _worker_function(function)
    started_at = time.time()
    running = Running(UnitOrder(0, repeat, attempt), task.fresh(), context, clock, started_at, slot=0, pid=os.getpid())
    endings: list[Ending] = []
    alone = Alone(worker)
    try:
        alone.perform(running, max_result_bytes, endings.append)
    finally:
        problem = alone.close()
    if problem is not None:
        raise WorkerFunctionError(f"{worker.name} was not closed: {problem}", hint="a run goes on, with a note of it")
    (ending,) = endings
    return Attempt(
        shard=shard,
        task=task.id,
        repeat=repeat,
        attempt=attempt,
        status=ending.status,
        started_at=started_at,
        queued_s=0.0,
        waiting_s=clock.waited_s,
        working_s=clock.working_s,
        peak_rss=0,
        success=ending.success,
        score=ending.score,
        unclear=ending.unclear,
        usage=context.meter.take(),
        error=ending.error,
        result=None if ending.result is None else msgspec.json.decode(ending.result),
    )


def _worker_function(function: Callable[..., Any] | str) -> WorkerFunction:
    if isinstance(function, str):
        return load_function(function)
    return checked_function(
        f"{getattr(function, '__module__', '')}:{getattr(function, '__qualname__', repr(function))}", function
    )


# -- scripts ------------------------------------------------------------------------------------------------


class ScriptedFailure(Exception):
    """What `fails` raises: the agent's own failure, which is final."""


Step = dict[str, Any]
"""What one attempt does: made by the functions below, carried in the task's workflow as JSON."""


def returns(value: Any = None, *, after_s: float = 0.0) -> Step:
    """The attempt works `after_s` seconds and returns this JSON value: `ok`."""
    return {"do": "return", "value": value, "after_s": after_s}


def fails(message: str = "as its script says", *, after_s: float = 0.0) -> Step:
    """The attempt raises ScriptedFailure: `failed`."""
    return {"do": "fail", "message": message, "after_s": after_s}


def retries(*, retry_after_s: float | None = None, after_s: float = 0.0) -> Step:
    """The attempt raises Retryable, which waits at least `retry_after_s`: it is tried again, or ends `infra`."""
    return {"do": "retry", "retry_after_s": retry_after_s, "after_s": after_s}


def exits(code: int = 0, *, after_s: float = 0.0) -> Step:
    """The attempt ends its worker process by os._exit. Not for run_task or the inline engine: it ends yours."""
    return {"do": "exit", "code": code, "after_s": after_s}


def dies(number: int = signal.SIGTERM, *, after_s: float = 0.0) -> Step:
    """The attempt sends its own process this signal. Not for run_task or the inline engine: it hits yours."""
    return {"do": "signal", "number": int(number), "after_s": after_s}


def hangs(*, after_s: float = 0.0) -> Step:
    """The attempt never returns. Only for engines that can kill, with a timeout."""
    return {"do": "hang", "after_s": after_s}


def scripted(task: LightweightTask, ctx: TaskContext) -> Any:
    """The worker function `prealloc.testing:scripted`: does what the task's script says for this attempt.

        plan = make_plan([make_task("a", script=[retries(), returns({"success": True})]),
                          make_task("b", script=[fails()])])
        ended = prealloc.run(plan, scripted, out=tmp_path / "run", engine="inline")

    Attempts are counted over the whole run, resumes too. A task without a script returns its id.
    """
    workflow = task.workflow
    if not isinstance(workflow, dict) or "script" not in workflow:
        return {"task": task.id}
    script: list[Step] = workflow["script"]
    step = script[min(ctx.attempt, len(script)) - 1]
    time.sleep(step["after_s"])
    match step["do"]:
        case "return":
            return step["value"]
        case "fail":
            raise ScriptedFailure(step["message"])
        case "retry":
            raise Retryable("as its script says", after_s=step["retry_after_s"])
        case "exit":
            sys.stdout.flush()
            os._exit(step["code"])
        case "signal":
            os.kill(os.getpid(), step["number"])
            time.sleep(60)  # the signal may take a moment; nothing after this line is meant to happen
        case "hang":
            while True:
                time.sleep(3600)
    raise ValueError(f"a script has no step {step['do']!r}")
