"""The seam between the master and the places where shards run. An engine never looks inside a task."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import msgspec

from prealloc.engines.admission import Room, default_workers
from prealloc.engines.handover import Units
from prealloc.engines.log import last_lines
from prealloc.errors import WorkerFunctionError
from prealloc.files.paths import RunPaths
from prealloc.lanes.limiter import Turns
from prealloc.model.events import Event, ShardStarted, WorkerGone
from prealloc.model.packed_task import PackedTask
from prealloc.model.plan import Manifest
from prealloc.model.policy import RunPolicy
from prealloc.store.journal_lines import WorkerEnded, WorkerStarted
from prealloc.store.journal_writer import JournalWriter
from prealloc.store.slices import Slice
from prealloc.worker.job import Key, UnitOrder, WorkerJob

_TICK_S = 0.1


class EngineFacts(msgspec.Struct, frozen=True, kw_only=True):
    """What an engine can do. Declared, so that the master and the reports need not guess."""

    can_kill: bool
    """It can stop a hung task and one that takes too much memory: timeout_s and memory_bytes always hold."""
    guards_library: bool
    """An attempt of a worker to open the library is seen and refused."""
    worker_outlives_master: bool
    """A worker may still run for a while after its master was killed."""
    hands_back: bool = False
    """Units that have not begun can be taken out of a job that runs: it has `unbegun` and `hand_back`."""
    cannot_change: Mapping[str, str] = {}
    """Of workers, concurrency, pause and rate: why `prealloc ctl` cannot change it for shards that run."""


class Checked(NamedTuple):
    """What a look at the worker function, where workers run, has found."""

    notes: Sequence[str] = ()
    """What the user should know."""
    unset: Sequence[str] = ()
    """Of the environment variables that were asked for, those that are not set. The function's module may set some."""


class RunSetup(msgspec.Struct, frozen=True, kw_only=True):
    """What is the same for every shard of a session."""

    paths: RunPaths
    session: int
    worker: str
    import_path: tuple[str, ...]
    limiter: Turns[Any]
    """Gives the turns of the lanes' shards; its holders are whatever the engine tells apart."""
    policy: RunPolicy
    """Of the run. A shard's own, see ShardJob, may have another concurrency."""
    slice_bytes: int = 0
    """Of the largest slice: what a worker takes goes by it."""
    first_jobs: int = 1
    """Jobs that begin at once, if there is room for all of them."""
    journal: JournalWriter
    """The supervisor's own journal file."""
    host: str | None = None
    """The host that the engine runs on, where that is not the master's machine."""
    cleanup: str | None = None
    """`module:function`, called for attempts whose process was killed before they could clean up."""

    def worker_begins(self, job: ShardJob, incarnation: int, pid: int, units: int) -> ShardStarted:
        """Writes down that a worker of a job runs. Gives the event."""
        facts: dict[str, Any] = {"shard": job.shard, "incarnation": incarnation, "pid": pid, "units": units}
        facts |= {"lane": job.lane, "host": self.host}
        self.journal.append(WorkerStarted(**facts, started_at=time.time()))
        return ShardStarted(**facts)

    def worker_ended(self, job: ShardJob, incarnation: int, pid: int, lost: str | None) -> WorkerGone:
        """Writes down that it is gone, and why if that was not its own end. Gives the event."""
        ended = WorkerEnded(shard=job.shard, incarnation=incarnation, ended_at=time.time(), lost=lost)
        self.journal.append(ended)
        return WorkerGone(shard=job.shard, pid=pid, host=self.host)


class ShardJob(msgspec.Struct, frozen=True, kw_only=True):
    """What is to be run of one shard. Its tasks are read when they are needed, and not held in between.

    A shard may have several jobs at a time; no unit is in two of them.
    """

    number: int
    """No other job of the session has it."""

    manifest: Manifest
    """With the lane that was chosen for it, and that lane's values among its settings."""
    policy: RunPolicy
    """The run's, with the concurrency that the shard's lane leaves it."""
    ids: Sequence[tuple[str, str]]
    """(id, type) by position in the shard."""
    units: Units
    """Those without a final outcome."""
    timeouts: Mapping[int, float] = {}
    """By position, the seconds of tasks that name a timeout of their own; it comes before the policy's."""
    copies: Mapping[str, int] | None = None
    """Tasks that earlier shards of the cell have too, and how many of them; None if seeds go by the shard."""

    @property
    def shard(self) -> str:
        return self.manifest.id

    @property
    def lane(self) -> str | None:
        return self.manifest.lane

    def unit(self, key: Key) -> dict[str, Any]:
        """How the journal and the events name a unit."""
        return {"shard": self.shard, "task": self.ids[key[0]][0], "repeat": key[1]}

    def type_of(self, key: Key) -> str:
        """Of its task."""
        return self.ids[key[0]][1]

    def timeout_s(self, position: int) -> float | None:
        """What an attempt at this task may work."""
        return self.timeouts.get(position, self.policy.timeout_s)

    def tasks(self, setup: RunSetup) -> Sequence[PackedTask]:
        """By position, from the run's copy of the plan. Raises PlanError if a byte of them is not as planned."""
        return Slice(setup.paths.plan, self.manifest.slice).packed()

    def for_worker(
        self,
        setup: RunSetup,
        orders: Sequence[UnitOrder],
        *,
        slots: int,
        slot: int = 0,
        journal: Path,
        library: Iterable[tuple[int, int]] = (),
    ) -> WorkerJob:
        """What a worker gets that runs these units: of the tasks, only theirs."""
        tasks = self.tasks(setup)
        positions = sorted({order.position for order in orders})
        return WorkerJob(
            shard=self.shard,
            settings=self.manifest.settings,
            lane=self.lane,
            seed=self.manifest.seed,
            cell=self.manifest.cell if self.copies is not None else None,
            copies=dict(self.copies or {}),
            tasks={position: (*tasks[position],) for position in positions},
            timeouts={position: self.timeouts[position] for position in positions if position in self.timeouts},
            orders=tuple((*order,) for order in orders),
            worker=setup.worker,
            import_path=setup.import_path,
            policy=self.policy,
            slots=slots,
            slot=slot,
            journal=str(journal),
            library=tuple(sorted(library)),
            cleanup=setup.cleanup is not None,
            host=setup.host,
        )


class Patience(NamedTuple):
    """How long an import may take, and what is called about ten times per second while it does.

    `wait_for_hosts` is called instead while nothing is imported yet, since no host is there.
    """

    most_s: float = math.inf
    tick: Callable[[], None] = lambda: None
    wait_for_hosts: Callable[[], None] = lambda: None

    def wait(self, ended: Callable[[float], bool]) -> bool:
        """Calls it again and again with a number of seconds. False: the time is over."""
        end = time.monotonic() + self.most_s
        while not ended(max(0.0, min(_TICK_S, end - time.monotonic()))):
            if time.monotonic() >= end:
                return False
            self.tick()
        return True

    def over(self, worker: str, printed: bytes) -> WorkerFunctionError:
        """The error for when it is."""
        return WorkerFunctionError(
            f"importing its module takes longer than ‹start_s› {self.most_s:g} s{last_lines(printed)}",
            where=repr(worker),
            hint="see where it hangs, or raise ‹start_s›",
        )


class WorkerCheck(NamedTuple):
    """What an engine is asked to look at before it runs anything."""

    worker: str
    import_path: tuple[str, ...]
    library: frozenset[tuple[int, int]] = frozenset()
    """(device, inode) pairs that no worker may open."""
    variables: tuple[str, ...] = ()
    """Environment variables: say which of them are not set."""
    patience: Patience = Patience()
    library_paths: tuple[str, ...] = ()
    """Where the library lies: on another machine its files have other numbers."""
    tell: Callable[[str], None] = lambda text: None
    """Called with what the user should know while it is going on, as one sentence."""


class Engine(Protocol):
    """Runs shards. One thread calls it; `wait` is where its work is done.

    A method with a body here suits an engine of this machine that never moves units between jobs.
    """

    name: str
    """What run.json calls it: `resume` makes an engine of this name, unless it is given one."""
    facts: EngineFacts

    def check(self, wanted: WorkerCheck) -> Checked:
        """Makes sure that the worker function can be called, where workers run. Raises WorkerFunctionError."""
        ...

    def open(self, setup: RunSetup) -> None:
        """Gets ready for the shards of one session."""
        ...

    def most_jobs(self, shards: int, slice_bytes: int) -> int:
        """How many jobs of these shards it runs at once by default. `slice_bytes` is the size of the largest slice."""
        return default_workers(shards, slice_bytes)

    def allowed(self, jobs: int) -> tuple[int, str | None]:
        """How many of these jobs the system allows at once; if that is fewer, also a sentence that says so."""
        return jobs, None

    def room(self) -> Room:
        """How many more jobs it takes now, as far as it is about memory, or places to run them."""
        ...

    def launch(self, job: ShardJob) -> None:
        """Starts a job."""
        ...

    def unbegun(self) -> Mapping[int, int]:
        """By job: the units that have not begun, and that it may hand back."""
        return {}

    def hand_back(self, job: int, units: int) -> None:
        """Asks a job for this number of units that have not begun, the last ones. It answers with UnitsReturned.

        The answer may hold fewer units, or none, and may never come: a worker that hangs gives nothing back. JobEnded
        comes in any case.
        """

    def wait(self, timeout_s: float) -> Sequence[Event]:
        """What has happened, as soon as something has, or nothing after the timeout. At the end of each job: JobEnded.

        Raises CannotGoOn when the session must end (an engine that is gone, a journal that is full).
        """
        ...

    def halt(self, lane: str | None) -> None:
        """Starts no further task of the jobs on a lane, or of all, and gives their units back.

        That is by UnitsReturned and JobEnded. What runs may end, however long that takes.
        """
        ...

    def allow(self, tasks: Mapping[int, int]) -> None:
        """These jobs may run this many tasks at once from now on; what runs beyond that may end. 0 holds a job."""
        ...

    def drain(self) -> None:
        """Starts no further task; what runs gets the policy's drain time, then it is cancelled."""
        ...

    def stop(self) -> None:
        """Ends everything now: what runs is cancelled, and has the grace to clean up. Called again: without it."""
        ...

    def memory(self) -> Mapping[str, int]:
        """The bytes that each shard holds now, and under the empty name the engine's helpers. Costs 1 ms a process."""
        ...

    def close(self) -> None:
        """Leaves no process behind. May be called at any moment, and twice."""
        ...
