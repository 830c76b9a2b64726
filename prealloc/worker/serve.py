"""Serves units: threads for a sync function, coroutines on one event loop for an async one.

The object of a worker class is made and closed by its owner: the first of the threads, so that with one task at a time
one thread alone uses it, or an asyncio task beside the coroutines.
"""

from __future__ import annotations

import contextlib
import functools
import os
import threading
import time
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any, cast

from prealloc.worker.attempt import Running, clean_up, clean_up_async, leave_if_forked, perform, perform_async
from prealloc.worker.function import WorkerFunction
from prealloc.worker.instance import Instance
from prealloc.worker.units import UnitQueue

if TYPE_CHECKING:
    import asyncio

BLOCKED_S = 0.5
"""An event loop that has not turned for this long stands still in one of its tasks."""

LOOP_POLL_S = 0.05
"""A coroutine cannot sleep on the queue's condition; it looks again after at most this long."""


class Servers:
    """As many servers as may run at once. A server takes units from the queue until there will be none.

    `ended` is called by each server as its last act; `failed` if one cannot go on (the journal).
    """

    def __init__(
        self,
        function: WorkerFunction,
        units: UnitQueue,
        most_bytes: int,
        *,
        ended: Callable[[], None],
        failed: Callable[[BaseException], None],
    ) -> None:
        self._function = function
        self._units = units
        self._most_bytes = most_bytes
        self._ended = ended
        self._failed = failed
        self._lock = threading.Lock()
        self._started = 0
        self._count = 0
        self._loop: asyncio.AbstractEventLoop | None = None
        self._turned_at = time.monotonic()
        self._instance = Instance(function) if function.is_class else None
        self._begin, self._idle, self._end_it = threading.Event(), threading.Event(), threading.Event()
        """The owner may take units; it takes no more; it is to close the object."""
        self._end_it_async: asyncio.Event | None = None

    def make(self) -> bool:
        """Makes the object of a worker class. False: the system has no thread for it. Raises WorkerFunctionError."""
        instance = cast("Instance", self._instance)
        try:
            if self._function.is_async:
                self._on_loop(self._own_async)
            else:
                threading.Thread(target=self._own, name="prealloc-task", daemon=True).start()
        except RuntimeError:
            return False
        instance.made.wait()
        if instance.error is not None:
            raise instance.error
        self._function = instance.function
        return True

    def close(self, most_s: float) -> str | None:
        """Closes that object, and says why if it cannot: it gets so many seconds."""
        instance = self._instance
        if instance is None:
            return None
        if self._loop is not None and self._end_it_async is not None:
            self._loop.call_soon_threadsafe(self._end_it_async.set)
        elif self._idle.is_set():
            self._end_it.set()
        else:  # a task that was ended sits in the owner and does not come back
            with contextlib.suppress(RuntimeError):  # no thread: as if it took too long
                threading.Thread(target=instance.close, name="prealloc-close", daemon=True).start()
        if not instance.closed.wait(most_s):
            return f"it takes longer than {most_s:g} s"
        return instance.problem

    def grow(self, servers: int) -> bool:
        """Starts servers until this many have been started in all, or as many as the system has threads for.

        False: no server runs.
        """
        new, self._started = max(0, servers - self._started), max(servers, self._started)
        for _ in range(new):
            with self._lock:
                self._count += 1
            try:
                if self._function.is_async:
                    self._on_loop(self._serve_async)
                elif self._instance is not None and not self._begin.is_set():
                    self._begin.set()
                else:
                    threading.Thread(target=self._serve, name="prealloc-task", daemon=True).start()
            except RuntimeError:  # no thread can be started: the others take all units
                with self._lock:
                    self._count -= 1
                return self._count > 0
        return True

    @property
    def count(self) -> int:
        """Servers that have not ended, with those in which an attempt lingers."""
        return self._count

    def _own(self) -> None:
        instance = cast("Instance", self._instance)
        if not instance.make():
            return
        self._begin.wait()
        try:
            self._take_units()
        finally:
            self._idle.set()
            self._end()
        self._end_it.wait()
        instance.close()

    async def _own_async(self) -> None:
        import asyncio

        instance = cast("Instance", self._instance)
        self._end_it_async = asyncio.Event()
        if await instance.make_async():
            await self._end_it_async.wait()
            await instance.close_async()

    def _serve(self) -> None:
        try:
            self._take_units()
        finally:
            self._end()

    def _take_units(self) -> None:
        try:
            while (taken := self._units.next()) is not None:
                if isinstance(taken, Running):
                    self._units.finish(taken, perform(self._function, taken, self._most_bytes))
                    self._units.left(taken, clean=clean_up(taken))
                    if taken.call.interrupted:
                        return  # nothing else runs in a thread that an exception was thrown into
                else:
                    self._units.wait(taken)
        except BaseException as error:
            self._failed(error)

    async def _serve_async(self) -> None:
        import asyncio

        try:
            while (taken := self._units.next()) is not None:
                if isinstance(taken, Running):
                    self._units.finish(taken, await perform_async(self._function, taken, self._most_bytes))
                    self._units.left(taken, clean=await clean_up_async(taken))
                else:
                    await asyncio.sleep(min(taken, LOOP_POLL_S))
        except BaseException as error:
            self._failed(error)
        finally:
            self._end()

    def _on_loop(self, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        import asyncio

        if self._loop is None:
            self._loop = asyncio.new_event_loop()
            self._turned()
            # In a process that a task forks, its copy of this loop would go on with all other tasks.
            stop = functools.partial(self._loop.call_soon, leave_if_forked, os.getpid())
            os.register_at_fork(after_in_child=stop)
            threading.Thread(target=self._run_loop, args=(self._loop,), name="prealloc-loop", daemon=True).start()
        asyncio.run_coroutine_threadsafe(work(), self._loop)

    def _run_loop(self, loop: asyncio.AbstractEventLoop) -> None:
        try:
            loop.run_forever()
        except BaseException as error:  # a task of the user's own has raised SystemExit, say
            self._failed(error)
        self._failed(RuntimeError("a task stopped the worker's event loop"))

    # -- the event loop, seen from the control thread -------------------------------------------------------

    def beat(self) -> None:
        """Asks the event loop to show that it turns."""
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self._turned)

    def blocker(self) -> asyncio.Task[Any] | None:
        """The asyncio task that keeps the event loop from turning; None while it turns, or without one."""
        if self._loop is None or time.monotonic() - self._turned_at < BLOCKED_S:
            return None
        import asyncio

        return asyncio.current_task(self._loop)

    def _turned(self) -> None:
        self._turned_at = time.monotonic()

    def _end(self) -> None:
        with self._lock:
            self._count -= 1
        self._ended()
