"""The master's loop over one session of a run: which shard is next, when to stop, what is told to whom."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import msgspec

from prealloc.engines.base import Engine, ShardJob
from prealloc.engines.control import Control
from prealloc.engines.handover import JobEnded, TurnedAway, Units, UnitsReturned
from prealloc.engines.queue import Launch, ShardQueue
from prealloc.engines.rebalance import Rebalance
from prealloc.files.faultpoint import Point, fault_point
from prealloc.lanes.limiter import RateLimiter
from prealloc.model.events import (
    AttemptEnded,
    Event,
    LaneHalted,
    LimitReached,
    MemorySampled,
    Note,
    Observer,
    ShardEnded,
    Stopping,
)
from prealloc.processes.memory import proportional_bytes
from prealloc.processes.signals import handled

TICK_S = 0.1
FIRST_SAMPLE_S = 1.0
SAMPLE_S = 2.0
LAUNCH_S = 0.003
"""Launches take about this long at most before the engine is heard again: others wait for what it says."""


class Ended(NamedTuple):
    """How a session ended: by itself, or by this signal."""

    signal: int | None


def conduct(
    engine: Engine,
    queue: ShardQueue,
    make: Callable[[Launch], ShardJob | None],
    *,
    limiter: RateLimiter[Any],
    control: Control,
    observer: Observer,
) -> Ended:
    """Runs the shards in the queue to their end: as many at a time as `control` says, or as the engine takes if fewer.

    `make` makes a job, when it is launched; None if there is nothing to run of it after all. The first SIGINT, SIGTERM
    or SIGHUP drains, the second cancels what runs, which has the grace to clean up, the third kills it; resume runs it
    again. Raises CannotGoOn.
    """
    jobs = _Jobs(engine, queue, make, limiter, control, observer.handle)
    observe = observer.handle
    sampler = _Sampler(engine, observer)
    received: list[int] = []
    with handled(lambda number, frame: received.append(number)):
        heeded = 0
        while queue or jobs.running or queue.refill():
            if len(received) > heeded:
                heeded += 1
                jobs.give_up(queue.close())
                engine.drain() if heeded == 1 else engine.stop()
                drain_s, grace_s = control.policy.drain_s, control.policy.grace_s
                observe(Stopping(drain_s=drain_s if heeded == 1 else 0.0, grace_s=grace_s if heeded < 3 else 0.0))
            for news in control.listen(jobs.running, len(queue)):
                observe(news)
            more = jobs.fill()
            engine.allow(control.widths(jobs.running))
            if not more and (places := min(control.room(len(jobs.running)), engine.room().jobs)):
                jobs.rebalance(places)
            for event in engine.wait(0.0 if more else TICK_S):
                jobs.take_in(event)
            jobs.heed_limits()
            sampler.sample()
            observer.tick(time.monotonic())
        return Ended(received[0] if received else None)


class _Jobs:
    """The jobs that run, and what they give back."""

    def __init__(
        self,
        engine: Engine,
        queue: ShardQueue,
        make: Callable[[Launch], ShardJob | None],
        limiter: RateLimiter[Any],
        control: Control,
        observe: Callable[[Event], None],
    ) -> None:
        self.running: dict[int, ShardJob] = {}
        """By number, in the order in which they began."""
        self._launches: dict[int, Launch] = {}
        self._engine = engine
        self._queue = queue
        self._make = make
        self._limiter = limiter
        self._control = control
        self._observe = observe
        self._rebalance = Rebalance()
        self._begun: set[str] = set()
        """Shards that have been launched and have not ended."""
        self._told_why = False

    @property
    def shards(self) -> list[str]:
        """Of each job that runs."""
        return [job.shard for job in self.running.values()]

    def fill(self) -> bool:
        """Launches what there is room for. True: there may be room for more, but the engine is to be heard first."""
        until = time.monotonic() + LAUNCH_S
        while self._control.room(len(self.running)) and self._queue:
            if (room := self._engine.room()).jobs <= 0:
                if room.why is not None and not self._told_why:
                    self._observe(Note(text=room.why))
                    self._told_why = True
                return False
            if (launch := self._queue.next()) is None:
                return False
            self._launch(launch)
            if time.monotonic() > until:
                return True
        return False

    def _launch(self, launch: Launch) -> None:
        if (job := self._make(launch)) is None:
            self._queue.leave(launch.lane)
            return
        self.running[job.number], self._launches[job.number] = job, launch
        self._begun.add(job.shard)
        self._rebalance.launched(job)
        self._control.launched(job)
        self._engine.launch(job)

    def rebalance(self, places: int) -> None:
        """Has long jobs give units to worker places that have nothing to run."""
        if not (self._control.policy.rebalance and self._engine.facts.hands_back):
            return
        for job, units in self._rebalance.choose(places, self._engine.unbegun(), self._spare):
            self._engine.hand_back(job, units)

    def _spare(self, job: ShardJob) -> float:
        return self._queue.spare(self._launches[job.number].shard.lanes)

    def take_in(self, event: Event) -> None:
        """What has happened in the engine, for the limiter, the queue and the observer."""
        if isinstance(event, AttemptEnded):
            self._tell(event)
            self._control.limits.count(event)
            self._observe(event)
        elif isinstance(event, TurnedAway):
            launch = self._launches[event.job]
            self._tell(event.ended)
            others = [lane for lane in launch.shard.lanes if lane != launch.lane]
            elsewhere = bool(others) and self._queue.serves(others)
            ended = msgspec.structs.replace(event.ended, outcome=not elsewhere)
            self._control.limits.count(ended)
            self._observe(ended)
        elif isinstance(event, UnitsReturned):
            self._rebalance.answered(event.job)
            self._put(event.job, event.units)
        elif isinstance(event, JobEnded):
            self._put(event.job, event.left)
            del self.running[event.job]
            self._rebalance.ended(event.job)
            self._control.ended(event.job)
            self._queue.leave(self._launches.pop(event.job).lane)
            self._end_if_ended(event.shard)
        else:
            self._control.limits.count(event)
            self._observe(event)

    def _put(self, job: int, units: Units) -> None:
        """Has units wait for another job. Where none may run them, they stay open."""
        if units.orders:
            fault_point(Point.UNITS_WAITING)
            self._queue.put(self._launches[job].shard._replace(units=units))

    def heed_limits(self) -> None:
        """Takes in what the limiter has found out, and the limits of the run. What halts starts nothing more."""
        for news in self._limiter.news():
            if isinstance(news, LaneHalted):
                self._halt(news)
            else:
                self._observe(news)
        for told in self._control.limit():
            if isinstance(told, LimitReached):
                self.give_up(self._queue.close())
                self._engine.halt(None)
            self._observe(told)

    def _halt(self, news: LaneHalted) -> None:
        """A lane starts nothing more. The other lanes go on, and take what it has not begun."""
        dropped = self._queue.drop(news.lane)
        mine = [launch.shard for launch in self._launches.values() if launch.lane == news.lane]
        goes_on = not dropped and all(self._queue.serves(shard.lanes) for shard in mine)
        self._observe(msgspec.structs.replace(news, goes_on=goes_on))
        self._engine.halt(news.lane)
        self.give_up(dropped)

    def give_up(self, shards: Iterable[str]) -> None:
        """These shards do not wait any longer."""
        for shard in shards:
            self._end_if_ended(shard)

    def _end_if_ended(self, shard: str) -> None:
        if shard in self._begun and shard not in self.shards and not self._queue.waits(shard):
            self._begun.remove(shard)
            self._observe(ShardEnded(shard=shard))

    def _tell(self, event: AttemptEnded) -> None:
        """Tells the limiter of an outcome: the lane may halt for it."""
        self._rebalance.heard(event)
        if event.lane is not None and event.outcome:
            self._limiter.ended(event.lane, event.status, event.error.http_status if event.error else None)


class _Sampler:
    """Samples the memory of the run's processes every now and then: it costs a millisecond a process."""

    def __init__(self, engine: Engine, observer: Observer) -> None:
        self._engine = engine
        self._observer = observer
        self._next = time.monotonic() + FIRST_SAMPLE_S

    def sample(self) -> None:
        if time.monotonic() < self._next:
            return
        self._next = time.monotonic() + SAMPLE_S
        workers = dict(self._engine.memory())
        other = workers.pop("", 0)
        self._observer.handle(MemorySampled(master=proportional_bytes([os.getpid()]), workers=workers, other=other))
