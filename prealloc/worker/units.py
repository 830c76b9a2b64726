"""The worker's units: which unit is next, which run, and how each ended. Every thread writes into it.

Each ending is recorded in this order: fence, journal, in-flight table, supervisor. So nothing is reported that is not
written, and whatever comes back after it was written off is kept as evidence and changes nothing.

An attempt that is decided lingers in its thread, or on the event loop, until it has cleaned up:

    running ── finish ──▶ decided, calls what on_exit was given ── left ──▶ gone
       └──── write_off ─▶ decided, its function is interrupted ── finish ──▶ late: evidence; then the same
"""

from __future__ import annotations

import heapq
import os
import random
import resource
import sys
import threading
import time
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import msgspec

from prealloc.files.faultpoint import Point, fault_point
from prealloc.model.outcome import FORBIDDEN, Status
from prealloc.model.policy import KILL_STEP_S
from prealloc.model.retry import Again, Stop, decide_retry
from prealloc.model.secret import named_variables
from prealloc.model.task import LightweightTask
from prealloc.model.usage import Usage, model_named
from prealloc.store.journal_lines import NO_RESULT, AttemptBegan, AttemptLine, CleanedUp, Noted
from prealloc.store.journal_writer import JournalWriter
from prealloc.worker.attempt import Ending, Running, judged, key_refused
from prealloc.worker.clocks import AttemptClock, Monotonic
from prealloc.worker.context import TaskContext
from prealloc.worker.in_flight import InFlightTable
from prealloc.worker.interrupt import shielded
from prealloc.worker.job import UnitOrder, WorkerJob
from prealloc.worker.limiter import LimiterClient
from prealloc.worker.messages import Ended, Spent, Started
from prealloc.worker.meter import Meter
from prealloc.worker.result import without_keys

CHANGE_S = 1.0
"""What `next` says when only a change in the queue can bring a unit; `wait` wakes at each change."""

_RSS_UNIT = 1 if sys.platform == "darwin" else 1024
_RSS_FRESH_S = 0.02


class Lingering(NamedTuple):
    """How long an attempt that is decided may linger, in monotonic seconds."""

    retire_at: float
    """From then on its thread, or event loop, is not waited for: another worker takes its place."""
    ends_at: float
    """From then on the process need not live for it."""


class UnitQueue:
    """The units of one worker. `tell` takes every ending, after it is in the journal."""

    def __init__(
        self,
        job: WorkerJob,
        journal: JournalWriter,
        table: InFlightTable,
        tell: Callable[[Ended], None],
        limiter: LimiterClient | None = None,
        *,
        spent: Callable[[Spent], None] | None = None,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self._job = job
        self._pid = os.getpid()
        self._journal = journal
        self._table = table
        self._tell = tell
        self._limiter = limiter
        self._spent = spent
        self._model = model_named(job.settings)
        self._now: Monotonic = time.monotonic
        self._jitter = jitter
        self._changed = threading.Condition()  # of an RLock: a finalizer may run in here, and count tokens
        self._idle = 0
        self._ready = deque((UnitOrder(*order), time.monotonic()) for order in job.orders)
        self._delayed: list[tuple[float, UnitOrder]] = []
        self._running: dict[int, Running] = {}
        self._lingering: dict[Running, Lingering] = {}
        self._stopped = False
        self._key_refused = False
        """Of the lane: nothing starts, and in a moment the supervisor will say so too."""
        self._slots = job.slots
        self._free = [*reversed(range(table.slots))]
        self._peak = (0.0, 0)
        self._key_variables = named_variables(job.settings)

    # -- taking units ---------------------------------------------------------------------------------------

    def next(self) -> Running | float | None:
        """The next attempt; or the seconds until there may be one; or None: there will be none."""
        taken = self._take()
        if isinstance(taken, Running) and self._job.cleanup:
            self._journal.append(AttemptBegan(**self._name(taken.order)))
        return taken

    def _take(self) -> Running | float | None:
        with self._changed:
            now = self._now()
            if self._delayed:
                self._ripen(now)
            if self._stopped or not (self._ready or self._delayed):
                # A unit that runs may be tried again: then it brings work for a server that is idle now.
                return CHANGE_S if self._running and not self._stopped and self._job.policy.retries else None
            if len(self._running) >= self._slots or self._key_refused:
                return CHANGE_S
            if not self._ready:
                return max(0.0, self._delayed[0][0] - now)
            order, since = self._ready.popleft()
            running = self._start(order, self._free.pop(), queued_s=now - since)
            self._running[running.slot] = running
            self._table.enter(running.slot, order, running.clock.started_at)
            fault_point(Point.ATTEMPT_OFF)
            return running

    def wait(self, seconds: float) -> None:
        """Sleeps until something changed, at most this long."""
        with self._changed:
            self._idle += 1
            self._changed.wait(seconds)
            self._idle -= 1

    def stop(self, *, key_refused: bool = False) -> tuple[UnitOrder, ...]:
        """Starts nothing more. Gives the units that were not started, in their order.

        `key_refused`: because the key of the lane is refused, as another worker has seen.
        """
        with self._changed:
            self._stopped = True
            self._key_refused = self._key_refused or key_refused
            left = tuple(order for order, _ in self._ready) + tuple(order for _, order in sorted(self._delayed))
            self._ready.clear()
            self._delayed.clear()
            self._changed.notify_all()
        return left

    def hand_back(self, most: int) -> tuple[UnitOrder, ...]:
        """Lets go of the last units that have not begun: at most so many, and half of them, rounded up.

        Those that wait for another try are not among them: they have begun.
        """
        with self._changed:
            fresh = [item for item in self._ready if item[0].is_fresh]
            given = fresh[len(fresh) - min(most, (len(fresh) + 1) // 2) :]
            taken = set(map(id, given))
            self._ready = deque(item for item in self._ready if id(item) not in taken)
            self._changed.notify_all()
        return tuple(order for order, _ in given)

    def allow(self, slots: int) -> None:
        """Lets this many units run at once."""
        with self._changed:
            self._slots = slots
            self._changed.notify_all()

    # -- ending them ----------------------------------------------------------------------------------------

    def finish(self, running: Running, ending: Ending) -> None:
        """Records an ending, unless the attempt was written off before: then it is only kept as evidence."""
        if ending.error is not None:
            ending = ending._replace(error=without_keys(ending.error, self._key_variables))
        with self._changed:
            late = running.closed
            running.closed = True
            if not late and running.context.exits:
                gone_by = self._now() + max(self._job.policy.grace_s, KILL_STEP_S)
                self._lingering[running] = Lingering(gone_by, gone_by)
            if self._job.lane is not None and not late:  # a late one is not reported
                ending = self._of_the_lane(ending)
            again = None if late else self._again(running, ending)
            if isinstance(again, Stop):
                ending, again = ending.given_up(again.reason), None
        fault_point(Point.ATTEMPT_FINISHED)
        line = self._line(running, ending, late=late, again=again is not None)
        self._journal.append(line)
        if not late:
            self._decided(running, line, again)

    def left(self, running: Running, *, clean: bool) -> None:
        """The attempt has come back and cleaned up: its thread, or its turn on the event loop, is free."""
        if clean and self._job.cleanup:
            self._journal.append(CleanedUp(**self._name(running.order)))
        if running not in self._lingering:  # nearly always: it had nothing to clean up
            return
        with self._changed:
            del self._lingering[running]
            if running.again is not None:
                self._delay(running.again)
                self._changed.notify_all()

    def write_off(self, running: Running, ending: Ending, patience: Lingering) -> bool:
        """Decides an attempt that has not come back. It lingers until it does. False: it was decided before."""
        with self._changed:
            if running.closed:
                return False
            running.closed = True
            self._lingering[running] = patience
        ending = judged(running, ending)
        fault_point(Point.ATTEMPT_OVERDUE)
        line = self._line(running, ending, late=False, again=False)
        self._journal.append(line)
        self._decided(running, line, None)
        return True

    def give_back(self, patience: Lingering) -> tuple[UnitOrder, ...]:
        """Ends everything that runs, undecided: it is to run elsewhere. What comes of it here is evidence."""
        with self._changed:
            given = [running for running in self._running.values() if not running.closed]  # else it ends just now
            for running in given:
                running.closed = True
                self._table.leave(running.slot)
                self._lingering[running] = patience
                del self._running[running.slot]
        for running in given:
            running.call.interrupt()
        return tuple(running.order._replace(attempt=running.order.attempt + 1) for running in given)

    # -- looking --------------------------------------------------------------------------------------------

    @property
    def lingering(self) -> list[Lingering]:
        """Of the attempts that are decided and have not cleaned up yet."""
        with self._changed:
            return list(self._lingering.values())

    def running(self) -> list[Running]:
        """The attempts in progress."""
        with self._changed:
            return list(self._running.values())

    def announce(self) -> list[Started]:
        """The starts that have not been told yet."""
        with self._changed:
            new = [running for running in self._running.values() if not running.announced]
            for running in new:
                running.announced = True
        return [Started(run.order.position, run.order.repeat, run.order.attempt) for run in new]

    # -- inside ---------------------------------------------------------------------------------------------

    def _decided(self, running: Running, line: AttemptLine, again: tuple[UnitOrder, float] | None) -> None:
        """Its line is in the journal: now the table and the supervisor, in this order."""
        fault_point(Point.ATTEMPT_WRITTEN)
        self._land(running, again)
        fault_point(Point.ATTEMPT_LANDED)
        order, lingers = again[0] if again else None, running in self._lingering
        self._tell(Ended(running.order.position, line.told(), order, running.announced, lingers))
        fault_point(Point.ATTEMPT_TOLD)

    def _of_the_lane(self, ending: Ending) -> Ending:
        """The ending as the state of the lane's key has it: once that is refused, a 403 is owed to it."""
        status = ending.error.http_status if ending.error is not None else None
        if self._key_refused and ending.status is Status.FAILED and status == FORBIDDEN:
            return key_refused(ending, status)
        self._key_refused = self._key_refused or ending.is_key_refused
        return ending

    def _ripen(self, now: float) -> None:
        """Units whose backoff is over become ready."""
        while self._delayed and self._delayed[0][0] <= now:
            ready_at, order = heapq.heappop(self._delayed)
            self._ready.append((order, ready_at))

    def _land(self, running: Running, again: tuple[UnitOrder, float] | None) -> None:
        with self._changed:
            self._table.leave(running.slot)
            del self._running[running.slot]
            self._free.append(running.slot)
            if again is not None and running in self._lingering:
                running.again = again
            elif again is not None:
                self._delay(again)
            if self._idle:
                self._changed.notify_all()

    def _delay(self, again: tuple[UnitOrder, float]) -> None:
        if not self._stopped:
            heapq.heappush(self._delayed, (self._now() + again[1], again[0]))

    def _start(self, order: UnitOrder, slot: int, *, queued_s: float) -> Running:
        job = self._job
        task = LightweightTask.trusted(*job.tasks[order.position])
        clock = AttemptClock(self._now, queued_s=queued_s, waited_before_s=order.waited_s)
        context = TaskContext(
            shard=job.shard,
            settings=job.settings,
            repeat=order.repeat,
            attempt=order.attempt,
            seed_parts=job.seed_parts(task.id, order.repeat),
            clock=clock,
            timeout_s=job.timeouts.get(order.position, job.policy.timeout_s),
            max_wait_s=job.policy.max_wait_s,
            lane=job.lane,
            slot=job.slot,
            limiter=self._limiter,
            meter=Meter(self._model, partial(self._spend, order)),
            note=partial(self._note, order),
        )
        return Running(order, task, context, clock, time.time(), slot, self._pid)

    def _spend(self, order: UnitOrder, usage: Usage) -> None:
        """A request of an attempt has used this much. Of those of processes that it has forked nobody hears."""
        if self._spent is not None and os.getpid() == self._pid:
            self._spent(Spent(order.position, order.repeat, order.attempt, usage))

    @shielded
    def _note(self, order: UnitOrder, value: Any) -> None:
        self._journal.append(Noted(**self._name(order), value=value))

    def _name(self, order: UnitOrder) -> dict[str, Any]:
        """Which attempt it is, as records of the journal name it."""
        task = self._job.task_id(order.position)
        return {"shard": self._job.shard, "task": task, "repeat": order.repeat, "attempt": order.attempt}

    def _again(self, running: Running, ending: Ending) -> tuple[UnitOrder, float] | Stop | None:
        """The order for the next try at this unit, and the backoff before it; or why it is not tried again."""
        if ending.status is not Status.INFRA or ending.is_key_refused:
            return None
        order, waited_s = running.order, running.clock.unit_waited_s
        throttled = order.throttled + ending.is_throttled
        tries = order.tries + (not ending.is_throttled)
        decision = decide_retry(
            self._job.policy,
            tries=tries,
            throttled=throttled,
            waited_s=waited_s,
            at_least_s=ending.at_least_s,
            jitter=self._jitter(),
        )
        if not isinstance(decision, Again):
            return decision
        waited_s += decision.after_s
        again = order._replace(attempt=order.attempt + 1, tries=tries, throttled=throttled, waited_s=waited_s)
        return again, decision.after_s

    def _line(self, running: Running, ending: Ending, *, late: bool, again: bool) -> AttemptLine:
        order = running.order
        queued_s, waiting_s, working_s = running.clock.told()
        line = AttemptLine(  # in two calls: see AttemptEnded.of
            shard=self._job.shard,
            task=self._job.task_id(order.position),
            repeat=order.repeat,
            attempt=order.attempt,
            status=ending.status,
            started_at=running.started_wall,
            queued_s=queued_s,
            waiting_s=waiting_s,
            working_s=working_s,
            peak_rss=self._peak_rss(),
            success=ending.success,
            score=ending.score,
            usage=running.context.meter.take(),
            lane=self._job.lane,
            result=ending.result if ending.result is not None else NO_RESULT,
        )
        return msgspec.structs.replace(
            line,
            unclear=ending.unclear,
            host=self._job.host,
            error=ending.error,
            late=late,
            again=again,
            retry=("lane" if ending.is_throttled else "infra") if again else None,
        )

    def _peak_rss(self) -> int:
        """The most memory this process has held. Asked for once for tasks that end within the same 20 ms."""
        at, peak = self._peak
        now = time.monotonic()
        if now - at > _RSS_FRESH_S:
            peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * _RSS_UNIT
            self._peak = (now, peak)
        return peak
