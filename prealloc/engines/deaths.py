"""What a worker's death means for the units that it held. What it has written counts; the rest is decided here.

A unit that ran when its worker died is a suspect, and runs again alone: only a death when alone counts. The kernel's
OOM killer proves nothing: it takes the largest process. A unit that was running goes back to the
pending ones, and fewer run at once from then on. If it meets the OOM killer again, it runs last, while no other worker
runs, and only a death in there counts.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterable

from prealloc.engines.base import RunSetup, ShardJob
from prealloc.engines.handover import TurnedAway
from prealloc.engines.log import end_of_log, last_lines
from prealloc.engines.waiting import WaitingUnits, after, next_of
from prealloc.engines.worker_process import WorkerProcess
from prealloc.errors import EngineError, JournalError
from prealloc.files.faultpoint import Point, fault_point
from prealloc.files.paths import JournalName
from prealloc.model.events import AttemptEnded, Event, Note, WorkerLost
from prealloc.model.outcome import KEY_REFUSED, STOPPED, Attempt, ErrorInfo, Status
from prealloc.model.policy import CLEANUP_S, IDLE_DEATHS, SOLO_DEATHS
from prealloc.model.usage import Usage, added
from prealloc.model.words import size
from prealloc.processes.signals import signal_name
from prealloc.store.fold import Due, Untidied
from prealloc.store.journal import JournalFile, Line, read_lines
from prealloc.store.journal_lines import AttemptLine, AttemptLost, SoloDeath
from prealloc.worker.in_flight import InFlight
from prealloc.worker.job import Key

KILLED_FOR = {
    "deadline": "killed: it did not release the interpreter at the deadline",
    "memory": "killed: it and the processes of its tasks were over the memory limit",
    "drain": "killed: the time to drain was over",
    "grace": "killed: the time to clean up was over",
    "cleanup": f"killed: it took longer than {CLEANUP_S:g} s",
    "start": "killed: it did not start within the start_timeout",
}


class Deaths:
    """Decides the units of a shard's dead workers, or has them wait for another one."""

    def __init__(self, job: ShardJob, setup: RunSetup, waiting: WaitingUnits) -> None:
        self._shard = job.shard
        self._job = job
        self._setup = setup
        self._waiting = waiting
        self._idle_deaths = 0

    def decide(self, worker: WorkerProcess, status: int) -> list[Event]:
        """Takes every unit that ran in the worker out of it; those that had not begun stay in it."""
        events = self._unheard(worker) if worker.undecided else []
        return events if worker.said_bye else [*events, *self._decide_in_flight(worker, status)]

    def _unheard(self, worker: WorkerProcess) -> list[Event]:
        """Endings that the worker wrote and could not tell any more. What is in the journal has happened."""
        positions = {self._job.ids[position][0]: position for position, _ in worker.undecided}
        events: list[Event] = []
        # A task may have written into the file. That is reported when the run ends; until then the other shards go on.
        with contextlib.suppress(JournalError):
            for line in self._lines(worker):
                attempt = line.content
                if not isinstance(attempt, AttemptLine) or attempt.late or attempt.task not in positions:
                    continue
                key = (positions[attempt.task], attempt.repeat)
                order = worker.undecided.get(key)
                if order is None or attempt.attempt < order.attempt:
                    continue
                ended = AttemptEnded.of(attempt, self._job.type_of(key))
                if is_turned_away(attempt, self._setup):
                    worker.undecided[key] = order._replace(attempt=attempt.attempt + 1, waited_s=attempt.waiting_s)
                    events.append(TurnedAway(job=self._job.number, ended=ended))
                    continue
                if attempt.again:
                    # Its backoff died with the worker: it is tried again now, and its tries go on counting.
                    worker.undecided[key] = after(order, attempt)
                else:
                    del worker.undecided[key]
                events.append(ended)
        return events

    def left_behind(self, worker: WorkerProcess) -> list[Due]:
        """Attempts of a dead worker that are not cleaned up yet."""
        untidied = Untidied()
        with contextlib.suppress(JournalError):  # as in _unheard
            for line in self._lines(worker) if self._setup.cleanup is not None else ():
                untidied.take_in(line.content)
        return untidied.due()

    def _lines(self, worker: WorkerProcess) -> Iterable[Line]:
        if worker.journal is None or not worker.journal.exists():
            return ()
        writer = JournalName(self._setup.session, self._shard, worker.incarnation)
        return read_lines(JournalFile(worker.journal, writer))

    def _decide_in_flight(self, worker: WorkerProcess, status: int) -> list[Event]:
        overdue = set(worker.overdue()) if worker.killed_for == "deadline" else set()
        rows = {key: row for key, row in worker.rows().items() if key in worker.undecided}
        events: list[Event] = []
        suspects = 0
        lost_usage: list[Usage | None] = []
        killed = KILLED_FOR.get(worker.killed_for or "")
        ended = f"{describe_exit(status)}{'' if os.WIFSIGNALED(status) else ' without a result'}"
        reason = worker.killer or killed or worker.last_words or ended
        for key, row in rows.items():
            order = worker.undecided.pop(key)
            decided = len(events)
            if order.attempt > row.order.attempt:
                self._waiting.queue_of(worker).append(order)  # it ended in its last moment, and is to be tried again
            elif worker.killed_for == "drain":
                events.append(self._verdict(worker, key, row, Status.CANCELLED, STOPPED))
            elif worker.killed_for == "memory" and (worker.solo or (len(rows) == 1 and not worker.progressed)):
                held, most = (size(count or 0) for count in (worker.held_bytes, self._job.policy.memory_bytes))
                limit = f"held {held}, and may hold {most}"
                error = ErrorInfo(type="OutOfMemory", message=limit)
                events.append(self._verdict(worker, key, row, Status.OUT_OF_MEMORY, error, peak_rss=worker.held_bytes))
            elif key in overdue and (worker.solo or len(rows) == 1):
                limit = f"worked longer than the timeout of {self._job.timeout_s(key[0]):g} s and blocked its worker"
                error = ErrorInfo(type="Timeout", message=limit)
                events.append(self._verdict(worker, key, row, Status.TIMEOUT, error))
            elif key in overdue:
                suspects += 1  # one of these held the interpreter; the others stood still with it
                self._waiting.suspects.append(next_of(row.order))
            elif worker.killed_for == "deadline":
                self._waiting.pending.appendleft(next_of(row.order))  # it only sat beside the one that hung
            elif worker.killed_for == "kernel" and not worker.only:
                self._waiting.squeeze(row.order, alone=len(rows) == 1 and not worker.crowded)
            elif worker.solo:
                events += self._solo_death(worker, key, row, reason)
            else:  # of "memory" too: those before or beside it may have left the memory taken
                suspects += 1
                self._waiting.suspects.append(next_of(row.order))
            if len(events) == decided and order.attempt <= row.order.attempt:
                lost_usage.append(self._lost(worker, key, row, reason))
        if worker.killed_for == "kernel" and not worker.only:
            events += self._narrow(len(rows))
        self._count_idle(worker, reason, used=bool(rows))
        if worker.killed_for in ("drain", "grace"):
            return events  # stopped, as asked for, and not lost
        pid, host, used = worker.pid or 0, self._setup.host, added(lost_usage)
        lost = WorkerLost(shard=self._shard, pid=pid, reason=reason, suspects=suspects, host=host, usage=used)
        return [lost, *events]

    def _lost(self, worker: WorkerProcess, key: Key, row: InFlight, reason: str) -> Usage | None:
        """Notes an attempt that its worker's death has ended, and after which its unit runs again. Gives its usage."""
        attempt = row.order.attempt
        usage = worker.used(key, attempt)
        self._setup.journal.append(AttemptLost(**self._job.unit(key), attempt=attempt, reason=reason, usage=usage))
        return usage

    def _narrow(self, running: int) -> list[Event]:
        width = self._waiting.narrow(running)
        if width is None:
            return []
        return [Note(text=f"memory ran out; from now on {self._shard} runs at most {width} tasks at once")]

    def _solo_death(self, worker: WorkerProcess, key: Key, row: InFlight, reason: str) -> list[Event]:
        deaths = self._waiting.count_death(key)
        self._setup.journal.append(SoloDeath(**self._job.unit(key), attempt=row.order.attempt, reason=reason))
        out_of_memory = worker.killed_for == "kernel"
        if deaths < SOLO_DEATHS:
            (self._waiting.last if out_of_memory else self._waiting.suspects).append(next_of(row.order))
            return []
        if out_of_memory:
            self._waiting.widen()  # it was narrowed for this one
            message = f"{reason} in {deaths} workers, the last while no other ran"
            error = ErrorInfo(type="OutOfMemory", message=message)
            return [self._verdict(worker, key, row, Status.OUT_OF_MEMORY, error)]
        message = f"killed {deaths} workers while alone in them: {reason}"
        return [self._verdict(worker, key, row, Status.CRASHED, ErrorInfo(type="Crashed", message=message))]

    def _verdict(
        self, worker: WorkerProcess, key: Key, row: InFlight, status: Status, error: ErrorInfo, *, peak_rss: int = 0
    ) -> Event:
        """Decides a unit whose worker cannot any more. Written only now that the worker is surely dead."""
        line = AttemptLine(
            **self._job.unit(key),
            attempt=row.order.attempt,
            status=status,
            started_at=time.time() - (time.monotonic() - row.started_at),
            queued_s=0.0,
            waiting_s=round(row.order.waited_s + row.waited_s, 6),
            working_s=round(time.monotonic() - row.started_at - row.waited_s, 6),
            peak_rss=peak_rss,
            usage=worker.used(key, row.order.attempt),
            lane=self._job.lane,
            host=self._setup.host,
            error=error,
        )
        self._setup.journal.append(line)
        fault_point(Point.VERDICT_WRITTEN)
        return AttemptEnded.of(line, self._job.type_of(key))

    def _count_idle(self, worker: WorkerProcess, reason: str, *, used: bool) -> None:
        squeezed = worker.killed_for == "kernel" and worker.crowded
        given_back = worker.killed_for in ("deadline", "drain", "grace")
        blameless = used or worker.progressed or squeezed or given_back
        # Not "memory": a worker that is over it before it starts a task would stay so for ever.
        self._idle_deaths = 0 if blameless else self._idle_deaths + 1
        if self._idle_deaths >= IDLE_DEATHS:
            log = self._setup.paths.log(self._shard)
            printed = last_lines(end_of_log(log))
            raise EngineError(
                f"{IDLE_DEATHS} workers in a row died before they started a task: {reason}{printed}",
                where=f"shard {self._shard}, log {log}",
                hint="see the log; when the cause is gone, `prealloc resume`",
            )


def is_turned_away(attempt: Attempt, setup: RunSetup) -> bool:
    """Whether an attempt ended because its lane refuses all: then its unit may run on another lane, if there is one.

    That says nothing of the task, and uses no retry. One that has waited for as long as it may is not among them.
    """
    if attempt.status is not Status.INFRA or attempt.again or attempt.lane is None:
        return False
    refused = attempt.error is not None and attempt.error.http_status in KEY_REFUSED
    halted = refused or setup.limiter.halted(attempt.lane) is not None
    return halted and attempt.waiting_s < setup.policy.max_wait_s


def describe_exit(status: int) -> str:
    """What os.waitpid's status says, in words."""
    if os.WIFSIGNALED(status):
        return f"killed by {signal_name(os.WTERMSIG(status))}"
    return f"exited with code {os.waitstatus_to_exitcode(status)}"
