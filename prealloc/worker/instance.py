"""The one object of a worker class in its process: made before the first task, closed after the last.

    def __call__         Class()  __enter__                 tasks, in threads         __exit__, else close()
    async def __call__   Class()  __aenter__ or __enter__   tasks, on one event loop  its exit, else aclose() or close()

What is called is the object itself, whatever `__enter__` gives. It is made and closed in one thread, or in one
asyncio task, as database connections, browsers and cancel scopes want it.
"""

from __future__ import annotations

import inspect
import os
import threading
import traceback
from collections.abc import Callable, Iterator
from contextlib import AsyncExitStack, ExitStack, contextmanager
from typing import Any

from prealloc.errors import WorkerFunctionError
from prealloc.worker.attempt import leave_if_forked
from prealloc.worker.function import WorkerFunction, brief_error, defines


class Instance:
    """Of one worker class. Its methods may be called from different threads, each once."""

    def __init__(self, worker: WorkerFunction) -> None:
        self._worker = worker
        self._exit: ExitStack | AsyncExitStack | None = None
        """Set while the object is to be closed."""
        self._pid = os.getpid()
        self.made = threading.Event()
        """Set when `function` or `error` is."""
        self.function = worker
        """Calls the object, once that is made."""
        self.error: WorkerFunctionError | None = None
        """Why it could not be made."""
        self.closed = threading.Event()
        self.problem: str | None = None
        """What closing it has raised."""

    def make(self) -> bool:
        """Makes the object, in the thread that the tasks run in. False: it cannot be made."""
        with self._making(), ExitStack() as stack:
            made = self._worker.call()
            if _has_either(made, "__enter__", "__exit__"):
                stack.enter_context(made)
            elif (close := getattr(made, "close", None)) is not None:
                stack.callback(close)
            self._take(made, stack.pop_all())
        return self.error is None

    async def make_async(self) -> bool:
        """The same on the event loop that the tasks run on."""
        with self._making():
            async with AsyncExitStack() as stack:
                made = self._worker.call()
                if _has_either(made, "__aenter__", "__aexit__"):
                    await stack.enter_async_context(made)
                elif _has_either(made, "__enter__", "__exit__"):
                    stack.enter_context(made)
                elif (close := getattr(made, "aclose", None) or getattr(made, "close", None)) is not None:
                    stack.push_async_callback(_call, close)
                self._take(made, stack.pop_all())
        return self.error is None

    def close(self) -> None:
        """Closes the object, if it has been made and not closed yet."""
        with self._closing() as stack:
            if isinstance(stack, ExitStack):
                stack.close()

    async def close_async(self) -> None:
        """The same on the event loop, in the asyncio task that has made it."""
        with self._closing() as stack:
            if isinstance(stack, AsyncExitStack):
                await stack.aclose()

    # -- inside ---------------------------------------------------------------------------------------------

    def _take(self, made: Callable[..., Any], stack: ExitStack | AsyncExitStack) -> None:
        self.function = self._worker._replace(call=made, is_class=False)
        self._exit = stack

    @contextmanager
    def _making(self) -> Iterator[None]:
        try:
            yield
            leave_if_forked(self._pid)
        except BaseException as error:
            leave_if_forked(self._pid, error)
            traceback.print_exc()
            self.error = WorkerFunctionError(
                f"{self._worker.name} cannot be made: {brief_error(error)}",
                hint="its traceback is in the shard's log; when the cause is gone, `prealloc resume`",
            )
        finally:
            self.made.set()

    @contextmanager
    def _closing(self) -> Iterator[ExitStack | AsyncExitStack | None]:
        stack, self._exit = self._exit, None
        try:
            yield stack
            leave_if_forked(self._pid)
        except BaseException as error:
            leave_if_forked(self._pid, error)
            traceback.print_exc()
            self.problem = brief_error(error)
        finally:
            self.closed.set()


def _has_either(made: Any, *names: str) -> bool:
    """One of a pair is enough: contextlib then says which is missing."""
    return any(defines(type(made), name) for name in names)


async def _call(close: Callable[[], Any]) -> None:
    value = close()
    if inspect.isawaitable(value):
        await value
