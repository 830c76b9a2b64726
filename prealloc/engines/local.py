"""The local engine: a worker process per job on this machine, each watched over by its job's supervisor.

A worker process goes through these stages:

    start()        Ready            Bye, exit 0
   ────────▶ STARTING ──▶ WORKING ───────────────▶ (gone: all its units are decided)
                 │           │ a call does not come back (Retiring)
                 │           ▼
                 │        RETIRING ──────────────▶ (gone: its waiting units went to a replacement at once)
                 │           │
                 │           │ silent and past the deadline, over --memory, or drain or grace are over
                 ▼           ▼
                 └───────▶ DYING ────────────────▶ (gone: what ran is decided, handed back, or suspect)

and may die at any stage. What a death means for the units is the supervisor's to say (supervisor.py).
"""

from __future__ import annotations

import itertools
import math
import os
import sys
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence

from prealloc.engines.admission import Admission, Room
from prealloc.engines.base import Checked, EngineFacts, RunSetup, ShardJob, WorkerCheck
from prealloc.engines.fork_launcher import ForkServerLauncher
from prealloc.engines.fork_messages import Born, Refused
from prealloc.engines.handover import JobEnded
from prealloc.engines.launch import Launcher
from prealloc.engines.log import open_log
from prealloc.engines.process_engine import ProcessEngine
from prealloc.engines.spawn_launcher import SpawnLauncher
from prealloc.engines.supervisor import JobSupervisor, Processes
from prealloc.engines.worker_process import WorkerProcess
from prealloc.errors import EngineError
from prealloc.files.atomic import must_write
from prealloc.files.faultpoint import Point, fault_point
from prealloc.lanes.limiter import AHEAD_S
from prealloc.model.events import AttemptEnded, Event, Note
from prealloc.model.outcome import Status
from prealloc.processes.waiting import await_readable
from prealloc.worker.job import CleanupJob, WorkerJob, pack
from prealloc.worker.messages import NO_THREAD, Granted, Permit

WATCH_S = 0.1
"""How often workers that say nothing are looked at."""


def make_launcher() -> Launcher:
    """Forking where a fork server can watch over it (Linux), else spawning."""
    if os.name != "posix":
        raise EngineError(
            "the local engine needs a POSIX system",
            hint="use ‹engine› inline here, or run under Linux (WSL on Windows)",
        )
    return ForkServerLauncher() if sys.platform == "linux" else SpawnLauncher()


class LocalEngine(ProcessEngine[WorkerProcess]):
    """Runs shards in processes of this machine."""

    name = "local"
    facts = EngineFacts(can_kill=True, guards_library=True, worker_outlives_master=False, hands_back=True)

    def __init__(
        self,
        launcher: Launcher | None = None,
        *,
        admission: Callable[[int], Admission] = Admission,
        ear: int | None = None,
    ) -> None:
        """Without a launcher it makes one. `ear` is one more descriptor that ends a wait when it is readable.

        `admission` is for tests.
        """
        super().__init__(launcher or make_launcher(), admission)
        self._ear = ear
        self._supervisors: dict[int, JobSupervisor] = {}
        """By the number of the job."""
        self._incarnations: Counter[str] = Counter()
        """Workers so far, by shard."""
        self._slots: set[int] = set()
        """The numbers that living workers have."""
        self._library: frozenset[tuple[int, int]] = frozenset()
        self._held_back = False
        """A worker was not to start yet."""
        self._ask_at = 0.0

    def check(self, wanted: WorkerCheck) -> Checked:
        self._library = wanted.library
        return self._launcher.check(wanted)

    def open(self, setup: RunSetup) -> None:
        super().open(setup)
        if printed := self._launcher.output():
            path = setup.paths.logs / "import.log"
            with must_write(path), open(open_log(path, Point.LOG_IMPORT), "wb") as file:
                file.truncate()
                file.write(printed)

    def room(self) -> Room:
        running = [supervisor.shard for supervisor in self._supervisors.values()]
        return self._admission.room(running)

    def launch(self, job: ShardJob) -> None:
        fault_point(Point.SHARD_LAUNCH)
        processes = Processes(
            self._start_process, self._kill_process, self._next_incarnation, self._take_slot, self._may_start
        )
        supervisor = JobSupervisor(job, self._setup, self._library, processes)
        self._supervisors[job.number] = supervisor
        self._events += supervisor.fill()

    def unbegun(self) -> Mapping[int, int]:
        return {number: supervisor.unbegun for number, supervisor in self._supervisors.items()}

    def hand_back(self, job: int, units: int) -> None:
        if (supervisor := self._supervisors.get(job)) is not None:
            self._events += supervisor.hand_back(units)
            self._end_if_idle(supervisor)

    def wait(self, timeout_s: float) -> Sequence[Event]:
        if not self._events:
            self._listen(min(timeout_s, self._pause_s()))
            self._give_turns()
            for supervisor in self._supervisors.values():
                supervisor.watch()
            if self._refusals.ask_again(self._is_at_work) or self._ask_again():
                waiting = [each for each in self._supervisors.values() if not each.ended]
                self._events += [event for supervisor in waiting for event in supervisor.fill()]
            if self._oom.strays():
                self._narrow("a program beside the workers", len(self._living) - 1)
            for _, worker, held in self._over_memory():
                self._supervisors[worker.job].over_memory(worker, held)
        events = self._take_events()
        for event in events:
            if isinstance(event, JobEnded):
                self._supervisors.pop(event.job, None)
        return events

    def halt(self, lane: str | None) -> None:
        for supervisor in self._supervisors.values():
            if lane is None or supervisor.lane == lane:
                supervisor.drain(math.inf)
                self._end_if_idle(supervisor)

    def allow(self, tasks: Mapping[int, int]) -> None:
        for job, most in tasks.items():
            if job in self._supervisors:
                self._events += self._supervisors[job].allow(most)

    def drain(self) -> None:
        for supervisor in self._supervisors.values():
            supervisor.drain(self._setup.policy.drain_s)
            self._end_if_idle(supervisor)

    def stop(self) -> None:
        for supervisor in self._supervisors.values():
            supervisor.stop()
            self._end_if_idle(supervisor)

    # -- inside ---------------------------------------------------------------------------------------------

    def _listen(self, timeout_s: float) -> None:
        launcher = self._launcher.fileno()
        workers = {worker.channel.fileno(): worker for worker in self._living.values()}
        others = (descriptor for descriptor in (launcher, self._ear) if descriptor is not None)
        for descriptor in await_readable((*workers, *others), timeout_s):
            if descriptor in workers:
                worker = workers[descriptor]
                self._events += self._supervisors[worker.job].listen(worker)
        for worker, news in self._news():
            if isinstance(news, Born):
                self._events += self._supervisors[worker.job].born(worker, news.pid)
            elif isinstance(news, Refused):
                self._refused(worker, news.reason)
            else:
                self._died(worker, news.status)

    def _died(self, worker: WorkerProcess, status: int) -> None:
        if os.waitstatus_to_exitcode(status) == NO_THREAD and not worker.has_worked:
            self._refused(worker, "there is no thread left for it")
            return
        others = len(self._here)
        if worker.killed_for is None and self._oom.explains(status, born_at=worker.made_at):
            worker.killed_for, worker.killer = "kernel", f"killed by {self._oom.told()}"
            worker.crowded = others > 0
            if not worker.only:
                self._narrow(f"a worker of {worker.shard}, whose tasks run again", others)
        self._slots.discard(worker.slot)
        events = self._supervisors[worker.job].died(worker, status)
        ended = (event.status for event in events if isinstance(event, AttemptEnded))
        if worker.killed_for == "kernel" and Status.OUT_OF_MEMORY in ended:
            self._admission.forget()
        self._events += events

    def _narrow(self, victim: str, others: int) -> None:
        """The kernel's OOM killer has hit one of ours."""
        if most := self._admission.narrow(others):
            text = f"{self._oom.told()} has ended {victim}; from now on at most {most} workers run at once"
            self._events.append(Note(text=f"{text}; free memory, raise the limit, or lower workers or concurrency"))

    def _may_start(self, only: bool) -> bool:
        running = self._here
        if only or any(worker.only for worker in running):
            may = not running
        else:
            may = self._admission.refusal([worker.shard for worker in running]) is None
        self._held_back = self._held_back or not may
        return may

    def _ask_again(self) -> bool:
        """Whether it is time to fill what has been held back: a worker has gone, or memory may be free by now."""
        now = time.monotonic()
        if not self._held_back or now < self._ask_at:
            return False
        self._held_back, self._ask_at = False, now + WATCH_S
        return True

    def _refused(self, worker: WorkerProcess, reason: str) -> None:
        self._slots.discard(worker.slot)
        self._events += self._supervisors[worker.job].unborn(worker)
        self._events += self._refusals.met(reason, len(self._living))

    def _is_at_work(self) -> bool:
        return any(worker.has_worked for worker in self._living.values())

    def _pause_s(self) -> float:
        """How long nothing has to be checked if no message comes."""
        pause_s = self._within(WATCH_S)
        return min(pause_s, AHEAD_S / 2) if self._setup.limiter.has_waiting else pause_s

    def _give_turns(self) -> None:
        granted: dict[WorkerProcess, list[Permit]] = {}
        for worker, turn, at, late_s in self._setup.limiter.grants():
            granted.setdefault(worker, []).append(Permit(turn, at, late_s))
        for worker, turns in granted.items():
            worker.send(Granted(tuple(turns)))

    def _end_if_idle(self, supervisor: JobSupervisor) -> None:
        """A job without workers has no worker whose death would end it: it ends now."""
        if not supervisor.workers:
            self._events += supervisor.fill()

    def _next_incarnation(self, shard: str) -> int:
        self._incarnations[shard] += 1
        return self._incarnations[shard]

    def _take_slot(self) -> int:
        """The smallest that is free. One is free again when its worker is gone for certain."""
        slot = next(number for number in itertools.count() if number not in self._slots)
        self._slots.add(slot)
        return slot

    def _start_process(self, worker: WorkerProcess, job: WorkerJob | CleanupJob) -> None:
        tag = self._tag(worker)
        log = open_log(self._setup.paths.log(worker.shard))
        try:
            self._launcher.start(tag, worker.far_end, pack(job), log, worker.table_descriptor)
        finally:
            os.close(log)
            worker.far_end.close()
            os.close(worker.table_descriptor)

    def _kill_process(self, worker: WorkerProcess, now: bool) -> None:
        if worker.pid is not None:
            self._launcher.kill(worker.pid, now=now)
