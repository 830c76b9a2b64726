"""The worker's book: which unit is next, which run, and how each ended. Every thread writes into it.

Each ending is recorded in this order: fence, journal, supervisor. So nothing is told that is not written,
and whatever comes back after it was written off is kept as evidence and changes nothing.
"""

from __future__ import annotations

import heapq
import random
import resource
import sys
import threading
import time
from collections import deque
from collections.abc import Callable

from prealloc.model.outcome import Attempt, ErrorInfo, Status
from prealloc.model.policy import Again, decide_retry
from prealloc.store.journal import JournalWriter
from prealloc.worker.attempt import Ending, Running
from prealloc.worker.clocks import AttemptClock, Monotonic
from prealloc.worker.context import TaskContext, unit_seed
from prealloc.worker.job import UnitOrder, WorkerJob
from prealloc.worker.messages import Ended, Started, line

CHANGE_S = 1.0
"""What `next` says when only a change in the book can bring a unit; `wait` wakes at each change."""

_RSS_UNIT = 1 if sys.platform == "darwin" else 1024


class Book:
    """The units of one worker."""

    def __init__(
        self,
        job: WorkerJob,
        journal: JournalWriter,
        tell: Callable[[bytes], None],
        *,
        now: Monotonic = time.monotonic,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self._job = job
        self._journal = journal
        self._tell = tell
        self._now = now
        self._jitter = jitter
        self._changed = threading.Condition()
        self._ready = deque((order, now()) for order in job.orders)
        self._delayed: list[tuple[float, UnitOrder]] = []
        self._running: dict[tuple[int, int], Running] = {}
        self._held = 0
        self._stopped = False
        self._slots = job.slots

    # -- taking units ---------------------------------------------------------------------------------------

    def next(self, told: bytes = b"") -> Running | float | None:
        """The next attempt; or the seconds until there may be one; or None: there will be none.

        `told` are lines that the caller still owes the supervisor; they go out in the same write.
        """
        with self._changed:
            taken = self._take()
        if isinstance(taken, Running):
            order = taken.order
            told += line(Started(order.position, order.repeat, order.attempt, order.tries, order.waited_s))
        if told:
            self._tell(told)
        return taken

    def wait(self, seconds: float) -> None:
        """Sleeps until something changed, at most this long."""
        with self._changed:
            self._changed.wait(seconds)

    def stop(self) -> tuple[UnitOrder, ...]:
        """Starts nothing more. Gives the units that were not started, in their order."""
        with self._changed:
            self._stopped = True
            left = tuple(order for order, _ in self._ready) + tuple(order for _, order in sorted(self._delayed))
            self._ready.clear()
            self._delayed.clear()
            self._changed.notify_all()
        return left

    def allow(self, slots: int) -> None:
        """Lets this many units run at once."""
        with self._changed:
            self._slots = slots
            self._changed.notify_all()

    # -- ending them ----------------------------------------------------------------------------------------

    def finish(self, running: Running, ending: Ending) -> bytes:
        """Records an ending. Returns what the supervisor must be told, once; nothing if it came too late."""
        with self._changed:
            late = running.closed
            running.closed = True
            again = None if late else self._again(running, ending)
        self._journal_line(running, ending, late=late)
        with self._changed:
            if late:
                self._held -= 1
                return b""
            del self._running[running.order.position, running.order.repeat]
            if again is not None and not self._stopped:
                heapq.heappush(self._delayed, (self._now() + again[1], again[0]))
            self._changed.notify_all()
        return line(_ended(running, ending, again[0] if again else None))

    def write_off(self, running: Running, ending: Ending) -> None:
        """Decides an attempt that has not come back, and tells it. Its thread stays held."""
        with self._changed:
            if running.closed:
                return
            running.closed = True
            self._held += 1
        self._journal_line(running, ending, late=False)
        with self._changed:
            del self._running[running.order.position, running.order.repeat]
            self._changed.notify_all()
        self._tell(line(_ended(running, ending, None, written_off=True)))

    # -- looking --------------------------------------------------------------------------------------------

    @property
    def held(self) -> int:
        """Attempts that were written off and have not come back."""
        return self._held

    def running(self) -> list[Running]:
        with self._changed:
            return list(self._running.values())

    def overdue(self) -> list[tuple[Running, str]]:
        """The running attempts whose time is up, and which clock says so."""
        policy = self._job.policy
        pairs = ((run, run.clock.overdue(policy.timeout_s, policy.max_wait_s)) for run in self.running())
        return [(run, why) for run, why in pairs if why is not None]

    # -- inside ---------------------------------------------------------------------------------------------

    def _take(self) -> Running | float | None:
        now = self._now()
        while self._delayed and self._delayed[0][0] <= now:
            ready_at, order = heapq.heappop(self._delayed)
            self._ready.append((order, ready_at))
        if self._stopped or not (self._ready or self._delayed):
            # With retries on their way, a running unit may still bring work for another thread.
            return CHANGE_S if self._running and not self._stopped and self._job.policy.retries else None
        if len(self._running) >= self._slots:
            return CHANGE_S
        if not self._ready:
            return max(0.0, self._delayed[0][0] - now)
        order, since = self._ready.popleft()
        running = self._start(order, now - since)
        self._running[order.position, order.repeat] = running
        return running

    def _start(self, order: UnitOrder, queued_s: float) -> Running:
        job = self._job
        task = job.tasks[order.position].fresh()
        clock = AttemptClock(self._now, queued_s=queued_s, waited_before_s=order.waited_s)
        context = TaskContext(
            shard=job.shard,
            settings=_copy(job.settings),
            repeat=order.repeat,
            attempt=order.attempt,
            seed=unit_seed(job.seed, job.shard, task.id, order.repeat),
            clock=clock,
            timeout_s=job.policy.timeout_s,
        )
        return Running(order, task, context, clock, time.time())

    def _again(self, running: Running, ending: Ending) -> tuple[UnitOrder, float] | None:
        """The order for the next try at this unit, and the backoff before it."""
        if ending.status is not Status.INFRA or self._stopped:
            return None
        order, clock = running.order, running.clock
        decision = decide_retry(
            self._job.policy,
            tries=order.tries + 1,
            waited_s=clock.unit_waited_s,
            at_least_s=ending.at_least_s,
            jitter=self._jitter(),
        )
        if not isinstance(decision, Again):
            return None
        after_s = decision.after_s
        return (
            order._replace(attempt=order.attempt + 1, tries=order.tries + 1, waited_s=clock.unit_waited_s + after_s),
            after_s,
        )

    def _journal_line(self, running: Running, ending: Ending, *, late: bool) -> None:
        clock = running.clock
        self._journal.append(
            Attempt(
                shard=self._job.shard,
                task=running.task.id,
                repeat=running.order.repeat,
                attempt=running.order.attempt,
                status=ending.status,
                started_at=running.started_wall,
                queued_s=round(clock.queued_s, 6),
                waiting_s=round(clock.unit_waited_s, 6),
                working_s=round(clock.working_s, 6),
                peak_rss=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * _RSS_UNIT,
                error=ending.error,
                result=ending.result,
                late=late,
            )
        )


def _ended(running: Running, ending: Ending, again: UnitOrder | None, *, written_off: bool = False) -> Ended:
    order = running.order
    error = ending.error
    return Ended(
        order.position,
        order.repeat,
        order.attempt,
        ending.status,
        round(running.clock.working_s, 6),
        round(running.clock.unit_waited_s, 6),
        ending.success,
        ending.score,
        ErrorInfo(type=error.type, message=error.message[:500]) if error else None,
        again,
        written_off,
    )


def _copy(settings: dict[str, object]) -> dict[str, object]:
    """A copy that an attempt may change. Settings are JSON, so this is all the depth there is."""

    def copied(value: object) -> object:
        if isinstance(value, dict):
            return {key: copied(item) for key, item in value.items()}
        if isinstance(value, list | tuple):
            return [copied(item) for item in value]
        return value

    return {key: copied(value) for key, value in settings.items()}
