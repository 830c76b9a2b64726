"""One try at one unit: calls the user's function, and turns whatever happens into an ending.

The one place where every exception is caught: a task may fail in any way without stopping its neighbours.
"""

from __future__ import annotations

import contextvars
import inspect
import os
import sys
import traceback
from collections.abc import Awaitable, Callable, Coroutine, Generator
from typing import TYPE_CHECKING, Any, NamedTuple, ParamSpec, TypeVar

import msgspec

from prealloc.model.outcome import KEY_REFUSED, TOO_MANY_REQUESTS, ErrorInfo, Status, verdict
from prealloc.model.policy import LEAST_PAUSE_S
from prealloc.model.task import LightweightTask
from prealloc.worker.answer import refused_status
from prealloc.worker.clocks import AttemptClock
from prealloc.worker.context import TaskContext, running_here
from prealloc.worker.function import WorkerFunction
from prealloc.worker.infrastructure import ask, http_status, is_infrastructure
from prealloc.worker.interrupt import Call
from prealloc.worker.job import UnitOrder
from prealloc.worker.result import describe, no_json, write_result
from prealloc.worker.retry_after import retry_after_s

if TYPE_CHECKING:
    import asyncio

P = ParamSpec("P")
T = TypeVar("T")

JUST_BEFORE_S = 0.05
"""A request's own timeout may end so much before the attempt's: clients round, and count from a bit earlier."""


class Ending(NamedTuple):
    """How an attempt ended, as JSON text and plain values."""

    status: Status
    result: msgspec.Raw | None = None
    error: ErrorInfo | None = None
    success: bool | None = None
    score: float | None = None
    unclear: str | None = None
    at_least_s: float | None = None
    """For infrastructure errors: how long the server asked to wait. LEAST_PAUSE_S at least, if it was a server."""

    @property
    def is_throttled(self) -> bool:
        """A server was there, and has asked to come back later: 429, or another status with a Retry-After."""
        status = self.error.http_status if self.error is not None else None
        return status == TOO_MANY_REQUESTS or (status is not None and self.at_least_s is not None)

    def given_up(self, why: str) -> Ending:
        """The same, told why it is not tried again although the server has only asked to come back later."""
        if self.error is None or not self.is_throttled:
            return self
        message = f"{self.error.message} (not tried again: {why})"
        return self._replace(error=msgspec.structs.replace(self.error, message=message))

    @property
    def is_key_refused(self) -> bool:
        """A server has refused the key: it will do so again, and that says nothing of the agent."""
        return self.status is Status.INFRA and self.error is not None and self.error.http_status in KEY_REFUSED


class Running:
    """An attempt in progress. `closed` is its fence: what ends it first closes it, the rest is late."""

    def __init__(
        self,
        order: UnitOrder,
        task: LightweightTask,
        context: TaskContext,
        clock: AttemptClock,
        wall: float,
        slot: int,
        pid: int,
    ) -> None:
        self.order = order
        self.task = task
        self.context = context
        self.clock = clock
        self.started_wall = wall
        self.slot = slot
        """Its row on the in-flight table."""
        self.pid = pid
        """The process that it runs in. What it forks is ended when it comes back."""
        self.announced = False
        """Whether its start has been told."""
        self.closed = False
        self.call = Call()
        """Ends the function from another thread."""
        self.inner: asyncio.Task[Ending] | None = None
        """The asyncio task that it runs in, if the function is async."""
        self.variables = contextvars.copy_context()
        """Its ContextVars: what it sets, no other attempt sees."""
        self.variables.run(running_here.set, context)
        self.again: tuple[UnitOrder, float] | None = None
        """The next try at its unit, which waits until this one has been cleaned up."""


def perform(function: WorkerFunction, running: Running, most_bytes: int) -> Ending:
    """Runs a sync function to its end, in this thread. What it returns may be a coroutine: then that is awaited."""
    try:
        ending = _returned(running.call.run(_call, function, running), most_bytes)
    except BaseException as error:
        ending = raised(error, running.context)
    return judged(running, ending)


def _call(function: WorkerFunction, running: Running) -> Any:
    value = running.variables.run(_called_here, running.pid, function.call, running.task, running.context)
    return _awaited(running, running.call.run_async(_Here(value, running.pid))) if inspect.isawaitable(value) else value


def _awaited(running: Running, coroutine: Coroutine[Any, Any, Any]) -> Any:
    """What the coroutine gives, on an event loop of this thread's own."""
    import asyncio

    return running.variables.run(asyncio.run, coroutine)


async def perform_async(function: WorkerFunction, running: Running, most_bytes: int) -> Ending:
    """Runs a coroutine function to its end, in a task of its own, so that it can be cancelled from outside."""
    import asyncio

    loop = asyncio.get_running_loop()
    inner = loop.create_task(_perform_inner(function, running, most_bytes), context=running.variables)
    running.inner = inner
    await asyncio.wait({inner})
    return judged(running, inner.result())


async def _perform_inner(function: WorkerFunction, running: Running, most_bytes: int) -> Ending:
    # Nothing is let out: a SystemExit that leaves an asyncio task stops the whole event loop.
    try:
        value = _called_here(running.pid, function.call, running.task, running.context)
        return _returned(await running.call.run_async(_Here(value, running.pid)), most_bytes)
    except BaseException as error:
        return raised(error, running.context)


def _called_here(pid: int, function: Callable[P, T], *arguments: P.args, **keywords: P.kwargs) -> T:
    """What the user's function gives to the process `pid`. One that it forks is ended as soon as it comes back.

    Nothing of ours may run there: another thread may have held any lock in the moment of the fork, that of an import
    too, and in the child nobody releases it.
    """
    try:
        value = function(*arguments, **keywords)
    except BaseException as error:
        leave_if_forked(pid, error)
        raise
    leave_if_forked(pid)
    return value


class _Here:
    """Awaits a coroutine, and lets no step of it end or begin in a process that a task has forked.

    That has a copy of the event loop, which would go on with every task that was running in it.
    """

    def __init__(self, awaited: Awaitable[Any], pid: int) -> None:
        self._steps = wait_for(awaited).__await__()  # not every awaitable has it: a generator-based coroutine has none
        self._pid = pid

    def __await__(self) -> Generator[Any, Any, Any]:
        error: BaseException | None = None
        while True:
            leave_if_forked(self._pid)
            ended, given = _called_here(self._pid, self._step, error)
            if ended:
                return given
            try:
                yield given
                error = None
            except BaseException as thrown:
                error = thrown

    def _step(self, error: BaseException | None) -> tuple[bool, Any]:
        """Whether that was its last one; what it gives or waits for."""
        try:
            return False, next(self._steps) if error is None else self._steps.throw(error)
        except StopIteration as end:
            return True, end.value


def leave_if_forked(pid: int, error: BaseException | None = None) -> None:
    """Ends this process if it is not `pid`: a task has forked it, and it comes back from the task.

    It has a copy of all that the worker has, and would write, tell and run what the worker does. `error` is what it
    came back by.
    """
    if os.getpid() == pid:
        return
    code = 0 if error is None else 1
    if isinstance(error, SystemExit):
        code = error.code if isinstance(error.code, int) else int(error.code is not None)
    elif error is not None:
        traceback.print_exception(error)
    sys.stderr.write("prealloc: a process that the task forked returned from the task, and is ended here\n")
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code & 0xFF)


def judged(running: Running, ending: Ending) -> Ending:
    """The ending, or that of a refused key if one was refused to a request: the agent may have caught the error."""
    status = running.context.refused_status
    return ending if status is None else key_refused(ending, status)


def key_refused(ending: Ending, status: int | None) -> Ending:
    """An ending that is owed to a key that was refused with this HTTP status."""
    error = ending.error or ErrorInfo(type="KeyRefused", message=f"a request was answered with HTTP {status}")
    return Ending(Status.INFRA, error=msgspec.structs.replace(error, http_status=status))


def clean_up(running: Running) -> bool:
    """Calls what `ctx.on_exit` was given, the last first. False: one of them failed; the log says how."""
    clean = True
    while running.context.exits:
        callback = running.context.exits.pop()
        try:
            value = running.variables.run(_called_here, running.pid, callback)
            if inspect.isawaitable(value):
                _awaited(running, wait_for(_Here(value, running.pid)))
        except BaseException:
            traceback.print_exc()
            clean = False
    return clean


async def clean_up_async(running: Running) -> bool:
    """The same on an event loop. A sync callback has a thread, since it may take its time."""
    import asyncio

    if not running.context.exits:
        return True
    return await asyncio.get_running_loop().create_task(_clean_up_inner(running), context=running.variables)


async def _clean_up_inner(running: Running) -> bool:
    import asyncio

    clean = True
    while running.context.exits:
        callback = running.context.exits.pop()
        try:
            is_async = inspect.iscoroutinefunction(callback)
            value = callback() if is_async else await asyncio.to_thread(_called_here, running.pid, callback)
            if inspect.isawaitable(value):
                await _Here(value, running.pid)
        except BaseException:
            traceback.print_exc()
            clean = False
    return clean


async def wait_for(value: Awaitable[T]) -> T:
    """As a coroutine, which is what an event loop runs."""
    return await value


def _returned(value: Any, most_bytes: int) -> Ending:
    written = write_result(value, most_bytes)
    success, score, unclear = verdict(written.value)
    status = Status.FAILED if written.flaws else Status.OK
    return Ending(status, written.json, no_json(written.flaws), success, score, unclear)


def timed_out(timeout_s: float | None, traceback: str | None = None) -> Ending:
    """The ending of an attempt that has used its time."""
    limit = f"worked longer than the timeout of {timeout_s:g} s"
    return Ending(Status.TIMEOUT, error=ErrorInfo(type="Timeout", message=limit, traceback=traceback))


def raised(error: BaseException, context: TaskContext) -> Ending:
    info = describe(error)
    if isinstance(error, SystemExit):
        return Ending(Status.CRASHED, error=info)  # an exit without a result
    if (refused := ask(refused_status, error)) is not None:
        return key_refused(Ending(Status.FAILED, error=info), refused)
    info = msgspec.structs.replace(info, http_status=ask(http_status, error))
    if not ask(is_infrastructure, error):
        return Ending(Status.FAILED, error=info)
    at_least_s = ask(retry_after_s, error)
    if info.http_status == TOO_MANY_REQUESTS and at_least_s is None:
        at_least_s = LEAST_PAUSE_S
    ending = Ending(Status.INFRA, error=info, at_least_s=at_least_s)
    left_s = context.remaining_s
    # A request that was given `ctx.remaining_s` ends when the attempt is ended from outside: whoever comes first, it
    # is the same timeout. What a server has answered in the last moment is still its answer.
    if left_s is not None and left_s <= (0.0 if ending.is_throttled else JUST_BEFORE_S):
        return timed_out(context.timeout_s, info.traceback)
    return ending
