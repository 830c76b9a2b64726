"""Jobs on their way to hosts: those that wait, which host takes which, and what the hosts hear about theirs.

A job goes to the host that has the smallest part of its places in use. Hosts join one after the other: as long as some
that the run has asked for have not joined, and for no longer than JOIN_S, each takes only its share of the first jobs,
which is their number over that of the hosts. What begins later, and what long jobs hand back, goes by the first rule
alone, also to hosts that join late.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence

import msgspec

from prealloc.engines.base import Room, ShardJob
from prealloc.engines.handover import JobEnded, Units
from prealloc.engines.hosts import wire
from prealloc.engines.hosts.files import Files
from prealloc.engines.hosts.losses import Losses
from prealloc.engines.hosts.replica import PlannedShard
from prealloc.engines.hosts.roster import Given, RemoteHost, Stage
from prealloc.engines.hosts.shared import Shared
from prealloc.errors import EngineError
from prealloc.model.events import Note
from prealloc.worker.job import UnitOrder

JOIN_S = 10.0
"""From its begin, a session keeps places for hosts that have not joined for this long."""
MOST_OF_WINDOW = 0.02
"""The way there and back may take this part of a lane's shortest window: the pacer's guard is for as much."""


class Jobs:
    """Gives jobs out."""

    def __init__(self, shared: Shared, files: Files, losses: Losses) -> None:
        self._shared = shared
        self._files = files
        self._losses = losses
        self._waiting: list[ShardJob] = []
        """Jobs that no host has taken yet."""
        self._far: set[tuple[str, str]] = set()
        """Hosts that are too far away for a lane."""

    # -- as of Engine ---------------------------------------------------------------------------------------

    def room(self) -> Room:
        share = self._share()
        return Room(sum(_places(host, share) for host in self._shared.roster) - len(self._waiting))

    def launch(self, job: ShardJob) -> None:
        self._waiting.append(job)
        self.give_out()

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
        """Gives the jobs that wait to hosts that have room."""
        share = self._share() if self._waiting else None
        for job in list(self._waiting):
            if (host := self._host_for(job.lane, share)) is not None:
                self._waiting.remove(job)
                self._give(host, job)

    def _host_for(self, lane: str | None, share: int | None) -> RemoteHost | None:
        """Of those that have room and are near enough, the one with the smallest part of its places in use."""
        able: list[tuple[float, int, int, RemoteHost]] = []
        for place, host in enumerate(self._shared.roster):  # once for each job, and there may be many hosts
            free, has = host.free, len(host.jobs)
            if free and (share is None or has < share):
                able.append((has / (has + free), -free, place, host))
        return next((host for *_, host in sorted(able) if not self._too_far(host, lane)), None)

    def _share(self) -> int | None:
        """The most jobs that a host may have now. None: as many as it has places."""
        shared = self._shared
        if shared.setup is None or time.monotonic() - shared.opened_at > JOIN_S or not shared.roster.joining:
            return None
        return max(1, math.ceil(shared.setup.first_jobs / shared.options.hosts))

    def give_back_waiting(self, which: Callable[[ShardJob], bool] = lambda job: True) -> None:
        """Of the jobs that wait, these are not run."""
        for job in [job for job in self._waiting if which(job)]:
            self._waiting.remove(job)
            units = Units(tuple(job.orders), job.alone, job.deaths, tuple(job.due))
            self._shared.tell(JobEnded(job=job.number, shard=job.shard, left=units))

    def _too_far(self, host: RemoteHost, lane: str | None) -> bool:
        """Whether the way to a host is so long that a lane's limit might not hold there. Told once of each."""
        setup, roster = self._shared.setup, self._shared.roster
        if lane is None or setup is None or (window_s := setup.limiter.window_s(lane)) is None:
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
        if self._shared.setup is None:
            return
        orders: Sequence[UnitOrder] = job.orders
        rest: Sequence[UnitOrder] = ()
        if self._losses.may_end_machines(job.shard):
            orders, rest = orders[:1], orders[1:]
            job = msgspec.structs.replace(job, policy=msgspec.structs.replace(job.policy, concurrency=1))
        given = Given(job, orders, rest)
        host.jobs[job.number] = given
        host.given += 1
        host.units += len(orders)
        positions = given.positions
        host.shards[job.shard] = PlannedShard(positions, tuple(type for _, type in job.ids), job.manifest.repeats)
        self._files.send_slice(host, job.manifest.slice)
        given.file = self._files.keep(wire.Job.of(job, orders).packed())
        self._files.send(host, given.file)
        if host.replica is not None:
            host.replica.owe(job.due)
        host.gives(wire.Run(given.file, job.manifest.slice.sha256))


def _places(host: RemoteHost, share: int | None) -> int:
    """How many more jobs a host takes now."""
    return host.free if share is None else max(0, min(host.free, share - len(host.jobs)))
