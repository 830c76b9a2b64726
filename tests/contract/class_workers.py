"""Worker classes of the contract suite. What happens to an object is told by lines in the file TOLD, of any process."""

from __future__ import annotations

import asyncio
import os
import threading
from pathlib import Path
from types import TracebackType
from typing import Any

from prealloc import LightweightTask, NoCurrentTask, TaskContext, current

TOLD = "CLASS_WORKERS_TOLD"


def tell(what: str) -> None:
    """One line, with who says it: process and thread."""
    with Path(os.environ[TOLD]).open("a") as file:
        file.write(f"{what} {os.getpid()} {threading.get_ident()}\n")


class Counts:
    """Made, called, closed: in one thread while there is one task at a time."""

    def __init__(self) -> None:
        tell("made")
        self.calls = 0
        try:
            current()
        except NoCurrentTask:
            return
        raise AssertionError("no task runs while the object is made")

    def __call__(self, task: LightweightTask, ctx: TaskContext) -> Any:
        tell("called")
        self.calls += 1
        if task.workflow == "fail":
            raise ValueError("as its workflow says")
        return {"calls": self.calls, "current": current() is ctx}

    def close(self) -> None:
        tell("closed")


class Entered(Counts):
    """A context manager; its exit counts, not its close."""

    def __enter__(self) -> str:
        tell("entered")
        return "what is called is the object all the same"

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert kind is None
        tell("exited")

    def close(self) -> None:
        raise AssertionError("its exit closes it")


class Async(Counts):
    """Belongs to one event loop, and to the asyncio task that enters it."""

    async def __call__(self, task: LightweightTask, ctx: TaskContext) -> Any:  # type: ignore[override]
        assert asyncio.get_running_loop() is self.loop
        await asyncio.sleep(0.001)
        return super().__call__(task, ctx)

    async def __aenter__(self) -> None:
        await asyncio.sleep(0.001)
        self.loop, self.owner = asyncio.get_running_loop(), asyncio.current_task()
        tell("entered")

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await asyncio.sleep(0.001)
        assert asyncio.get_running_loop() is self.loop
        tell("exited")

    def close(self) -> None:
        raise AssertionError("its exit closes it")


class AsyncCloses(Counts):
    """Async, with aclose alone."""

    async def __call__(self, task: LightweightTask, ctx: TaskContext) -> Any:  # type: ignore[override]
        return super().__call__(task, ctx)

    async def aclose(self) -> None:
        tell("closed")

    def close(self) -> None:
        raise AssertionError("its aclose closes it")


class CannotBeMade(Counts):
    def __init__(self) -> None:
        super().__init__()
        raise ConnectionError("no database at db:5432")


class CannotBeEntered(Async):
    async def __aenter__(self) -> None:
        raise SystemExit("no browser")


class CannotBeClosed(Counts):
    def close(self) -> None:
        tell("closed")
        raise OSError("the connection was gone")


class NoCall:
    pass


class NeedsMore:
    def __init__(self, url: str) -> None: ...

    def __call__(self, task: LightweightTask, ctx: TaskContext) -> Any: ...


class CalledWithLess:
    def __call__(self, task: LightweightTask) -> Any: ...


class AsyncAtTheEndAlone:
    def __call__(self, task: LightweightTask, ctx: TaskContext) -> Any: ...

    async def __aenter__(self) -> None: ...

    async def __aexit__(self, *_: object) -> None: ...
