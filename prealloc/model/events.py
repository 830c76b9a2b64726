"""What happens during a run, in the order it becomes known. Reporters fold these; nothing else is shown.

Every event is one JSON object with an `event` tag: `prealloc run --json` prints them as they are.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, NamedTuple, Protocol, runtime_checkable

import msgspec

from prealloc.model.lane import Lane
from prealloc.model.outcome import Attempt, AttemptInfo, Status, Successes
from prealloc.model.usage import Usage


class Event(msgspec.Struct, frozen=True, kw_only=True, tag_field="event", tag=str.lower):
    """The root of all events."""


class ShardInfo(msgspec.Struct, frozen=True, kw_only=True):
    """What a reporter must know of a shard before anything happens."""

    id: str
    units: int
    settings: dict[str, Any]
    lane: str | None = None
    """The lane that the plan deals it to. Which one serves it is said when it starts."""
    done: dict[str, int]
    """Units with a final outcome from before this session, by status."""
    success: Successes = msgspec.field(default_factory=Successes)
    """What results of earlier sessions say: first outcomes of units that run again included."""
    not_asked: int = 0
    """Units that are open, but this session is not asked for them."""


class RunStarted(Event, frozen=True, kw_only=True, tag="run_started"):
    """The run begins (or is resumed). The first event, but for a note that an import takes long."""

    run: str
    plan: str
    engine: str
    shards: tuple[ShardInfo, ...]
    workers: int
    concurrency: int
    """Tasks at once in a worker: the fewest that a shard has."""
    concurrency_most: int | None = None
    """The most that a shard has, if they differ by their lanes or cells."""
    bound_s: float | None
    """The run ends within this many seconds; None if there is no --timeout."""
    lanes: tuple[Lane, ...] = ()
    guards_library: bool
    """False: this engine cannot see whether a worker opens the library."""


class ShardStarted(Event, frozen=True, kw_only=True, tag="shard_started"):
    """A worker process for this shard is up and has its tasks. A shard may have several at a time."""

    shard: str
    incarnation: int
    pid: int
    units: int
    lane: str | None = None
    """The lane that serves it."""
    host: str | None = None
    """The host that it runs on; None: the machine of the master."""


class HostJoined(Event, frozen=True, kw_only=True, tag="host_joined"):
    """A host is there, and takes shards."""

    host: str
    machine: str
    """The name of its machine."""
    room: int | None
    """Shards that it was told to run at once; None: as its memory allows."""
    waited_s: float | None = None
    """Since it was asked for: in the queue of whoever has started it, and for its start."""


class HostLost(Event, frozen=True, kw_only=True, tag="host_lost"):
    """A host is not there any more; what it ran is run elsewhere, or was ended in good order."""

    host: str
    reason: str
    shards: int
    """Jobs that it had, which wait for another host."""


class HostsSampled(Event, frozen=True, kw_only=True, tag="hosts_sampled"):
    """How the hosts are."""

    hosts: tuple[HostState, ...]


class HostState(msgspec.Struct, frozen=True, kw_only=True):
    """One of them."""

    host: str
    machine: str
    state: Literal["joins", "works", "silent", "drains"]
    running: int
    """Jobs."""
    room: int
    """Jobs at once."""
    memory: int
    """Bytes that it holds with all that it has started."""
    rtt_s: float | None = None
    """What a message takes there and back."""


class ShardShare(Event, frozen=True, kw_only=True, tag="shard_share"):
    """Of an experiment's run: so many units of a shard are this run's, now that others have claimed theirs."""

    shard: str
    units: int


class AttemptStarted(Event, frozen=True, kw_only=True, tag="attempt_started"):
    """A task starts."""

    shard: str
    task: str
    repeat: int
    attempt: int


class AttemptEnded(Event, AttemptInfo, frozen=True, kw_only=True, tag="attempt_ended"):
    """A task ended; its journal line is written. Its error is brief."""

    type: str
    outcome: bool
    """Whether this decides the unit in this session: False if it is tried again."""
    first: bool = True
    """False for a unit that had a final outcome before, which `resume --failed` runs again: rates are of the first."""

    @classmethod
    def of(cls, attempt: Attempt, type: str) -> AttemptEnded:
        """The event of a line of the journal; `type` is the task's."""
        # Written out: this is called for every attempt, and a loop over the fields takes ten times as long. And in two
        # calls: for one with more than 15 keywords CPython makes a dictionary, which takes twice as long as both do.
        made = cls(
            shard=attempt.shard,
            task=attempt.task,
            repeat=attempt.repeat,
            attempt=attempt.attempt,
            status=attempt.status,
            started_at=attempt.started_at,
            queued_s=attempt.queued_s,
            waiting_s=attempt.waiting_s,
            working_s=attempt.working_s,
            peak_rss=attempt.peak_rss,
            success=attempt.success,
            score=attempt.score,
            lane=attempt.lane,
            type=type,
            outcome=not attempt.again,
        )
        error = attempt.error.brief() if attempt.error is not None else None
        return msgspec.structs.replace(
            made, unclear=attempt.unclear, usage=attempt.usage, host=attempt.host, error=error
        )


class WorkerLost(Event, frozen=True, kw_only=True, tag="worker_lost"):
    """A worker process died or was killed; what it ran is run again, or decided."""

    shard: str
    pid: int
    reason: str
    suspects: int
    host: str | None = None
    usage: Usage | None = None
    """Tokens by model of the attempts that it ended and that are made again."""


class WorkerGone(Event, frozen=True, kw_only=True, tag="worker_gone"):
    """A worker process is gone for certain, in whatever way; after WorkerLost if it was lost."""

    shard: str
    pid: int
    host: str | None = None


class LibraryOpenedByWorker(Event, frozen=True, kw_only=True, tag="library_opened"):
    """A worker tried to open the task library and was refused."""

    shard: str
    path: str


class MemorySampled(Event, frozen=True, kw_only=True, tag="memory_sampled"):
    """Memory of the run's processes in bytes: proportional set size where the system tells it."""

    master: int
    workers: dict[str, int]
    """By shard."""
    other: int
    """Helper processes of the engine."""


class LaneChanged(Event, frozen=True, kw_only=True, tag="lane_changed"):
    """A lane's limit was found to be another (`--rate-mode adaptive`): requests per `window_s` seconds."""

    lane: str
    limit: float
    window_s: float
    reason: str


class LanePaused(Event, frozen=True, kw_only=True, tag="lane_paused"):
    """A lane's server has asked for a pause: none of the lane's workers sends a request before it is over."""

    lane: str
    wait_s: float
    """From now on."""
    http_status: int | None
    """What the server answered."""


class LaneHalted(Event, frozen=True, kw_only=True, tag="lane_halted"):
    """A lane starts no further task: what runs on it may end, the rest is for the other lanes that may serve it."""

    lane: str
    reason: str
    hint: str
    """What to do before `prealloc resume`."""
    goes_on: bool = False
    """Other lanes take what it has not begun: nothing of it has to be resumed, unless they halt too."""


class ShardEnded(Event, frozen=True, kw_only=True, tag="shard_ended"):
    """Nothing more will happen to this shard in this session."""

    shard: str


class Note(Event, frozen=True, kw_only=True, tag="note"):
    """Something the user should know, as one sentence."""

    text: str


class Stopping(Event, frozen=True, kw_only=True, tag="stopping"):
    """The user asked to stop: running tasks drain within this many seconds."""

    drain_s: float
    grace_s: float = 0.0
    """What those that have not ended by then get to clean up."""


class LimitReached(Event, frozen=True, kw_only=True, tag="limit_reached"):
    """A limit of the whole run (`--max-time`, `--max-failures`): no further task starts, what runs may end."""

    reason: str


class RunSteered(Event, frozen=True, kw_only=True, tag="run_steered"):
    """`prealloc ctl` has changed how the run goes on. What it has changed of a lane, LaneChanged says."""

    workers: int
    """Shards at once from now on; what runs beyond that may end."""
    concurrency: int
    """Tasks at once in each worker."""
    concurrency_most: int | None = None
    """In some workers: there cells or lanes say so."""
    paused: bool
    """No further task starts."""


class Total(msgspec.Struct, frozen=True, kw_only=True):
    """What became of some units."""

    units: int
    ok: int
    rate: float | None
    """See Successes.rate; None if no result of the run says success."""
    success: Successes


class TypeTotal(Total, frozen=True, kw_only=True):
    """The units of one task type."""

    type: str


class FactorTotal(Total, frozen=True, kw_only=True):
    """The units of the cells in which a factor of the experiment has this value."""

    factor: str
    value: Any


class FailureKind(msgspec.Struct, frozen=True, kw_only=True):
    """Units that ended alike: same status, same error type, same first line of its message."""

    status: Status
    type: str
    message: str
    units: int
    example: str
    """The first of them, as `shard/task#repeat`."""


class SlowUnit(msgspec.Struct, frozen=True, kw_only=True):
    """A unit that worked for long in the attempt that counts."""

    working_s: float
    status: Status
    type: str
    unit: str
    """As `shard/task#repeat`."""


class RunEnded(Event, frozen=True, kw_only=True, tag="run_ended"):
    """The end, folded from the journal. Always the last event."""

    run: str
    census: dict[str, int]
    """Units by status; together every unit of the plan."""
    rate: float | None
    """The success rate of the first outcomes, see Successes.rate; None if no result says success."""
    success: Successes
    """What that rate is over, and what it leaves out."""
    types: tuple[TypeTotal, ...]
    """The task types, those with the most units first; together every unit of the plan."""
    factors: tuple[FactorTotal, ...] = ()
    """Each value of each factor that has several; those of one factor are together every unit of the plan."""
    errors: tuple[FailureKind, ...]
    """What became of the units that ended and are not ok, the most frequent 20."""
    further_errors: int
    """Units that ended and are not ok, of none of these kinds."""
    slowest: tuple[SlowUnit, ...]
    """The five that worked longest, longest first."""
    library_opens: int
    duration_s: float
    exit_code: int
    missing: tuple[str, ...]
    """The first 20 units that were asked for and are not ok, as `shard/task#repeat (status)`."""
    resume: str | None
    """The command that goes on with the run; None if every unit is ok."""
    elsewhere: int = 0
    """Units that other runs of the experiment have decided or run now: `not_run` here, and in nothing else above."""
    not_asked: int = 0
    """Units that are open, but this session was not asked for them: see `--only`, `--limit` and so on."""
    not_ok_before: int = 0
    """Units that ended in an earlier session, are not ok, and this one was not asked for them."""
    stopped: str | None = None
    """The limit of the whole run for which units were not started."""

    @property
    def not_ok(self) -> int:
        """Units that this session was asked for and that are not ok; `missing` has the first of them."""
        not_ok = sum(count for status, count in self.census.items() if status != Status.OK)
        return not_ok - self.not_asked - self.not_ok_before - self.elsewhere


@runtime_checkable
class Observer(Protocol):
    """Watches a run while it goes on. A reporter is one."""

    def handle(self, event: Event, /) -> None:
        """Takes an event in, each in its order. Cheap: may be called thousands of times per second."""

    def tick(self, now_s: float, /) -> None:
        """Called about ten times per second, events or none. `now_s` is time.monotonic()."""


class Watching(NamedTuple):
    """An observer made of functions."""

    handle: Callable[[Event], None] = lambda event: None
    tick: Callable[[float], None] = lambda now_s: None


Observe = Observer | Callable[[Event], None]


def observer_of(observe: Observe | None) -> Observer:
    """The observer that a caller has given: one, a function of events, or none."""
    if observe is None:
        return Watching()
    return observe if isinstance(observe, Observer) else Watching(observe)
