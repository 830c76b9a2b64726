"""Worker functions that lay hands on what is the worker's: its calls, its channel, its threads, its process.

A task's workflow says which: `{"do": name}`; without one it is innocent. The innocents wait until `go` is there, if the
settings say so, so that they are in row when the others do their harm.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import decimal
import importlib.machinery
import importlib.util
import os
import pathlib
import signal
import sys
import threading
import time
import types
from collections.abc import Callable
from typing import Any

from prealloc import LightweightTask, TaskContext

NAN = float("nan")
ODD_RESULTS = "prealloc.worker.json_form"
"""Loaded only for results that are not JSON as they are."""

TOKENS: dict[str, Any] = {
    "fraction": 2.75,
    "none": None,
    "decimal": decimal.Decimal("2.1"),
    "zero": 0,
    "nan": NAN,
    "infinite": float("inf"),
    "negative": -1,
    "bool": True,
    "text": "12",
    "list": [3],
    "huge": 10**30,
    "complex": 2j,
}
TAKEN = ("fraction", "none", "decimal", "zero")

LINES: dict[str, bytes] = {
    "no JSON": b"garbage\xff\n",
    "another type": b'{"kind":"session"}\n',
    "no such message": b'["nonsense",1]\n',
    "a fraction": b'["ask",1,2.75]\n',
    "below zero": b'["done",1,-7,[true,null,null,false]]\n',
    "a unit of nobody": b'["s",4000,0,1]\n',
    "a repeat of nobody": b'["s",0,77,1]\n',
    "deep": b"[" * 100_000 + b"\n",
    "without end": b"x" * (3 << 20),
}


def act(task: LightweightTask, ctx: TaskContext) -> Any:
    """Does what the workflow says."""
    do = task.workflow or {}
    started(task, ctx)
    if "do" in do:
        return ACTIONS[do["do"]](task, ctx, do)
    wait_for_go(ctx)
    return {"success": True}


async def act_async(task: LightweightTask, ctx: TaskContext) -> Any:
    """The same in coroutines."""
    do = task.workflow or {}
    started(task, ctx)
    if "do" in do:
        return await COROUTINES[do["do"]](ctx)
    await asyncio.sleep(0.01)
    return {"success": True}


def started(task: LightweightTask, ctx: TaskContext) -> None:
    """Leaves the trace of a start."""
    pathlib.Path(ctx.settings["signals"], f"started.{task.id}.{ctx.repeat}.{ctx.attempt}.{os.getpid()}").touch()


def wait_for_go(ctx: TaskContext) -> None:
    if ctx.settings.get("wait"):
        wait_for_file(pathlib.Path(ctx.settings["signals"], "go"))


def wait_for_file(path: pathlib.Path) -> None:
    while not path.exists():
        time.sleep(0.01)


def estimate(task: LightweightTask, ctx: TaskContext, do: dict[str, Any]) -> Any:
    with ctx.throttle(tokens=TOKENS[do["what"]]) as turn:
        return {"tokens": turn.tokens}


def used(task: LightweightTask, ctx: TaskContext, do: dict[str, Any]) -> Any:
    with ctx.throttle(tokens=7) as turn:
        turn.used(TOKENS[do["what"]])
        return {"tokens": turn.tokens}


def say(task: LightweightTask, ctx: TaskContext, do: dict[str, Any]) -> Any:
    """Writes a line into the worker's channel, then waits for what becomes of that."""
    for name in os.listdir("/proc/self/fd"):
        with contextlib.suppress(OSError):
            if os.readlink(f"/proc/self/fd/{name}").startswith("socket:"):
                rest = LINES[do["what"]]
                while rest:
                    rest = rest[os.write(int(name), rest) :]
    time.sleep(1000)


def scribble(task: LightweightTask, ctx: TaskContext, do: dict[str, Any]) -> Any:
    """Writes into the worker's journal, then ends the worker."""
    for name in os.listdir("/proc/self/fd"):
        with contextlib.suppress(OSError):
            if os.readlink(f"/proc/self/fd/{name}").endswith(".jsonl"):
                os.write(int(name), b"not a line of a journal\n")
    os._exit(0)


def late(task: LightweightTask, ctx: TaskContext, do: dict[str, Any]) -> Any:
    """Throws an error into this thread a moment too late, as libraries do that end a step after a time."""
    me = threading.get_ident()

    def throw() -> None:
        while not pathlib.Path(ctx.settings["signals"], "go").exists():  # written by the test: the task has ended
            time.sleep(0.001)
        ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(me), ctypes.py_object(StepTimeout))

    threading.Thread(target=throw, daemon=True).start()
    return {"success": True}


class StepTimeout(Exception):
    """What is thrown late."""


def fork(task: LightweightTask, ctx: TaskContext, do: dict[str, Any]) -> Any:
    """Forks; the child comes back from the task as `how` says. The parent waits for it, and tells how it ended."""
    if do["how"] == "clean up":
        ctx.on_exit(lambda: _fork_and_wait(ctx))
        return {"success": True, "child": 0}
    pid = os.fork()
    if pid:
        return {"success": True, "child": os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])}
    signal.alarm(20)  # a child that lives on must not keep the test
    match do["how"]:
        case "return":
            return {"success": False, "child": "came back"}
        case "raise":
            raise ValueError("the child has failed")
        case "exit":
            sys.exit(7)
        case _:
            with ctx.throttle():
                return {"success": False, "child": "had a turn"}


def _fork_and_wait(ctx: TaskContext) -> None:
    if child := os.fork():
        ended = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        pathlib.Path(ctx.settings["signals"], f"ended.{ended}").touch()
    else:
        signal.alarm(20)


class HeldUp(importlib.machinery.SourceFileLoader):
    """The first process that gets here imports when another one has been forked and has ended."""

    folder = pathlib.Path()

    def exec_module(self, module: types.ModuleType) -> None:
        self.folder.joinpath("importing").touch()
        wait_for_file(self.folder / "forked")
        super().exec_module(module)


def hold_import(task: LightweightTask, ctx: TaskContext, do: dict[str, Any]) -> Any:
    """Its thread then imports, until the other task has forked and has buried its child."""
    HeldUp.folder = pathlib.Path(ctx.settings["signals"])
    spec = importlib.util.find_spec(ODD_RESULTS)
    spec.loader = HeldUp(ODD_RESULTS, spec.origin)
    sys.modules.pop(ODD_RESULTS, None)
    sys.meta_path.insert(0, types.SimpleNamespace(find_spec=lambda name, *_: spec if name == ODD_RESULTS else None))
    return {"success": True, "odd": {1}}


def fork_beside_it(task: LightweightTask, ctx: TaskContext, do: dict[str, Any]) -> Any:
    """The child comes back with what the parent's other thread is importing for."""
    folder = pathlib.Path(ctx.settings["signals"])
    wait_for_file(folder / "importing")
    pid = os.fork()
    if pid == 0:
        signal.alarm(20)
        return {"success": False, "odd": {2}}
    ended = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    folder.joinpath("forked").touch()
    return {"success": True, "child": ended}


async def exit_in_the_background(ctx: TaskContext) -> Any:
    async def watchdog() -> None:
        raise SystemExit(3)

    task = asyncio.get_running_loop().create_task(watchdog())
    await asyncio.sleep(1000)
    return {"success": task.done()}


async def stop_the_loop(ctx: TaskContext) -> Any:
    asyncio.get_running_loop().stop()
    await asyncio.sleep(1000)


async def cancel_all(ctx: TaskContext) -> Any:
    for task in asyncio.all_tasks():
        task.cancel()
    await asyncio.sleep(1000)


async def fork_async(ctx: TaskContext) -> Any:
    """The child awaits something before it comes back."""
    never = asyncio.get_running_loop().create_future()
    pid = os.fork()
    if pid:
        while True:
            await asyncio.sleep(0.01)
            done, status = os.waitpid(pid, os.WNOHANG)
            if done:
                return {"success": True, "child": os.waitstatus_to_exitcode(status)}
    signal.alarm(20)
    await never
    return {"success": False, "child": "came back"}


async def fork_at_exit(ctx: TaskContext) -> Any:
    ctx.on_exit(lambda: _fork_and_wait(ctx))
    return {"success": True}


ACTIONS: dict[str, Callable[[LightweightTask, TaskContext, dict[str, Any]], Any]] = {
    "estimate": estimate,
    "used": used,
    "say": say,
    "scribble": scribble,
    "late": late,
    "fork": fork,
    "hold import": hold_import,
    "fork beside it": fork_beside_it,
}
COROUTINES: dict[str, Callable[[TaskContext], Any]] = {
    "exit in the background": exit_in_the_background,
    "stop the loop": stop_the_loop,
    "cancel all": cancel_all,
    "fork": fork_async,
    "fork at exit": fork_at_exit,
}
