"""One try at one unit: calls the user's function, and turns whatever happens into an ending.

The one place where every exception is caught: a task may fail in any way without stopping its neighbours.
"""

from __future__ import annotations

import contextvars
import inspect
import traceback
from collections.abc import Awaitable, Coroutine
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from prealloc.model.json_value import NoJson
from prealloc.model.outcome import TOO_MANY_REQUESTS, ErrorInfo, Status, verdict
from prealloc.model.task import LightweightTask
from prealloc.worker.clocks import AttemptClock
from prealloc.worker.context import TaskContext
from prealloc.worker.function import WorkerFunction
from prealloc.worker.infrastructure import ask, http_status, is_infrastructure, retry_after_s
from prealloc.worker.interrupt import Call
from prealloc.worker.job import UnitOrder
from prealloc.worker.result import describe, encode_result

if TYPE_CHECKING:
    import asyncio


class Ending(NamedTuple):
    """How an attempt ended, as JSON text and plain values."""

    status: Status
    result: msgspec.Raw | None = None
    error: ErrorInfo | None = None
    success: bool | None = None
    score: float | None = None
    at_least_s: float | None = None
    """For infrastructure errors: how long the server asked to wait."""

    @property
    def is_throttled(self) -> bool:
        """A server was there, and has asked to come back later: 429, or another status with a Retry-After."""
        status = self.error.http_status if self.error is not None else None
        return status == TOO_MANY_REQUESTS or (status is not None and self.at_least_s is not None)


class Running:
    """An attempt in progress. `closed` is its fence: what ends it first closes it, the rest is late."""

    __slots__ = (
        "again",
        "announced",
        "call",
        "clock",
        "closed",
        "context",
        "inner",
        "order",
        "slot",
        "started_wall",
        "task",
        "variables",
    )

    def __init__(
        self,
        order: UnitOrder,
        task: LightweightTask,
        context: TaskContext,
        clock: AttemptClock,
        wall: float,
        slot: int,
    ) -> None:
        self.order = order
        self.task = task
        self.context = context
        self.clock = clock
        self.started_wall = wall
        self.slot = slot
        """Its row on the flight board."""
        self.announced = False
        """Whether its start has been told."""
        self.closed = False
        self.call = Call()
        """Ends the function from another thread."""
        self.inner: asyncio.Task[Ending] | None = None
        """The asyncio task that it runs in, if the function is async."""
        self.variables = contextvars.copy_context()
        """A sync function's ContextVars: what it sets, no other attempt sees."""
        self.again: tuple[UnitOrder, float] | None = None
        """The next try at its unit, which waits until this one has been cleaned up."""


def perform(function: WorkerFunction, running: Running, most_bytes: int) -> Ending:
    """Runs a sync function to its end, in this thread. What it returns may be a coroutine: then that is awaited."""
    try:
        return _returned(running.call.run(_call, function, running), most_bytes)
    except BaseException as error:
        return _raised(error)


def _call(function: WorkerFunction, running: Running) -> Any:
    value = running.variables.run(function.call, running.task, running.context)
    return _awaited(running, running.call.run_async(value)) if inspect.isawaitable(value) else value


def _awaited(running: Running, coroutine: Coroutine[Any, Any, Any]) -> Any:
    """What the coroutine gives, on an event loop of this thread's own."""
    import asyncio

    return running.variables.run(asyncio.run, coroutine)


async def perform_async(function: WorkerFunction, running: Running, most_bytes: int) -> Ending:
    """Runs a coroutine function to its end, in a task of its own, so that it can be cancelled from outside."""
    import asyncio

    loop = asyncio.get_running_loop()
    inner = loop.create_task(_perform_inner(function, running, most_bytes))
    running.inner = inner
    await asyncio.wait({inner})
    return inner.result()


async def _perform_inner(function: WorkerFunction, running: Running, most_bytes: int) -> Ending:
    # Nothing is let out: a SystemExit that leaves an asyncio task stops the whole event loop.
    try:
        return _returned(await running.call.run_async(function.call(running.task, running.context)), most_bytes)
    except BaseException as error:
        return _raised(error)


def clean_up(running: Running) -> bool:
    """Calls what `ctx.on_exit` was given, the last first. False: one of them failed, which stands in the log."""
    clean = True
    while running.context.exits:
        callback = running.context.exits.pop()
        try:
            value = running.variables.run(callback)
            if inspect.isawaitable(value):
                _awaited(running, _wait_for(value))
        except BaseException:
            traceback.print_exc()
            clean = False
    return clean


async def clean_up_async(running: Running) -> bool:
    """The same on an event loop. A sync callback has a thread, since it may take its time."""
    import asyncio

    clean = True
    while running.context.exits:
        callback = running.context.exits.pop()
        try:
            value = callback() if inspect.iscoroutinefunction(callback) else await asyncio.to_thread(callback)
            if inspect.isawaitable(value):
                await value
        except BaseException:
            traceback.print_exc()
            clean = False
    return clean


async def _wait_for(value: Awaitable[Any]) -> None:
    await value


def _returned(value: Any, most_bytes: int) -> Ending:
    try:
        result = encode_result(value, most_bytes)
    except NoJson as flaw:
        return Ending(Status.FAILED, error=ErrorInfo(type="NoJson", message=str(flaw)))
    success, score = verdict(value)
    return Ending(Status.OK, result, success=success, score=score)


def _raised(error: BaseException) -> Ending:
    info = describe(error)
    if isinstance(error, SystemExit):
        return Ending(Status.CRASHED, error=info)  # an exit without a result
    info = msgspec.structs.replace(info, http_status=ask(http_status, error))
    if ask(is_infrastructure, error):
        return Ending(Status.INFRA, error=info, at_least_s=ask(retry_after_s, error))
    return Ending(Status.FAILED, error=info)
