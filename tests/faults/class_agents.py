"""Worker classes whose objects leave a trace when they are made and closed, and hang where the environment says."""

from __future__ import annotations

import asyncio
import os
import pathlib
import time
from types import TracebackType
from typing import Any

import agents

from prealloc import LightweightTask, TaskContext

FOLDER, HANGS = "CLASS_AGENTS_FOLDER", "CLASS_AGENTS_HANG"


def trace(what: str) -> None:
    pathlib.Path(os.environ[FOLDER], f"{what}.{os.getpid()}").touch()
    if os.environ.get(HANGS) == what:
        time.sleep(agents.FOR_EVER_S)


class Holder:
    """Held by one thread."""

    def __init__(self) -> None:
        trace("made")

    def __call__(self, task: LightweightTask, ctx: TaskContext) -> Any:
        if task.workflow["do"] != "wait":
            return agents.act(task, ctx)
        agents.started(task, ctx)
        while True:  # bytecode, so that it can be interrupted
            time.sleep(0.01)

    def close(self) -> None:
        trace("closed")


class AsyncHolder:
    """Held by one event loop."""

    async def __aenter__(self) -> None:
        await asyncio.sleep(0)
        trace("made")

    async def __call__(self, task: LightweightTask, ctx: TaskContext) -> Any:
        if task.workflow["do"] == "wait":
            agents.started(task, ctx)
            await asyncio.sleep(agents.FOR_EVER_S)
        return await agents.act_async(task, ctx)

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace_: TracebackType | None
    ) -> None:
        await asyncio.sleep(0)
        trace("closed")
