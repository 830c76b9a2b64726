"""A worker in the thread that calls it, one task after another: for the inline engine, and for tests."""

from __future__ import annotations

import contextlib
import traceback
from collections.abc import Callable
from typing import TYPE_CHECKING

from prealloc.worker.attempt import (
    Ending,
    Running,
    clean_up,
    clean_up_async,
    leave_if_forked,
    perform,
    perform_async,
    raised,
)
from prealloc.worker.function import WorkerFunction
from prealloc.worker.instance import Instance

if TYPE_CHECKING:
    import asyncio


class Alone:
    """A worker function, or the object of a worker class: made here, and closed by `close`.

    Use it in one thread. Raises WorkerFunctionError if the object cannot be made.
    """

    def __init__(self, worker: WorkerFunction) -> None:
        self._function = worker
        self._instance = Instance(worker) if worker.is_class else None
        self._runner: asyncio.Runner | None = None
        """The event loop on which the object lives."""
        if self._instance is None:
            return
        if worker.is_async:
            self._runner = _new_runner()
            self._runner.run(self._instance.make_async())
        else:
            self._instance.make()
        if self._instance.error is not None:
            self._close_runner()
            raise self._instance.error
        self._function = self._instance.function

    def close(self) -> str | None:
        """Closes the object of a worker class, and says why if it cannot."""
        if self._instance is None:
            return None
        if self._runner is not None:
            self._runner.run(self._instance.close_async())
            self._close_runner()
        else:
            self._instance.close()
        return self._instance.problem

    def perform(self, running: Running, most_bytes: int, decided: Callable[[Ending], None]) -> bool:
        """Runs an attempt to its end. `decided` gets the ending; then what `ctx.on_exit` was given is called.

        Returns whether that was clean.
        """
        if not self._function.is_async:
            decided(perform(self._function, running, most_bytes))
            return clean_up(running)
        if self._runner is not None:
            return self._perform_on(self._runner, running, most_bytes, decided)
        runner = _new_runner()
        try:
            return self._perform_on(runner, running, most_bytes, decided)
        finally:
            with contextlib.suppress(SystemExit):
                runner.close()

    def _perform_on(
        self, runner: asyncio.Runner, running: Running, most_bytes: int, decided: Callable[[Ending], None]
    ) -> bool:
        try:
            ending = runner.run(perform_async(self._function, running, most_bytes))
        except BaseException as error:  # SystemExit of a coroutine that it has left in the background
            leave_if_forked(running.pid, error)
            if running.inner is not None:
                running.inner.cancel()
            ending = raised(error, running.context)
        decided(ending)
        try:
            return runner.run(clean_up_async(running))
        except BaseException:
            traceback.print_exc()
            return False

    def _close_runner(self) -> None:
        if self._runner is not None:
            with contextlib.suppress(SystemExit):
                self._runner.close()


def _new_runner() -> asyncio.Runner:
    import asyncio  # loaded only for coroutines

    return asyncio.Runner()
