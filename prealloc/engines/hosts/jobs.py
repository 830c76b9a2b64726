"""Jobs on their way to hosts: those that wait, which host takes which, and what the hosts hear about theirs.

A job goes to the host that has the smallest part of its places in use. Hosts join one after the other: as long as some
that the run has asked for have not joined, and for no longer than JOIN_S, each takes only its share of the first jobs,
which is their number over that of the hosts. What begins later, and what long jobs hand back, goes by the first rule
alone, also to hosts that join late.
"""

from __future__ import annotations

import heapq
import math
import time
from collections.abc import Callable, Mapping
from typing import NamedTuple

import msgspec

from prealloc.engines.admission import Room
from prealloc.engines.base import ShardJob
from prealloc.engines.handover import JobEnded
from prealloc.engines.hosts import wire
from prealloc.engines.hosts.files import Files
from prealloc.engines.hosts.losses import Losses
from prealloc.engines.hosts.replica import GivenShard
from prealloc.engines.hosts.roster import Given, RemoteHost, Stage
from prealloc.engines.hosts.shared import Shared
from prealloc.errors import EngineError
from prealloc.model.events import Note

JOIN_S = 10.0
"""From its begin, a session keeps places for hosts that have not joined for this long."""
MOST_OF_WINDOW = 0.02
"""The way there and back may take this part of a lane's shortest window: the pacer's guard is for as much."""


class _Rank(NamedTuple):
    """A host that has room. The smallest gets the next job."""

    used: float
    """The part of its places that is in use."""
    minus_free: int
    number: int
    """Of the host, in the order in which hosts were asked for."""
    places: int
    """How many jobs it takes now."""
    host: RemoteHost


class Jobs:
    """Gives jobs out."""

    def __init__(self, shared: Shared, files: Files, losses: Losses) -> None:
        self._shared = shared
        self._files = files
        self._losses = losses
        self._waiting: list[ShardJob] = []
        """Jobs that no host has taken yet."""
        self._ranks: list[_Rank] | None = None
        """A heap of the hosts that have room. None: it is to be made again, for something was heard of hosts."""
        self._most: int | None = None
        """Jobs that a host may have at most, as that heap was made."""
        self._far: set[tuple[str, str]] = set()
        """Hosts that are too far away for a lane."""

    # -- as of Engine ---------------------------------------------------------------------------------------

    def room(self) -> Room:
        return Room(sum(rank.places for rank in self._ranked()) - len(self._waiting))

    def launch(self, job: ShardJob) -> None:
        self._waiting.append(job)
        self._give_waiting()

    def unbegun(self) -> Mapping[int, int]:
        found: dict[int, int] = {}
        for host in self._shared.roster.here:
            if host.linked and host.beat is not None and not host.draining:
                for number, units in host.beat.unbegun.items():
                    if number in host.jobs:
                        found[number] = min(units, len(host.jobs[number].undecided))
        return found

    def hand_back(self, job: int, units: int) -> None:
        if (host := self._shared.roster.holder(job)) is not None:
            host.say(wire.HandBack(job, units))

    def allow(self, tasks: Mapping[int, int]) -> None:
        for host in self._shared.roster.here if tasks else ():
            if mine := {job: most for job, most in tasks.items() if job in host.jobs}:
                host.say(wire.Allow(mine))

    # -- giving ---------------------------------------------------------------------------------------------

    def give_out(self) -> None:
        """Gives the jobs that wait to hosts that have room, after what was heard of these."""
        self._ranks = None
        self._give_waiting()

    def _give_waiting(self) -> None:
        for job in list(self._waiting):
            ranks = self._ranked()
            if (rank := self._first_near(ranks, job.lane)) is not None:
                self._waiting.remove(job)
                self._give(rank.host, job)
                self._rank(ranks, rank.number, rank.host)

    def _ranked(self) -> list[_Rank]:
        """Made once for all jobs that are launched in a turn: there may be many of them, and many hosts."""
        if self._ranks is None:
            self._ranks = []
            self._most = self._share()
            for number, host in enumerate(self._shared.roster):
                self._rank(self._ranks, number, host)
        return self._ranks

    def _rank(self, ranks: list[_Rank], number: int, host: RemoteHost) -> None:
        """Adds a host, if it has room."""
        free, has = host.free, len(host.jobs)
        places = free if self._most is None else min(free, self._most - has)
        if places > 0:
            heapq.heappush(ranks, _Rank(has / (has + free), -free, number, places, host))

    def _first_near(self, ranks: list[_Rank], lane: str | None) -> _Rank | None:
        """Takes the smallest out that is not too far away for the lane."""
        far: list[_Rank] = []
        found = None
        while ranks and found is None:
            rank = heapq.heappop(ranks)
            if self._too_far(rank.host, lane):
                far.append(rank)
            else:
                found = rank
        for rank in far:
            heapq.heappush(ranks, rank)
        return found

    def _share(self) -> int | None:
        """The most jobs that a host may have now. None: as many as it has places."""
        shared = self._shared
        if time.monotonic() - shared.opened_at > JOIN_S or not shared.roster.joining:
            return None
        return max(1, math.ceil(shared.session.first_jobs / shared.options.hosts))

    def give_back_waiting(self, which: Callable[[ShardJob], bool] = lambda job: True) -> None:
        """Of the jobs that wait, these are not run."""
        for job in [job for job in self._waiting if which(job)]:
            self._waiting.remove(job)
            self._shared.tell(JobEnded(job=job.number, shard=job.shard, left=job.units))

    def _too_far(self, host: RemoteHost, lane: str | None) -> bool:
        """Whether the way to a host is so long that a lane's limit might not hold there. Told once of each."""
        roster = self._shared.roster
        if lane is None or (window_s := self._shared.session.limiter.window_s(lane)) is None:
            return False
        rtt_s = host.beat.rtt_s if host.beat is not None else None
        if rtt_s is not None and rtt_s <= MOST_OF_WINDOW * window_s:
            return False
        if rtt_s is None:
            return True  # it is not known yet
        if (host.name, lane) not in self._far:
            self._far.add((host.name, lane))
            told = f"{host.name} gets no shards of lane {lane}: a message takes {rtt_s * 1000:.0f} ms there and back"
            self._shared.tell(Note(text=f"{told}, too long for its limit per {window_s:g} s"))
            here = [each for each in roster.here if each.stage is Stage.READY]
            if not roster.expected and all((each.name, lane) in self._far for each in here):
                hint = "give the lane a limit per minute, or run the master nearer to the hosts"
                raise EngineError(f"every host is too far away for lane {lane}", hint=hint)
        return True

    def _give(self, host: RemoteHost, job: ShardJob) -> None:
        orders = job.units.orders
        most = 1 if self._losses.may_end_machines(job.shard) else len(orders)
        if most < len(orders):
            one = msgspec.structs.replace(job.policy, concurrency=1)
            job = msgspec.structs.replace(job, policy=one, units=job.units._replace(orders=orders[:most]))
        given = Given(job, orders[most:])
        host.jobs[job.number] = given
        host.given += 1
        host.units += len(job.units.orders)
        host.shards[job.shard] = GivenShard(given.positions, job.manifest.repeats)
        self._files.send_slice(host, job.manifest.slice)
        given.file = self._files.keep(wire.pack_job(job))
        self._files.send(host, given.file)
        if host.replica is not None:
            host.replica.owe(job.units.due)
        host.gives(wire.Run(given.file, job.manifest.slice.sha256))
