"""Worker functions that hold something, and what cleans up after them. A task's workflow says how: `{"do": name}`."""

from __future__ import annotations

import asyncio
import atexit
import contextvars
import os
import pathlib
import signal
import time
from typing import Any

from agents import FOR_EVER_S, STUBBORN, gil_blocked, started

import prealloc
from prealloc import LightweightTask, TaskContext

SEEN: contextvars.ContextVar[str | None] = contextvars.ContextVar("SEEN", default=None)


def trace(folder: str, name: str) -> None:
    """Leaves a file with the moment in it."""
    path = pathlib.Path(folder, name)
    path.with_name(f".{name}").write_text(str(time.monotonic()))
    path.with_name(f".{name}").rename(path)


def hold(task: LightweightTask, ctx: TaskContext) -> Any:
    """Holds something until it is told to end, or as long as `do` says."""
    folder, do = ctx.settings["signals"], task.workflow
    ctx.on_exit(lambda: trace(folder, f"exit.{task.id}"))
    ctx.note({"container": f"{task.id}-{ctx.attempt}", "signals": folder})
    started(task, ctx)
    try:
        if do["do"] == "ok":
            return {"success": True}
        if do["do"] == "fail":
            raise ValueError("the agent failed")
        if do["do"] == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        if do["do"] == "sleep":  # one call that no exception can reach
            time.sleep(do.get("s", FOR_EVER_S))
        while not pathlib.Path(folder, "go").exists():
            time.sleep(0.01)
        return {"success": True}
    except prealloc.Cancelled:
        trace(folder, f"told.{task.id}")
        time.sleep(do.get("clean_s", 0))
        if do["do"] == "linger":
            time.sleep(FOR_EVER_S)
        return {"success": True, "too": "late"}
    finally:
        trace(folder, f"finally.{task.id}")


async def hold_async(task: LightweightTask, ctx: TaskContext) -> Any:
    """The same as a coroutine."""
    folder, do = ctx.settings["signals"], task.workflow

    async def close() -> None:
        await asyncio.sleep(0.01)
        trace(folder, f"exit.{task.id}")

    ctx.on_exit(close)
    ctx.on_exit(lambda: trace(folder, f"first.{task.id}"))
    started(task, ctx)
    try:
        if do["do"] == "ok":
            return {"success": True}
        if do["do"] == "fail":
            raise ValueError("the agent failed")
        await asyncio.sleep(FOR_EVER_S)
    finally:
        await asyncio.sleep(do.get("clean_s", 0))
        trace(folder, f"finally.{task.id}")


def wrapped(task: LightweightTask, ctx: TaskContext) -> Any:
    """A sync function that returns a coroutine."""
    return hold_async(task, ctx)


def stubborn(task: LightweightTask, ctx: TaskContext) -> Any:
    """Takes no notice of its end, and has a child that does not either."""
    os.posix_spawn("/bin/sh", ["sh", "-c", STUBBORN], dict(os.environ))
    started(task, ctx)
    while True:
        try:
            time.sleep(0.01)
        except prealloc.Cancelled:
            trace(ctx.settings["signals"], f"told.{task.id}")
            if task.workflow["do"] == "gil":
                gil_blocked(task, ctx, {})


def at_the_limit(task: LightweightTask, ctx: TaskContext) -> Any:
    """Ends at about its deadline, a little before or after."""
    started(task, ctx)
    with ctx.throttle(tokens=1):
        pass
    until = (ctx.deadline or 0.0) + task.workflow["past_s"]
    while time.monotonic() < until:
        pass
    return {"success": True}


def telemetry(task: LightweightTask, ctx: TaskContext) -> Any:
    """What OpenTelemetry and wandb do: they flush at the end of the process. And a ContextVar, set and looked at."""
    folder, before = ctx.settings["signals"], SEEN.get()
    SEEN.set(task.id)
    atexit.register(lambda: trace(folder, f"flushed.{task.id}"))
    if task.workflow["do"] == "slow flush":
        atexit.register(time.sleep, FOR_EVER_S)
    return {"success": before is None}


def sweep(unit: str, notes: list[Any]) -> None:
    """A --cleanup function."""
    for note in notes:
        folder = pathlib.Path(note["signals"])
        time.sleep(0.7 if (folder / "slow").exists() else 0)
        trace(str(folder), f"swept.{note['container']}")
        (folder / f"unit.{note['container']}").write_text(unit)
        if (folder / "broken").exists():
            raise OSError("the daemon does not answer")


async def sweep_async(unit: str, notes: list[Any]) -> None:
    """The same as a coroutine."""
    await asyncio.sleep(0)
    sweep(unit, notes)
