"""Worker functions of the contract suite."""

from __future__ import annotations

import asyncio
import contextvars
import os
import threading
import time
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pydantic

import prealloc
from prealloc import LightweightTask, NoCurrentTask, Retryable, TaskContext


class NoPickle(Exception):
    """Pickles, but does not unpickle: what some client libraries' errors do."""

    def __init__(self, message: str, *, response: object) -> None:
        super().__init__(message)
        self.response = response


class TooMany(Exception):
    """A rate limit as clients raise it, told by its shape alone."""

    status_code = 429


def echo(task: LightweightTask, ctx: TaskContext) -> Any:
    """Everything a function sees, as its result."""
    return {
        "id": task.id,
        "workflow": task.workflow,
        "settings": ctx.settings,
        "seed": ctx.seed,
        "attempt": ctx.attempt,
        "repeat": ctx.repeat,
        "shard": ctx.shard,
        "lane": ctx.lane,
    }


def meets_the_others(task: LightweightTask, ctx: TaskContext) -> Any:
    """Waits for the first task of every shard; where all run in one thread, for nobody."""
    folder = Path(ctx.settings["folder"])
    (folder / ctx.shard).touch()
    while ctx.settings["shards"] > len(list(folder.iterdir())) and not ctx.settings["alone"]:
        time.sleep(0.01)
    return {"slot": ctx.slot, "pid": os.getpid()}


async def echo_async(task: LightweightTask, ctx: TaskContext) -> Any:
    """The same from an event loop."""
    await asyncio.sleep(0.001)
    return echo(task, ctx)


def no_json(task: LightweightTask, ctx: TaskContext) -> Any:
    """Returns what its workflow names, none of it JSON."""
    loop: list[Any] = []
    loop.append(loop)
    values = {
        "nan": {"score": float("nan")},
        "bytes": {"blob": b"x"},
        "cycle": loop,
        "surrogate": {"text": "\ud800"},
        "complex": {"z": 1j},
        "key": {(1, 2): 3},
        "integer": {"n": 2**70, "success": True, "score": 0.5},
        "large": {"text": "x" * (17 * 2**20)},
    }
    return values[task.workflow]


class Answer(pydantic.BaseModel):
    success: bool
    score: float


def says(task: LightweightTask, ctx: TaskContext) -> Any:
    """Returns what its workflow says of success; a name is that of a kind that is no JSON, or fails."""
    import numpy  # here: every fork server of the suite would import it

    kinds = {
        "numpy true": {"success": numpy.bool_(True)},
        "numpy 0": {"success": numpy.int64(0)},
        "numpy 1.0": {"success": numpy.float64(1)},
        "numpy half": {"success": numpy.float32(0.5)},
        "model": Answer(success=True, score=1.0),
        "nothing": None,
    }
    return kinds[task.workflow] if isinstance(task.workflow, str) else task.workflow


def odd_errors(task: LightweightTask, ctx: TaskContext) -> Any:
    """Raises what its workflow names."""
    if task.workflow == "no_pickle":
        raise NoPickle("cannot be rebuilt", response=open)
    if task.workflow == "system_exit":
        raise SystemExit(3)
    if task.workflow == "interrupt":
        raise KeyboardInterrupt
    raise ValueError("half a pair: \ud800")


def vandal(task: LightweightTask, ctx: TaskContext) -> Any:
    """Changes all it is given, and fails its first attempt."""
    seen = {"workflow": dict(task.workflow), "settings": dict(ctx.settings)}
    task.workflow["left"] = "behind"
    ctx.settings["left"] = "behind"
    if ctx.attempt == 1:
        raise Retryable(after_s=0.0)
    return seen


def limited(task: LightweightTask, ctx: TaskContext) -> Any:
    """Meets a 429 at its first attempt."""
    if ctx.attempt == 1:
        raise TooMany("slow down")
    return "served"


TASK_OF: contextvars.ContextVar[str | None] = contextvars.ContextVar("TASK_OF", default=None)


def tidies(task: LightweightTask, ctx: TaskContext) -> Any:
    """Has two things to do at its exit, one of which fails; looks at a ContextVar and sets it."""
    before, folder = TASK_OF.get(), Path(ctx.settings["folder"])
    TASK_OF.set(task.id)
    ctx.note({"of": task.id})
    ctx.on_exit(lambda: (folder / f"{task.id}.{TASK_OF.get() or 'nobody'}").touch())
    ctx.on_exit(lambda: 1 / 0)
    if task.workflow == "fail":
        raise ValueError("as its workflow says")
    return {"before": before}


async def tidies_async(task: LightweightTask, ctx: TaskContext) -> Any:
    """The same from an event loop, with a coroutine for its exit that is a generator, which is rare."""

    @types.coroutine
    def close() -> Iterator[None]:
        yield
        (Path(ctx.settings["folder"]) / f"{task.id}.{TASK_OF.get() or task.id}").touch()

    ctx.on_exit(close)
    return await asyncio.sleep(0.001, {"before": None}) if task.workflow != "fail" else 1 / 0


def wraps_async(task: LightweightTask, ctx: TaskContext) -> Any:
    """A sync function round an async one, as decorators make them."""
    return tidies_async(task, ctx)


def deep_down() -> str:
    """Code that nobody hands a context."""
    try:
        return str(prealloc.current().settings["prefix"]) + prealloc.current().shard
    except NoCurrentTask as error:
        return f"{type(error).__name__}: {isinstance(error, RuntimeError)}"


def _in_threads(call: Any) -> list[str]:
    """What a call gives in a thread of the task's own: in a copy of its ContextVars, then without one."""
    found: list[str] = []
    for run in (contextvars.copy_context().run, lambda call: call()):
        thread = threading.Thread(target=run, args=(lambda: found.append(call()),))
        thread.start()
        thread.join()
    return found


def asks_who_runs(task: LightweightTask, ctx: TaskContext) -> Any:
    """What `prealloc.current()` is, here, in its threads, and at its exit."""
    ctx.on_exit(lambda: ctx.note({"at exit": prealloc.current() is ctx}))
    return [prealloc.current() is ctx, deep_down(), *_in_threads(deep_down)]


async def asks_who_runs_async(task: LightweightTask, ctx: TaskContext) -> Any:
    """The same of coroutines that take turns on one event loop."""

    async def at_exit() -> None:
        ctx.note({"at exit": prealloc.current() is ctx})

    async def child() -> bool:
        await asyncio.sleep(0.005)
        return prealloc.current() is ctx

    ctx.on_exit(at_exit)
    await asyncio.sleep(0.005)
    mine = all(await asyncio.gather(child(), child())) and prealloc.current() is ctx
    return [mine, await asyncio.to_thread(deep_down), *_in_threads(deep_down)]


def asks_who_runs_wrapped(task: LightweightTask, ctx: TaskContext) -> Any:
    """A sync function round the async one."""
    return asks_who_runs_async(task, ctx)


class Agent:
    """An object that is called: it has no name to import it by."""

    def __call__(self, task: LightweightTask, ctx: TaskContext) -> Any:
        return None


class Refused(Exception):
    """A refused key as clients raise it."""

    status_code = 401


def refused(task: LightweightTask, ctx: TaskContext) -> Any:
    """The lanes that its settings name have a dead key."""
    if ctx.lane in ctx.settings["dead"]:
        raise Refused("invalid key")
    return {"success": True}
