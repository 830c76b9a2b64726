"""The hosts of a run as the master sees them: who is here, what each runs, and whom nobody hears any more."""

from __future__ import annotations

import enum
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from prealloc.engines.base import ShardJob
from prealloc.engines.handover import Units, units_of
from prealloc.engines.hosts.link import Link
from prealloc.engines.hosts.replica import GivenShard, Replica
from prealloc.engines.hosts.wire import Beat, Hi, Message, Numbered, Ready, Run
from prealloc.engines.waiting import after, next_of
from prealloc.model.events import HostState
from prealloc.store.journal_lines import AttemptLine
from prealloc.worker.job import Key, UnitOrder


class Stage(enum.Enum):
    """Where a host is in its life. Nobody comes back from LOST or LEFT."""

    ASKED = "asked"
    """It was asked for, and has not said anything yet."""
    CHECKS = "checks"
    """It imports the worker function."""
    READY = "ready"
    LOST = "lost"
    LEFT = "left"
    """It has ended in good order."""


MOST_WORKERS = 10_000
"""More than run on a host at once."""
OVER = (Stage.LOST, Stage.LEFT)


class Given:
    """A job that a host has, and what is undecided of it."""

    def __init__(self, job: ShardJob, rest: Sequence[UnitOrder]) -> None:
        self.job = job
        self.undecided: dict[Key, UnitOrder] = {order.key: order for order in job.units.orders}
        self.file = ""
        """The digest of what the host was sent of it."""
        self.rest = [*rest]
        """Units for another job: they were not given to the host, or it has let go of them as it was told to end."""
        self.began: dict[Key, int] = {}
        """The attempts that run, as far as their start was told."""
        self.deaths = job.units.deaths
        """As of Units: of those that run alone."""
        self.positions = {id: position for position, (id, _) in enumerate(job.ids)}
        self.away: set[Key] = set()
        """Units that a lane has turned away: they are for another one."""

    def key(self, task: str, repeat: int) -> Key | None:
        """The unit, if the host may say how it ends."""
        key = self.positions.get(task, -1), repeat
        return key if key in self.undecided else None

    def ended(self, key: Key, line: AttemptLine) -> None:
        """An attempt has ended, and its line is in the journal."""
        order = self.undecided[key]
        self.began.pop(key, None)
        if line.again:
            self.undecided[key] = after(order, line)
        else:
            del self.undecided[key]

    def left(self) -> Units:
        """What nobody has any more, when the host is lost: what it was at gets the next number."""
        return units_of((*map(next_of, self.undecided.values()), *self.rest), self.deaths)


class Seen(NamedTuple):
    """How a host looks from here, for `prealloc doctor`."""

    name: str
    machine: str
    handle: str | None
    rtt_s: float
    wall_s: float
    """What its wall clock is ahead of ours."""
    spool_left: int
    python: str
    version: str


class RemoteHost:
    """One host."""

    def __init__(self, name: str, token: str) -> None:
        self.name = name
        self.token = token
        self.stage = Stage.ASKED
        self.asked_at = self.joined_at = time.monotonic()
        self.ready_at: float | None = None
        self.handle: str | None = None
        """What people find it by in the engine that has started it."""
        self.hi: Hi | None = None
        self.ready: Ready | None = None
        self.link: Link | None = None
        self.numbered = Numbered()
        self.heard_at = time.monotonic()
        self.gone: str | None = None
        """What the engine that has started it says of its end."""
        self.beat: Beat | None = None
        self.jobs: dict[int, Given] = {}
        self.shards: dict[str, GivenShard] = {}
        """What it has ever been given something of."""
        self.replica: Replica | None = None
        self.held: set[str] = set()
        """Files that it has been sent."""
        self.asking: Counter[tuple[str, int]] = Counter()
        """By (lane, holder) of its workers that have asked: turns that they wait for or have."""
        self.turns = 0
        """The sum of those."""
        self.workers: set[tuple[str, int]] = set()
        """(shard, process id) of those that are told to run."""
        self.late_bytes = 0
        """Of its journal, what it has sent since it was over, and before that of units that it did not have."""
        self.log_bytes = 0
        """Of logs, what it has sent."""
        self.note_bytes = 0
        """Of sentences for people, likewise."""
        self.given = 0
        """Jobs that it was ever given: logs and sentences go by them."""
        self.units = 0
        """Units in those."""
        self.started = 0
        """Workers that it has named."""
        self.shut_out = False
        """It has sent too much since it was over: it is not heard any more."""
        self.decided = False
        """It has decided something."""
        self.draining = False
        self.has_offered = False
        """It has said that it has room."""
        self.is_open = False
        """It knows the session."""
        self._unseen_jobs: list[int] = []
        """The numbers of the messages that gave it jobs, of those that its last beat knew nothing of."""

    @property
    def over(self) -> bool:
        return self.stage in OVER

    @property
    def linked(self) -> bool:
        return self.link is not None and self.link.open

    def say(self, message: Message) -> None:
        """Surely, once, in order."""
        raw = self.numbered.number(message)
        if self.link is not None and self.hi is not None:
            self.link.send(raw)

    def mention(self, message: Message) -> None:
        """Now or never."""
        if self.link is not None:
            self.link.send(self.numbered.plain(message))

    def mention_bulk(self, messages: Iterable[tuple[Message, memoryview]]) -> None:
        """Now or never, whenever nothing else waits."""
        if self.link is not None:
            self.link.feed(self.numbered.plain(message, body) for message, body in messages)

    @property
    def free(self) -> int:
        """How many more jobs it takes, as far as is known."""
        if self.stage is not Stage.READY or not self.linked or self.beat is None or self.draining:
            return 0
        return max(0, self.beat.room - len(self._unseen_jobs))

    def gives(self, run: Run) -> None:
        """It gets a job, which its last beat knew nothing of."""
        self.say(run)
        self._unseen_jobs.append(self.numbered.sent)

    def beats(self, beat: Beat) -> None:
        """It has said how it is, after all that it had seen then."""
        self.beat = beat
        self._unseen_jobs = [number for number in self._unseen_jobs if number > self.numbered.seen_there]

    def state(self) -> HostState:
        """For people."""
        running = len(self.jobs)
        beat = self.beat
        kind: Any = "joins" if self.stage is not Stage.READY else "works" if self.linked else "silent"
        return HostState(
            host=self.name,
            machine=self.hi.machine if self.hi is not None else "",
            state="drains" if self.draining else kind,
            running=running,
            room=running + (beat.room if beat is not None else 0),
            memory=sum(beat.memory.values()) if beat is not None else 0,
            rtt_s=beat.rtt_s if beat is not None else None,
        )

    def seen(self) -> Seen | None:
        """None: it has not said enough yet."""
        hi, beat = self.hi, self.beat
        if hi is None or beat is None or beat.rtt_s is None:
            return None
        own = (self.name, hi.machine, self.handle)
        return Seen(*own, beat.rtt_s, beat.wall_s, beat.spool_left, hi.python, hi.version)


class Roster:
    """All of them, by name."""

    def __init__(self) -> None:
        self._hosts: dict[str, RemoteHost] = {}

    def add(self, host: RemoteHost) -> None:
        self._hosts[host.name] = host

    def drop(self, host: RemoteHost) -> None:
        """There never was one of this name."""
        self._hosts.pop(host.name, None)

    def get(self, name: str) -> RemoteHost | None:
        return self._hosts.get(name)

    def __iter__(self) -> Iterator[RemoteHost]:
        return iter(list(self._hosts.values()))

    @property
    def here(self) -> list[RemoteHost]:
        """Those that have joined, and are neither lost nor gone."""
        return [host for host in self if host.stage in (Stage.CHECKS, Stage.READY)]

    @property
    def expected(self) -> list[RemoteHost]:
        """Those that may yet come."""
        return [host for host in self if host.stage is Stage.ASKED]

    @property
    def joining(self) -> bool:
        """Whether there are hosts that have not offered places yet, and may do so."""
        return any(not host.has_offered and not host.over for host in self._hosts.values())

    def memory(self) -> Mapping[str, int]:
        """As of Engine."""
        total: dict[str, int] = {}
        for host in self.here:
            for shard, size in (host.beat.memory if host.beat is not None else {}).items():
                total[shard] = total.get(shard, 0) + size
        return total

    def holder(self, job: int) -> RemoteHost | None:
        """The host that has a job."""
        return next((host for host in self if job in host.jobs), None)
