"""Watches over one shard: which workers it has, which units each holds, what a death means for them.

A unit is always in exactly one place:

    pending ─────▶ undecided in a worker ─────▶ decided (a final line in the journal)
       ▲              │              │
       │  worker gone,│              └── worker died while the unit ran ──▶ suspects
       └── no blame ──┘                                                        │
    decided ◀── SOLO_DEATHS deaths ── alone in a worker of its own ◀───────────┘

The kernel's OOM killer blames nobody: it takes the largest, whoever filled the memory. A unit that was running goes
back to pending, and fewer run at once from then on. If it meets the OOM killer again, it runs at last, alone in a
worker of its own while no other worker runs (`_last`), and only a death in there counts.

With --cleanup, an attempt that a dead worker has not cleaned up after is cleaned up by a process of its own. Only then
does its unit run again.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections import deque
from collections.abc import Callable, Iterable
from typing import NamedTuple

from prealloc.engines.base import RunSetup, ShardJob
from prealloc.engines.log import cut_back, end_of_log, last_lines
from prealloc.engines.tell import attempt_ended, attempt_started
from prealloc.engines.worker_process import SPARE_S, Key, Stage, WorkerProcess
from prealloc.errors import CannotGoOn, EngineError, JournalError, PreallocError, WorkerFunctionError
from prealloc.files.faultpoint import Point, fault_point
from prealloc.files.paths import JournalName
from prealloc.model.document import Unreadable
from prealloc.model.events import (
    AttemptEnded,
    Event,
    LibraryOpenedByWorker,
    Note,
    ShardEnded,
    ShardStarted,
    WorkerLost,
)
from prealloc.model.outcome import STOPPED, Attempt, ErrorInfo, Status, verdict
from prealloc.model.policy import CLEANUP_S, IDLE_DEATHS, SOLO_DEATHS
from prealloc.processes.signals import signal_name
from prealloc.store.fold import Due, Untidied
from prealloc.store.journal import CleanedUp, JournalFile, LibraryOpen, Line, SoloDeath, WorkerStarted, read_lines
from prealloc.worker.in_flight import InFlight
from prealloc.worker.job import CleanupJob, UnitOrder, WorkerJob
from prealloc.worker.messages import (
    Ask,
    Broken,
    Bye,
    Cancel,
    Done,
    Drain,
    Ended,
    FromWorker,
    Opened,
    Ready,
    Retiring,
    Slots,
    Started,
    Struck,
)

KILLED_FOR = {
    "deadline": "killed: it held the interpreter past the deadline",
    "memory": "killed: it was over --memory, with all that its tasks had started",
    "drain": "killed: the time to drain was over",
    "grace": "killed: the time to clean up was over",
    "cleanup": f"killed: it took longer than {CLEANUP_S:g} s",
    "start": "killed: it did not start within --start-timeout",
}


class Processes(NamedTuple):
    """What a supervisor may do to processes."""

    start: Callable[[WorkerProcess, WorkerJob | CleanupJob], None]
    kill: Callable[[WorkerProcess, bool], None]
    """Kills a worker's tree: by the ladder, or at once if True."""
    may_start: Callable[[bool], bool] = lambda only: True
    """Whether one more worker may start now; True: one that no other runs beside."""


class ShardSupervisor:
    """One shard from its launch to its end. Methods return the events that follow."""

    def __init__(
        self,
        job: ShardJob,
        setup: RunSetup,
        library: frozenset[tuple[int, int]],
        processes: Processes,
    ) -> None:
        self.shard = job.shard
        self.workers: list[WorkerProcess] = []
        self.lane = job.lane
        self._job = job
        self._policy = job.policy
        self._setup = setup
        self._library = library
        self._processes = processes
        self._pending: deque[UnitOrder] = deque(job.orders)
        self._suspects: deque[UnitOrder] = deque()
        self._last: deque[UnitOrder] = deque()
        self._squeezed: set[Key] = set()
        """Units that the OOM killer has ended beside others."""
        self._width = job.policy.concurrency
        """Tasks at once, all workers together."""
        self._deaths: dict[Key, int] = dict(job.deaths)
        for order in job.orders:
            if self._deaths.get((order.position, order.repeat), 0):
                self._pending.remove(order)
                self._suspects.append(order)  # it has killed before: it never again runs beside others
        self._incarnations = 0
        self._idle_deaths = 0
        self._drain_until: float | None = None
        self._stopped = self._at_once = False
        """Whether what runs is cancelled; whether nobody is given time any more."""
        self._due: deque[Due] = deque(job.due)
        self._due_first = bool(job.due)
        """What earlier sessions have left comes before everything else."""

    @property
    def ended(self) -> bool:
        """No worker is left, and none will be started."""
        left = self._due or (self._drain_until is None and (self._pending or self._suspects or self._last))
        return not self.workers and (self._at_once or not left)

    # -- starting -------------------------------------------------------------------------------------------

    def fill(self) -> list[Event]:
        """Uses every free slot: suspects first, each alone; then the rest together; then a wider worker.

        What may not start now waits: the engine calls this again.
        """
        self._clean_up()
        self._due_first = self._due_first and bool(self._untidied())
        if self._drain_until is not None or self._due_first:
            return self._end_if_ended()
        free = self._width - sum(self._used(worker) for worker in self.workers)
        for order in self._ready(self._suspects)[: max(0, free)]:
            if not self._processes.may_start(False):
                break
            self._suspects.remove(order)
            self._start((order,), slots=1, solo=True)
            free -= 1
        working = any(worker.due is None for worker in self.workers)
        if free > 0 and (orders := self._ready(self._pending)) and self._processes.may_start(False):
            self._pending = deque(self._not_ready(self._pending))
            self._start(tuple(orders), slots=free, solo=False)
        elif (last := self._ready(self._last)) and not working and self._processes.may_start(True):
            self._last.remove(last[0])
            self._start((last[0],), slots=1, solo=True, only=True)
        elif free > 0 and not self._pending:
            wider = next((worker for worker in self.workers if self._can_widen(worker)), None)
            if wider is not None:
                wider.slots += free
                wider.send(Slots(wider.slots))
        return self._end_if_ended()

    def _used(self, worker: WorkerProcess) -> int:
        """Slots that a worker takes. One that retires keeps only what still runs in it."""
        if worker.due is not None or worker.said_bye:
            return 0
        return len(worker.rows()) if worker.stage in (Stage.RETIRING, Stage.DYING) else worker.slots

    def _can_widen(self, worker: WorkerProcess) -> bool:
        return worker.stage is Stage.WORKING and not worker.solo and len(worker.undecided) > worker.slots

    def _start(self, orders: tuple[UnitOrder, ...], *, slots: int, solo: bool, only: bool = False) -> None:
        setup = self._setup
        self._incarnations += 1
        tasks = self._job.tasks()
        used = sorted({order.position for order in orders})
        if len(used) < len(tasks):  # ship only what this worker is to run, under its place in the shipment
            place = {position: index for index, position in enumerate(used)}
            shipped = tuple(order._replace(position=place[order.position]) for order in orders)
            tasks = [tasks[position] for position in used]
        else:
            shipped = orders
        worker = WorkerProcess(
            shard=self.shard,
            incarnation=self._incarnations,
            orders=orders,
            slots=slots,
            solo=solo,
            only=only,
            journal=setup.paths.worker_journal(self.shard, setup.session, self._incarnations),
            positions=used,
            policy=self._policy,
        )
        job = self._job.for_worker(setup, tasks, shipped, slots=slots, journal=worker.journal, library=self._library)
        self.workers.append(worker)
        self._processes.start(worker, job)

    # -- cleaning up after the dead -------------------------------------------------------------------------

    def _untidied(self) -> set[tuple[str, int]]:
        """The units (task, repeat) that are yet to be cleaned up after."""
        dues = [*self._due, *(worker.due for worker in self.workers if worker.due is not None)]
        return {(due.unit.task, due.unit.repeat) for due in dues}

    def _ready(self, orders: Iterable[UnitOrder]) -> list[UnitOrder]:
        """Those that may run: nothing of an earlier attempt of theirs is left."""
        untidied = self._untidied()
        return [order for order in orders if self._unit(order) not in untidied]

    def _not_ready(self, orders: Iterable[UnitOrder]) -> list[UnitOrder]:
        untidied = self._untidied()
        return [order for order in orders if self._unit(order) in untidied]

    def _unit(self, order: UnitOrder) -> tuple[str, int]:
        return self._job.ids[order.position][0], order.repeat

    def _clean_up(self) -> None:
        """Starts a process for each attempt that is to be cleaned up after, as many at once as tasks would run."""
        cleanup = self._setup.cleanup
        busy = sum(worker.due is not None for worker in self.workers)
        while self._due and cleanup is not None and not self._at_once and busy < self._policy.concurrency:
            due, busy = self._due.popleft(), busy + 1
            worker = WorkerProcess(
                shard=self.shard,
                incarnation=self._incarnations,
                orders=(),
                slots=0,
                solo=False,
                journal=self._setup.paths.journal,
                positions=[],
                policy=self._policy,
                due=due,
            )
            job = CleanupJob(
                cleanup=cleanup,
                import_path=self._setup.import_path,
                unit=str(due.unit),
                notes=due.notes,
                journal=str(self._setup.paths.journal),
                library=tuple(sorted(self._library)),
            )
            self.workers.append(worker)
            self._processes.start(worker, job)

    def _cleaned_up(self, worker: WorkerProcess, due: Due, status: int) -> list[Event]:
        if status == 0:
            self._setup.journal.append(CleanedUp(**due.unit._asdict(), attempt=due.attempt))
            return []
        reason = KILLED_FOR.get(worker.killed_for or "", describe_exit(status).removesuffix(" without a result"))
        tried = f"the cleanup after {due.unit} (attempt {due.attempt}) failed: {reason}"
        return [Note(text=f"{tried}; resume tries again; see {self._setup.paths.log(self.shard)}")]

    def born(self, worker: WorkerProcess, pid: int) -> list[Event]:
        """The worker has its process."""
        worker.pid = pid
        if worker.due is not None:
            return []
        units = len(worker.undecided)
        self._setup.journal.append(
            WorkerStarted(shard=self.shard, incarnation=worker.incarnation, pid=pid, units=units)
        )
        return [ShardStarted(shard=self.shard, incarnation=worker.incarnation, pid=pid, units=units)]

    def unborn(self, worker: WorkerProcess) -> list[Event]:
        """The system lets it not begin now: its units wait until `fill` is called again."""
        self.workers.remove(worker)
        if worker.due is not None:
            self._due.appendleft(worker.due)
        orders = reversed(worker.undecided.values())
        self._queue_of(worker).extendleft(orders)
        if self.lane is not None:
            self._setup.limiter.leave(self.lane, worker)
        worker.close()
        return self._end_if_ended()

    def _queue_of(self, worker: WorkerProcess) -> deque[UnitOrder]:
        """Where the units that have not begun in it wait for another one."""
        return self._last if worker.only else self._suspects if worker.solo else self._pending

    # -- listening ------------------------------------------------------------------------------------------

    def listen(self, worker: WorkerProcess) -> list[Event]:
        """Takes in what a worker has said."""
        events: list[Event] = []
        refill = False
        try:
            for message in worker.receive():
                events += self._take_in(worker, message)
                refill = refill or isinstance(message, Ended | Retiring | Bye)
        except Unreadable as error:
            worker.last_words = f"killed: it said what cannot be read: {error}"
            if worker.stage is not Stage.DYING:
                self._kill(worker, "unreadable")
        if refill and (worker.stage is Stage.RETIRING or self._suspects or self._pending):
            events += self.fill()
        return events

    def _take_in(self, worker: WorkerProcess, message: FromWorker) -> list[Event]:
        if isinstance(message, Ended):
            return self._landed(worker, message)
        if isinstance(message, Started):
            return [attempt_started(self.shard, self._job.ids[worker.position(message.position)], message)]
        if isinstance(message, Ready):
            worker.reach(Stage.WORKING)
        elif isinstance(message, Retiring):
            worker.reach(Stage.RETIRING)
            for left in map(worker.order, message.left):
                key = left.position, left.repeat
                before = worker.undecided.get(key)
                if before is None:
                    continue
                if self._setup.cleanup is not None and left.attempt > before.attempt:
                    worker.undecided[key] = left  # it was running: first that is cleaned up after
                else:
                    del worker.undecided[key]
                    self._pending.append(left)
        elif isinstance(message, Ask | Done):
            self._at_the_limiter(worker, message)
        elif isinstance(message, Opened):
            self._setup.journal.append(LibraryOpen(shard=self.shard, path=message.path))
            return [LibraryOpenedByWorker(shard=self.shard, path=message.path)]
        elif isinstance(message, Broken):
            raise _broken(worker, message)
        elif isinstance(message, Struck):
            worker.last_words = f"an error of a task's has reached the worker itself: {message.error}"
        elif isinstance(message, Bye):
            worker.said_bye = True
        return []

    def _at_the_limiter(self, worker: WorkerProcess, message: Ask | Done) -> None:
        if self.lane is None:
            return  # a shard without a lane asks nobody
        limiter, turn, tokens = self._setup.limiter, message.turn, message.tokens
        if isinstance(message, Ask):
            limiter.ask(self.lane, worker, turn, tokens)
        else:
            limiter.done(self.lane, worker, turn, tokens, message.answer)

    def _landed(self, worker: WorkerProcess, message: Ended) -> list[Event]:
        position = worker.position(message.position)
        key = (position, message.repeat)
        worker.progressed = True
        if message.again is None:
            worker.undecided.pop(key, None)
        elif worker.stage is Stage.RETIRING and not message.lingers:
            if worker.undecided.pop(key, None) is not None:  # else it was handed back by Retiring
                self._pending.append(worker.order(message.again))
        elif key in worker.undecided:
            worker.undecided[key] = worker.order(message.again)
        task = self._job.ids[position]
        fault_point(Point.ENDING_HEARD)
        ended = attempt_ended(self.shard, task, message)
        return [ended] if message.announced else [attempt_started(self.shard, task, message), ended]

    # -- watching -------------------------------------------------------------------------------------------

    def watch(self) -> None:
        """Kills workers that are past what they can fix themselves, and keeps their log to its cap."""
        cut_back(self._setup.paths.log(self.shard), self._policy.max_log_bytes)
        for worker in self.workers:
            if worker.pid is None or worker.stage is Stage.DYING:
                continue
            if self._at_once:
                self._kill(worker, "drain", now=True)
            elif worker.due is not None:
                if worker.age_s > CLEANUP_S:
                    self._kill(worker, "cleanup")
            elif worker.silent and (worker.overdue() or (worker.lost and worker.stage is not Stage.STARTING)):
                self._kill(worker, "deadline")
            elif worker.stage is Stage.STARTING and worker.age_s > self._policy.start_s:
                self._kill(worker, "start")
            elif worker.outlived:
                self._kill(worker, "grace", now=True)
            elif self._drain_until is not None and time.monotonic() > self._drain_until:
                self._cancel(worker)

    def over_memory(self, worker: WorkerProcess, held_bytes: int) -> None:
        """The worker and what it started hold so much, which is over the limit. No ladder: it grows on meanwhile."""
        if worker.killed_for != "memory":
            worker.held_bytes = held_bytes
            self._kill(worker, "memory", now=True)

    def drain(self, seconds: float) -> None:
        """Starts nothing more; what runs has this long."""
        if self._drain_until is None:
            self._drain_until = time.monotonic() + seconds
            key_refused = self.lane is not None and self._setup.limiter.key_refused(self.lane)
            halted = self._setup.limiter.halted(self.lane) if self.lane is not None else None
            for worker in self.workers:
                worker.send(Drain(key_refused, halted))
        else:
            self._drain_until = min(self._drain_until, time.monotonic() + seconds)

    def stop(self) -> None:
        """Ends what runs now, and leaves it the grace to clean up; called again, it does not."""
        self._stopped, self._at_once = True, self._stopped
        self.drain(0.0)

    def _cancel(self, worker: WorkerProcess) -> None:
        """The time to drain is over: has the worker end what runs in it, and kills it once the grace is over too."""
        grace_s = self._policy.grace_s
        if grace_s == 0 or worker.stage is Stage.STARTING:
            self._kill(worker, "drain")
        elif worker.cancelled_at is None:
            worker.cancelled_at = time.monotonic()
            worker.send(Cancel())
        elif time.monotonic() > worker.cancelled_at + grace_s + SPARE_S:
            self._kill(worker, "drain", now=True)

    def _kill(self, worker: WorkerProcess, why: str, *, now: bool = False) -> None:
        worker.killed_for = why
        worker.stage = Stage.DYING
        self._processes.kill(worker, now)

    # -- burying --------------------------------------------------------------------------------------------

    def died(self, worker: WorkerProcess, status: int) -> list[Event]:
        """A worker is gone for certain: takes in its last words and its journal, then decides its units."""
        fault_point(Point.WORKER_DIED)
        events: list[Event] = []
        with contextlib.suppress(Unreadable):  # what it has written counts all the same
            for message in worker.receive():
                events += self._take_in(worker, message)
        self.workers.remove(worker)
        if worker.due is not None:
            worker.close()
            return [*events, *self._cleaned_up(worker, worker.due, status), *self.fill()]
        if self.lane is not None:
            self._setup.limiter.leave(self.lane, worker)
        cut_back(self._setup.paths.log(self.shard), self._policy.max_log_bytes)
        if worker.undecided:
            events += self._unheard(worker)
        if not worker.said_bye:
            events += self._decide_in_flight(worker, status)
        self._due.extend(self._left_behind(worker))
        worker.close()
        self._queue_of(worker).extend(worker.undecided.values())
        fault_point(Point.WORKER_BURIED)
        events += self.fill()
        return events

    def _unheard(self, worker: WorkerProcess) -> list[Event]:
        """Endings that the worker wrote and could not tell any more. What is in the journal has happened."""
        positions = {self._job.ids[position][0]: position for position, _ in worker.undecided}
        events: list[Event] = []
        # A task may have written into the file. That is told when the run ends; until then the other shards go on.
        with contextlib.suppress(JournalError):
            for line in self._lines(worker):
                attempt = line.content
                if not isinstance(attempt, Attempt) or attempt.late or attempt.task not in positions:
                    continue
                key = (positions[attempt.task], attempt.repeat)
                order = worker.undecided.get(key)
                if order is None or attempt.attempt < order.attempt:
                    continue
                if attempt.again and self._drain_until is None:
                    # Its backoff died with the worker: it is tried again now, and its tries go on counting.
                    worker.undecided[key] = order._replace(attempt=attempt.attempt + 1, tries=order.tries + 1)
                else:
                    del worker.undecided[key]
                events.append(self._told(key, attempt))
        return events

    def _left_behind(self, worker: WorkerProcess) -> list[Due]:
        """Attempts of a dead worker that nobody has cleaned up after."""
        untidied = Untidied()
        with contextlib.suppress(JournalError):  # as in _unheard
            for line in self._lines(worker) if self._setup.cleanup is not None else ():
                untidied.take_in(line.content)
        return untidied.due()

    def _lines(self, worker: WorkerProcess) -> Iterable[Line]:
        if not worker.journal.exists():
            return ()
        writer = JournalName(self._setup.session, self.shard, worker.incarnation)
        return read_lines(JournalFile(worker.journal, writer))

    def _decide_in_flight(self, worker: WorkerProcess, status: int) -> list[Event]:
        overdue = set(worker.overdue()) if worker.killed_for == "deadline" else set()
        rows = {key: row for key, row in worker.rows().items() if key in worker.undecided}
        events: list[Event] = []
        suspects = 0
        killed = KILLED_FOR.get(worker.killed_for or "")
        reason = worker.killer or killed or worker.last_words or describe_exit(status)
        for key, row in rows.items():
            order = worker.undecided.pop(key)
            if order.attempt > row.order.attempt:
                self._pending.append(order)  # it ended in its last moment, and is to be tried again
            elif worker.killed_for == "drain":
                events.append(self._verdict(key, row, Status.CANCELLED, STOPPED))
            elif worker.killed_for == "memory" and (worker.solo or (len(rows) == 1 and not worker.progressed)):
                limit = f"held {worker.held_bytes} bytes, the limit is --memory {self._policy.memory_bytes}"
                error = ErrorInfo(type="OutOfMemory", message=limit)
                events.append(self._verdict(key, row, Status.OUT_OF_MEMORY, error, peak_rss=worker.held_bytes))
            elif key in overdue and (worker.solo or len(rows) == 1):
                limit = f"worked longer than --timeout {self._policy.timeout_s:g} s and held its worker"
                error = ErrorInfo(type="Timeout", message=limit)
                events.append(self._verdict(key, row, Status.TIMEOUT, error))
            elif key in overdue:
                suspects += 1  # one of these held the interpreter; the others stood still with it
                self._suspects.append(_next(row.order))
            elif worker.killed_for == "deadline":
                self._pending.appendleft(_next(row.order))  # it only sat beside the one that hung
            elif worker.killed_for == "kernel" and not worker.only:
                self._squeeze(key, row, alone=len(rows) == 1 and not worker.crowded)
            elif worker.solo:
                events += self._solo_death(worker, key, row, reason)
            else:  # of "memory" too: those before or beside it may have left the memory taken
                suspects += 1
                self._suspects.append(_next(row.order))
        if worker.killed_for == "kernel" and not worker.only:
            events += self._narrow(len(rows))
        self._count_idle(worker, reason, used=bool(rows))
        if worker.killed_for in ("drain", "grace"):
            return events  # stopped, as asked for, and not lost
        lost = WorkerLost(shard=self.shard, pid=worker.pid or 0, reason=reason, suspects=suspects)
        return [lost, *events]

    def _squeeze(self, key: Key, row: InFlight, *, alone: bool) -> None:
        """The OOM killer has ended it. One that was alone, or meets it again, may need more than there is."""
        (self._last if alone or key in self._squeezed else self._pending).append(_next(row.order))
        self._squeezed.add(key)

    def _narrow(self, running: int) -> list[Event]:
        """The memory did not bear so many tasks at once."""
        width = min(self._width, (running + 1) // 2)
        if running < 2 or width == self._width:
            return []
        self._width = width
        return [Note(text=f"memory has run out; tasks at once in {self.shard} from now on: at most {width}")]

    def _solo_death(self, worker: WorkerProcess, key: Key, row: InFlight, reason: str) -> list[Event]:
        self._deaths[key] = self._deaths.get(key, 0) + 1
        task, _ = self._job.ids[key[0]]
        attempt = row.order.attempt
        self._setup.journal.append(
            SoloDeath(shard=self.shard, task=task, repeat=key[1], attempt=attempt, reason=reason)
        )
        out_of_memory = worker.killed_for == "kernel"
        if self._deaths[key] < SOLO_DEATHS:
            (self._last if out_of_memory else self._suspects).append(_next(row.order))
            return []
        if out_of_memory:
            self._width = self._policy.concurrency  # it was narrowed for this one
            message = f"{reason} in {self._deaths[key]} workers, the last while no other ran"
            return [self._verdict(key, row, Status.OUT_OF_MEMORY, ErrorInfo(type="OutOfMemory", message=message))]
        message = f"killed {self._deaths[key]} workers while alone in them: {reason}"
        return [self._verdict(key, row, Status.CRASHED, ErrorInfo(type="Crashed", message=message))]

    def _verdict(self, key: Key, row: InFlight, status: Status, error: ErrorInfo, *, peak_rss: int = 0) -> Event:
        """Decides a unit whose worker cannot any more. Written only now that the worker is surely dead."""
        attempt = Attempt(
            shard=self.shard,
            task=self._job.ids[key[0]][0],
            repeat=key[1],
            attempt=row.order.attempt,
            status=status,
            started_at=time.time() - (time.monotonic() - row.started_at),
            queued_s=0.0,
            waiting_s=round(row.order.waited_s + row.waited_s, 6),
            working_s=round(time.monotonic() - row.started_at - row.waited_s, 6),
            peak_rss=peak_rss,
            error=error,
        )
        self._setup.journal.append(attempt)
        fault_point(Point.VERDICT_WRITTEN)
        return self._told(key, attempt)

    def _told(self, key: Key, attempt: Attempt) -> Event:
        success, score, unclear = verdict(attempt.result)
        return AttemptEnded(
            shard=self.shard,
            task=attempt.task,
            type=self._job.ids[key[0]][1],
            repeat=attempt.repeat,
            attempt=attempt.attempt,
            status=attempt.status,
            outcome=not attempt.again,
            working_s=attempt.working_s,
            waiting_s=attempt.waiting_s,
            success=success,
            score=score,
            unclear=unclear,
            error=attempt.error,
        )

    def _count_idle(self, worker: WorkerProcess, reason: str, *, used: bool) -> None:
        squeezed = worker.killed_for == "kernel" and worker.crowded
        given_back = worker.killed_for in ("deadline", "drain", "grace")
        blameless = used or worker.progressed or squeezed or given_back
        # Not "memory": a worker that is over it before it starts a task would be so for ever.
        self._idle_deaths = 0 if blameless else self._idle_deaths + 1
        if self._idle_deaths >= IDLE_DEATHS:
            log = self._setup.paths.log(self.shard)
            printed = last_lines(end_of_log(log))
            raise EngineError(
                f"{IDLE_DEATHS} workers in a row died before they started a task: {reason}{printed}",
                where=f"shard {self.shard}, log {log}",
                hint="see the log; when the cause is gone, `prealloc resume`",
            )

    def _end_if_ended(self) -> list[Event]:
        return [ShardEnded(shard=self.shard)] if self.ended else []


def describe_exit(status: int) -> str:
    """What os.waitpid's status says, in words."""
    if os.WIFSIGNALED(status):
        return f"killed by {signal_name(os.WTERMSIG(status))}"
    return f"exited with code {os.waitstatus_to_exitcode(status)} without a result"


def _next(order: UnitOrder) -> UnitOrder:
    return order._replace(attempt=order.attempt + 1)


def _broken(worker: WorkerProcess, message: Broken) -> PreallocError:
    kinds: Iterable[type[CannotGoOn]] = (JournalError, EngineError)
    kind = next((kind for kind in kinds if kind.__name__ == message.error.type), EngineError)
    where = message.where or f"shard {worker.shard}"
    if message.error.type == WorkerFunctionError.__name__:
        return EngineError(message.error.message, where=where, hint=message.hint)
    return kind(f"{message.error.message}", where=where, hint=message.hint)
