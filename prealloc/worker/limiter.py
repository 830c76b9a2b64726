"""The worker's end of the lane limiter: asks for turns, and waits for the moment of each."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Protocol

from prealloc.errors import Retryable
from prealloc.model.outcome import Answer
from prealloc.worker.messages import Ask, Done, Permit

if TYPE_CHECKING:
    from concurrent.futures import Future


class LimiterClient(Protocol):
    """Where turns on a lane come from."""

    def wait(self, tokens: int) -> int:
        """Waits for the turn of a request that will take about this many tokens; gives the turn's number."""
        ...

    async def wait_async(self, tokens: int) -> int:
        """The same for coroutines."""
        ...

    def done(self, turn: int, tokens: int, answer: Answer) -> None:
        """Says what the request of a turn has used, and what came of it."""
        ...


def no_turn(why: str) -> Retryable:
    """What a request gets in place of its turn on a lane that has halted. It says nothing of the agent."""
    return Retryable(f"the lane has halted: {why}")


MOST_MISSED = 3
"""Slots that are given back for being late. A worker that is late again and again is as good as never on time."""


INTERRUPTIBLE_S = 0.1
"""A thread that waits for its turn hears within this long that its attempt is over."""


class RemoteLimiter:
    """Turns from the master's limiter. `send` asks it; its answers come to `granted`, from another thread."""

    def __init__(self, send: Callable[[Ask | Done], None]) -> None:
        self._send = send
        self._numbers = itertools.count(1)
        self._lock = threading.Lock()
        self._asked: dict[int, Future[Permit]] = {}
        self._closed: str | None = None
        """Why there are no further turns."""

    def wait(self, tokens: int) -> int:
        for _ in range(MOST_MISSED):
            future = self._ask(tokens)
            try:
                permit = self._permit(future)
                time.sleep(max(0.0, permit.at - time.monotonic()))
            except BaseException:  # Cancelled
                if not future.cancel():
                    self._give_back(future)
                raise
            if not self._missed(permit):
                break
        return permit.turn

    async def wait_async(self, tokens: int) -> int:
        import asyncio

        for _ in range(MOST_MISSED):
            future = self._ask(tokens)
            try:
                permit = await asyncio.wrap_future(future)
                await asyncio.sleep(max(0.0, permit.at - time.monotonic()))
            except asyncio.CancelledError:
                self._give_back(future)
                raise
            if not self._missed(permit):
                break
        return permit.turn

    def done(self, turn: int, tokens: int, answer: Answer) -> None:
        self._send(Done(turn, tokens, answer))

    def granted(self, permits: Sequence[Permit]) -> None:
        """These turns have come."""
        for permit in permits:
            with self._lock:
                future = self._asked.pop(permit.turn, None)
            if future is not None and future.set_running_or_notify_cancel():
                future.set_result(permit)
            else:
                self.done(permit.turn, 0, Answer())  # who asked has been cancelled: the tokens are for others

    def close(self, why: str) -> None:
        """The lane has halted: who waits for a turn, or asks for one, gets none."""
        with self._lock:
            self._closed = why
            asked, self._asked = self._asked, {}
        for future in asked.values():
            if future.set_running_or_notify_cancel():
                future.set_exception(no_turn(why))

    def _ask(self, tokens: int) -> Future[Permit]:
        from concurrent.futures import Future  # loaded only with a lane

        future: Future[Permit] = Future()
        with self._lock:
            if self._closed is not None:
                raise no_turn(self._closed)
            turn = next(self._numbers)
            self._asked[turn] = future
        self._send(Ask(turn, tokens))
        return future

    @staticmethod
    def _permit(future: Future[Permit]) -> Permit:
        while True:
            try:
                return future.result(INTERRUPTIBLE_S)
            except TimeoutError:  # no bytecode runs while it waits, so no exception could come
                continue

    def _missed(self, permit: Permit) -> bool:
        if time.monotonic() - permit.at <= permit.late_s:
            return False
        self.done(permit.turn, 0, Answer())
        return True

    def _give_back(self, future: Future[Permit]) -> None:
        if future.done() and not future.cancelled():
            self.done(future.result().turn, 0, Answer())
