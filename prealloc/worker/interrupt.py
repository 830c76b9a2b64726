"""Ends a call of the user's code from another thread, and sees to it that nothing else is hit.

A coroutine is cancelled. In a thread, CPython raises an exception at its next bytecode (PyThreadState_SetAsyncExc),
wherever that is: so each call has a lock under which it is said when the thread enters the user's code and leaves it.
It is raised between these two only, and what was raised and has not come by the time of leaving is taken back. Work of
our own that the user's code calls (a message, a line of the journal) is shielded: the exception comes after it.

What sits in a C call gets the exception when that call returns, and not before.
"""

from __future__ import annotations

import ctypes
import threading
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar, cast

from prealloc.errors import Cancelled

if TYPE_CHECKING:
    import asyncio

P = ParamSpec("P")
T = TypeVar("T")

_here = threading.local()
"""`call`: the one that runs in this thread."""


class Call:
    """A call of the user's code: `run` in a thread or `run_async` on an event loop, `interrupt` from another thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._interrupted = False
        self._thread: int | None = None
        """The thread that is in the user's code now."""
        self._shields = 0
        self._owed = False
        """It was interrupted behind a shield."""
        self._cancel: Callable[[], object] | None = None
        """Cancels the coroutine that is awaited now."""

    @property
    def interrupted(self) -> bool:
        return self._interrupted

    def interrupt(self) -> None:
        """Has the user's code end. Once only: what it does then is its cleaning up."""
        with self._lock:
            if self._interrupted:
                return
            self._interrupted = True
            if self._cancel is not None:
                self._cancel()
            elif self._shields:
                self._owed = True
            elif self._thread is not None:
                _raise_in(self._thread, Cancelled)

    def run(self, function: Callable[P, T], *arguments: P.args, **keywords: P.kwargs) -> T:
        """Calls it in this thread. When this has returned, or raised, no exception is on its way any more."""
        try:
            self._enter()
            return function(*arguments, **keywords)
        finally:
            while True:
                try:
                    self._leave()
                    break
                except BaseException:  # it was raised a moment too late: on our way out
                    continue

    async def run_async(self, awaitable: Awaitable[T]) -> T:
        """Awaits it in the asyncio task that this is called in, which must be the call's own."""
        import asyncio  # loaded only for coroutines

        loop, task = asyncio.get_running_loop(), cast("asyncio.Task[Any]", asyncio.current_task())
        with self._lock:
            if self._interrupted:
                task.cancel()  # comes at the next await
            self._cancel = lambda: loop.call_soon_threadsafe(task.cancel)
        try:
            return await awaitable
        finally:
            with self._lock:
                self._cancel = None

    def shield(self, function: Callable[P, T], *arguments: P.args, **keywords: P.kwargs) -> T:
        """Calls a function of our own that must not be interrupted."""
        counted = 0
        try:
            with self._lock:
                self._shields += 1
                counted = 1
            _let_come()
            return function(*arguments, **keywords)
        finally:
            with self._lock:
                self._shields -= counted
                owed = self._owed and not self._shields
                self._owed = self._owed and not owed
            if owed:
                raise Cancelled

    def _enter(self) -> None:
        with self._lock:
            if self._interrupted:
                raise Cancelled
            self._thread = threading.get_ident()
        _here.call = self

    def _leave(self) -> None:
        with self._lock:
            _here.call = self._thread = None
            if self._interrupted:  # most often it has come by now
                _raise_in(threading.get_ident(), None)


def shielded(function: Callable[P, T]) -> Callable[P, T]:
    """The function, not to be interrupted when the user's code calls it."""

    def call(*arguments: P.args, **keywords: P.kwargs) -> T:
        running: Call | None = getattr(_here, "call", None)
        if running is None:
            return function(*arguments, **keywords)
        return running.shield(function, *arguments, **keywords)

    return call


def _let_come() -> None:
    """An exception that was raised before the shield comes at this call, at the latest."""


def _raise_in(thread: int, error: type[BaseException] | None) -> None:
    """None takes back what has not come yet."""
    argument: Any = None if error is None else ctypes.py_object(error)
    ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread), argument)
