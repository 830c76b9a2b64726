"""Watches over one job of a shard: which workers it has, and which units each holds.

A unit is always in exactly one place:

    pending ─────▶ undecided in a worker ─────▶ decided (a final line in the journal)
     │ ▲              │     │        │
     │ │  worker gone,│     │        └── worker died while the unit ran ──▶ suspects
     │ └── no blame ──┘     │ not begun, and the worker says               │
     ▼                      │ that it has let go of it                     │
    given back to the master, which launches it as another job             │
    decided ◀── SOLO_DEATHS deaths ── alone in a worker of its own ◀───────┘

What a death means is decided in `deaths`; where the units that no worker holds wait is in `waiting`.

With --cleanup, an attempt that a dead worker has not cleaned up after is cleaned up by a process of its own. Only then
does its unit run again.
"""

from __future__ import annotations

import contextlib
import time
from collections import deque
from collections.abc import Callable, Iterable
from typing import NamedTuple

from prealloc.engines.base import RunSetup, ShardJob
from prealloc.engines.deaths import KILLED_FOR, Deaths, describe_exit, is_turned_away
from prealloc.engines.handover import JobEnded, TurnedAway, Units, UnitsReturned
from prealloc.engines.log import cut_back
from prealloc.engines.waiting import WaitingUnits
from prealloc.engines.worker_process import SPARE_S, Stage, WorkerProcess, events_of, not_closed
from prealloc.errors import CannotGoOn, EngineError, JournalError, PreallocError, WorkerFunctionError
from prealloc.files.faultpoint import Point, fault_point
from prealloc.model.document import Unreadable
from prealloc.model.events import AttemptEnded, AttemptStarted, Event, LibraryOpenedByWorker, Note, WorkerLost
from prealloc.model.policy import CLEANUP_S
from prealloc.processes.tree import identify
from prealloc.store.fold import Due
from prealloc.store.journal_lines import CleanedUp, LibraryOpen
from prealloc.worker import messages
from prealloc.worker.job import CleanupJob, UnitOrder, WorkerJob


class Processes(NamedTuple):
    """What a supervisor may do to processes, and what it must not choose alone."""

    start: Callable[[WorkerProcess, WorkerJob | CleanupJob], None]
    kill: Callable[[WorkerProcess, bool], None]
    """Kills a worker's tree: by the ladder, or at once if True."""
    incarnation: Callable[[str], int]
    """The number of the next worker of a shard, which may have several jobs at a time."""
    slot: Callable[[], int]
    """A number that no living worker has."""
    may_start: Callable[[bool], bool] = lambda only: True
    """Whether one more worker may start now; True: one that no other runs beside."""


class JobSupervisor:
    """One job from its launch to its end. Methods return the events that follow."""

    def __init__(
        self,
        job: ShardJob,
        setup: RunSetup,
        library: frozenset[tuple[int, int]],
        processes: Processes,
    ) -> None:
        self.number = job.number
        self.shard = job.shard
        self.workers: list[WorkerProcess] = []
        self.lane = job.lane
        self._job = job
        self._policy = job.policy
        self._setup = setup
        self._library = library
        self._processes = processes
        self._waiting = WaitingUnits(job.units, job.policy.concurrency)
        self._deaths = Deaths(job, setup, self._waiting)
        self._drain_until: float | None = None
        self._stopped = self._at_once = False
        """Whether what runs is cancelled; whether it gets no more time."""
        self._away: list[UnitOrder] = []
        """Units that the lane has turned away: they are given back with what its workers let go of, or at the end."""
        self._due: deque[Due] = deque(job.units.due)
        self._due_first = bool(self._due)
        """What earlier sessions have left comes before everything else."""

    @property
    def ended(self) -> bool:
        """No worker is left, and none will be started."""
        left = self._due or (self._drain_until is None and self._waiting)
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
        waiting = self._waiting
        free = waiting.width - sum(self._used(worker) for worker in self.workers)
        for order in self._ready(waiting.suspects)[: max(0, free)]:
            if not self._processes.may_start(False):
                break
            waiting.suspects.remove(order)
            self._start((order,), slots=1, solo=True)
            free -= 1
        working = any(worker.due is None for worker in self.workers)
        if free > 0 and (orders := self._ready(waiting.pending)) and self._processes.may_start(False):
            self._take_pending(orders)
            self._start(tuple(orders), slots=free, solo=False)
        elif (last := self._ready(waiting.last)) and waiting.width and not working and self._processes.may_start(True):
            waiting.last.remove(last[0])
            self._start((last[0],), slots=1, solo=True, only=True)
        elif not waiting.pending and (spare := waiting.width - self._slots()) > 0:
            wider = next((worker for worker in self.workers if self._can_widen(worker)), None)
            if wider is not None:
                wider.set_slots(wider.slots + spare)
        return self._end_if_ended()

    def allow(self, tasks: int) -> list[Event]:
        """At most this many tasks run at once from now on, all workers together. What runs beyond that may end."""
        self._waiting.most = tasks
        over = self._slots() - self._waiting.width
        for worker in self.workers:
            if over > 0 and worker.stage in (Stage.STARTING, Stage.WORKING) and not worker.solo:
                fewer = min(over, worker.slots)
                worker.set_slots(worker.slots - fewer)
                over -= fewer
        return self.fill()

    def _slots(self) -> int:
        """What all workers may run at once. One that retires keeps only what still runs in it."""
        return sum(map(self._slots_of, self.workers))

    def _slots_of(self, worker: WorkerProcess) -> int:
        if worker.due is not None or worker.said_bye:
            return 0
        return len(worker.rows()) if worker.stage in (Stage.RETIRING, Stage.DYING) else worker.slots

    def _used(self, worker: WorkerProcess) -> int:
        """Slots that another worker cannot have now: of one that has fewer by now, what runs may end."""
        slots = self._slots_of(worker)
        return max(slots, len(worker.rows())) if worker.was_narrowed else slots

    def _can_widen(self, worker: WorkerProcess) -> bool:
        may = worker.stage in (Stage.STARTING, Stage.WORKING) and not worker.solo
        return may and min(len(worker.undecided), worker.most_slots) > worker.slots

    def _start(self, orders: tuple[UnitOrder, ...], *, slots: int, solo: bool, only: bool = False) -> None:
        incarnation, slot = self._processes.incarnation(self.shard), self._processes.slot()
        journal = self._setup.paths.worker_journal(self.shard, self._setup.session, incarnation)
        job = self._job.for_worker(self._setup, orders, slots=slots, slot=slot, journal=journal, library=self._library)
        worker = WorkerProcess(self._job, job, orders, incarnation=incarnation, solo=solo, only=only)
        self.workers.append(worker)
        self._processes.start(worker, job)

    # -- cleaning up after the dead -------------------------------------------------------------------------

    def _untidied(self) -> set[tuple[str, int]]:
        """The units (task, repeat) that still have to be cleaned up after."""
        dues = [*self._due, *(worker.due for worker in self.workers if worker.due is not None)]
        return {(due.unit.task, due.unit.repeat) for due in dues}

    def _ready(self, orders: Iterable[UnitOrder]) -> list[UnitOrder]:
        """Those that may run: nothing of an earlier attempt of theirs is left."""
        untidied, ids = self._untidied(), self._job.ids
        if not untidied:
            return [*orders]
        return [order for order in orders if (ids[order.position][0], order.repeat) not in untidied]

    def _take_pending(self, orders: Iterable[UnitOrder]) -> None:
        """These do not wait any longer."""
        taken = {*orders}
        self._waiting.pending = deque(order for order in self._waiting.pending if order not in taken)

    def _clean_up(self) -> None:
        """Starts a process for each attempt that is to be cleaned up after, as many at once as tasks would run."""
        cleanup = self._setup.cleanup
        busy = sum(worker.due is not None for worker in self.workers)
        while self._due and cleanup is not None and not self._at_once and busy < self._policy.concurrency:
            due, busy = self._due.popleft(), busy + 1
            worker = WorkerProcess(self._job, due=due)
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
        reason = KILLED_FOR.get(worker.killed_for or "", describe_exit(status))
        tried = f"the cleanup after {due.unit} (attempt {due.attempt}) failed: {reason}"
        return [Note(text=f"{tried}; resume tries again; see {self._setup.paths.log(self.shard)}")]

    def born(self, worker: WorkerProcess, pid: int) -> list[Event]:
        """The worker has its process."""
        worker.pid = pid
        if worker.due is not None:
            return []
        return [self._setup.worker_begins(self._job, worker.incarnation, pid, len(worker.undecided))]

    def unborn(self, worker: WorkerProcess) -> list[Event]:
        """The system refuses to start it now: its units wait until `fill` is called again."""
        self.workers.remove(worker)
        if worker.due is not None:
            self._due.appendleft(worker.due)
        orders = reversed(worker.undecided.values())
        self._waiting.queue_of(worker).extendleft(orders)
        if self.lane is not None:
            self._setup.limiter.leave(self.lane, worker)
        worker.close()
        return self._end_if_ended()

    # -- listening ------------------------------------------------------------------------------------------

    def listen(self, worker: WorkerProcess) -> list[Event]:
        """Takes in what a worker has said."""
        events: list[Event] = []
        refill = False
        try:
            for message in worker.receive():
                events += self._take_in(worker, message)
                refill = refill or isinstance(message, messages.Ended | messages.Retiring | messages.Bye)
        except Unreadable as error:
            worker.last_words = f"killed: its message cannot be read: {error}"
            if worker.stage is not Stage.DYING:
                self._kill(worker, "unreadable")
        if refill and (worker.stage is Stage.RETIRING or self._waiting.suspects or self._waiting.pending):
            events += self.fill()
        return events

    def _take_in(self, worker: WorkerProcess, message: messages.FromWorker) -> list[Event]:
        if isinstance(message, messages.Ended):
            return self._landed(worker, message)
        if isinstance(message, messages.Started):
            return [AttemptStarted(**self._job.unit((message.position, message.repeat)), attempt=message.attempt)]
        if isinstance(message, messages.Ready):
            worker.reach(Stage.WORKING)
        elif isinstance(message, messages.Retiring):
            self._retires(worker, message.left)
        elif isinstance(message, messages.Returned):
            return [self._let_go(worker, message.left)]
        elif isinstance(message, messages.Ask | messages.Done):
            self._at_the_limiter(worker, message)
        elif isinstance(message, messages.Spent):
            worker.spend(message)
        elif isinstance(message, messages.Opened | messages.NotClosed):
            return [self._told(message)]
        elif isinstance(message, messages.Broken):
            raise _broken(worker, message)
        elif isinstance(message, messages.Struck):
            worker.last_words = f"an error of a task has reached the worker itself: {message.error}"
        elif isinstance(message, messages.Bye):
            worker.said_bye = True
        return []

    def _retires(self, worker: WorkerProcess, orders: Iterable[UnitOrder]) -> None:
        worker.reach(Stage.RETIRING)
        for left in orders:
            key = left.key
            before = worker.undecided.get(key)
            if before is None:
                continue
            if self._setup.cleanup is not None and left.attempt > before.attempt:
                worker.undecided[key] = left  # it was running: first that is cleaned up after
            else:
                del worker.undecided[key]
                self._waiting.queue_of(worker).append(left)

    def _told(self, message: messages.Opened | messages.NotClosed) -> Event:
        if isinstance(message, messages.NotClosed):
            return Note(text=not_closed(self.shard, message.problem, self._setup.paths.log(self.shard)))
        self._setup.journal.append(LibraryOpen(shard=self.shard, path=message.path))
        return LibraryOpenedByWorker(shard=self.shard, path=message.path)

    def _at_the_limiter(self, worker: WorkerProcess, message: messages.Ask | messages.Done) -> None:
        if self.lane is None:
            return  # a shard without a lane needs no turns
        limiter, turn, tokens = self._setup.limiter, message.turn, message.tokens
        if isinstance(message, messages.Ask):
            limiter.ask(self.lane, worker, turn, tokens)
        else:
            limiter.done(self.lane, worker, turn, tokens, message.answer)

    def _landed(self, worker: WorkerProcess, message: messages.Ended) -> list[Event]:
        line = message.line
        key = (message.position, line.repeat)
        worker.progressed = True
        worker.spent.pop(key, None)  # it is in its line
        fault_point(Point.ENDING_HEARD)
        events = events_of(message, self._job.type_of(key))
        if message.again is None:
            order = worker.undecided.pop(key, None)
            if order is not None and is_turned_away(line, self._setup):
                return self._turned_away(worker, order, message, events)
        elif worker.stage is Stage.RETIRING and not message.lingers:
            if worker.undecided.pop(key, None) is not None:  # else it was handed back by Retiring
                self._waiting.queue_of(worker).append(message.again)
        elif key in worker.undecided:
            worker.undecided[key] = message.again
        return events

    # -- giving units back ----------------------------------------------------------------------------------

    @property
    def unbegun(self) -> int:
        """Units that have not begun, and that can be asked for."""
        if self._drain_until is not None:
            return 0
        return len(self._waiting.pending) + sum(worker.unbegun for worker in self.workers)

    def hand_back(self, units: int) -> list[Event]:
        """Gives so many units that have not begun, the last ones; or asks the worker that holds most for them."""
        waiting = self._waiting
        fresh = [order for order in self._ready(waiting.pending) if order.is_fresh] if self.unbegun else []
        if given := fresh[-units:]:
            self._take_pending(given)
            return [self._returned(waiting.units(given))]
        asked = max(self.workers, key=lambda worker: worker.unbegun, default=None)
        if asked is None or not asked.unbegun or self._drain_until is not None:
            return [self._returned(Units())]
        asked.asked_back = True
        asked.send(messages.HandBack(units))
        fault_point(Point.UNITS_ASKED)
        return []

    def _let_go(self, worker: WorkerProcess, left: Iterable[UnitOrder]) -> Event:
        """The worker has said that it will not run these: only now another one may."""
        worker.asked_back = False
        held = [worker.undecided.pop(order.key, None) for order in left]
        given, self._away = [*self._away, *(order for order in held if order is not None)], []
        if self._drain_until is not None:  # the lane has halted: what no worker holds is for another one, too
            given += (ready := self._ready(self._waiting.pending))
            self._take_pending(ready)
        fault_point(Point.UNITS_RETURNED)
        return self._returned(self._waiting.units(given))

    def _returned(self, units: Units) -> UnitsReturned:
        return UnitsReturned(job=self.number, shard=self.shard, units=units)

    def _turned_away(
        self, worker: WorkerProcess, order: UnitOrder, message: messages.Ended, events: list[Event]
    ) -> list[Event]:
        """An attempt has ended for its lane's sake. Its unit can be given back once nothing of the attempt is left."""
        again = order._replace(attempt=message.line.attempt + 1, waited_s=message.line.waiting_s)
        told = [
            TurnedAway(job=self.number, ended=event) if isinstance(event, AttemptEnded) else event for event in events
        ]
        if message.lingers or self._setup.cleanup is not None:
            worker.undecided[again.key] = again
        else:
            self._away.append(again)
        return told

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
                worker.send(messages.Drain(key_refused, halted))
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
            worker.send(messages.Cancel())
        elif time.monotonic() > worker.cancelled_at + grace_s + SPARE_S:
            self._kill(worker, "drain", now=True)

    def _kill(self, worker: WorkerProcess, why: str, *, now: bool = False) -> None:
        """Ends a worker, unless it is dead already: then the launcher's news of its death has not been read yet."""
        if worker.pid is not None and identify(worker.pid) is None:
            return
        worker.killed_for = why
        worker.stage = Stage.DYING
        self._processes.kill(worker, now)

    # -- burying --------------------------------------------------------------------------------------------

    def died(self, worker: WorkerProcess, status: int) -> list[Event]:
        """A worker is gone for certain: takes in its last words and its journal, then decides its units."""
        fault_point(Point.WORKER_DIED)
        events: list[Event] = []
        decided: list[Event] = []
        with contextlib.closing(worker):  # though what it says ends the run, or the disk is full
            with contextlib.suppress(Unreadable):  # what it has written counts all the same
                for message in worker.receive():
                    events += self._take_in(worker, message)
            self.workers.remove(worker)
            if worker.due is None:
                decided = self._decide(worker, status)
        if worker.due is not None:
            return [*events, *self._cleaned_up(worker, worker.due, status), *self.fill()]
        events += decided
        self._waiting.queue_of(worker).extend(worker.undecided.values())
        lost = next((event.reason for event in decided if isinstance(event, WorkerLost)), None)
        gone = self._setup.worker_ended(self._job, worker.incarnation, worker.pid or 0, lost)
        fault_point(Point.WORKER_BURIED)
        return [*events, gone, *self.fill()]

    def _decide(self, worker: WorkerProcess, status: int) -> list[Event]:
        """What a worker that is gone had in hand, and leaves behind."""
        if self.lane is not None:
            self._setup.limiter.leave(self.lane, worker)
        cut_back(self._setup.paths.log(self.shard), self._policy.max_log_bytes)
        returned = [self._returned(Units())] if worker.asked_back else []  # it has not answered: its units stay here
        decided = self._deaths.decide(worker, status)
        self._due.extend(self._deaths.left_behind(worker))
        return [*returned, *decided]

    def _end_if_ended(self) -> list[Event]:
        if not self.ended:
            return []
        left = self._waiting.left().with_more(self._waiting.units(self._away))
        return [JobEnded(job=self.number, shard=self.shard, left=left)]


def _broken(worker: WorkerProcess, message: messages.Broken) -> PreallocError:
    kinds: Iterable[type[CannotGoOn]] = (JournalError, EngineError)
    kind = next((kind for kind in kinds if kind.__name__ == message.error.type), EngineError)
    where = message.where or f"shard {worker.shard}"
    if message.error.type == WorkerFunctionError.__name__:
        return EngineError(message.error.message, where=where, hint=message.hint)
    return kind(f"{message.error.message}", where=where, hint=message.hint)
