"""The master's loop over one session of a run: which shard is next, when to stop, what is told to whom."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from prealloc.engines.admission import Admission
from prealloc.engines.base import Engine, ShardJob
from prealloc.engines.control import Control
from prealloc.engines.queue import ShardQueue
from prealloc.lanes.limiter import RateLimiter
from prealloc.model.events import AttemptEnded, Event, LaneHalted, MemorySampled, Note, Observer, ShardEnded, Stopping
from prealloc.processes.memory import proportional_bytes
from prealloc.processes.signals import handled

TICK_S = 0.1
FIRST_SAMPLE_S = 1.0
SAMPLE_S = 2.0


class Ended(NamedTuple):
    """How a session ended: by itself, or by this signal."""

    signal: int | None


def conduct(
    engine: Engine,
    queue: ShardQueue,
    make: Callable[[str], ShardJob | None],
    *,
    limiter: RateLimiter[Any],
    control: Control,
    admission: Admission,
    observer: Observer,
) -> Ended:
    """Runs the shards in the queue to their end, as many at a time as `control` says, fewer if memory is short.

    `make` makes a shard's job, when it is launched; None if there is nothing to run of it after all. The first SIGINT,
    SIGTERM or SIGHUP drains, the second cancels what runs, which has the grace to clean up, the third kills it; resume
    runs it again. Raises CannotGoOn.
    """
    lane_of: dict[str, str | None] = {}
    """Of the shards that run."""
    observe = observer.handle
    sampler = _Sampler(engine, observer, admission)
    told_of_memory = False
    received: list[int] = []
    with handled(lambda number, frame: received.append(number)):
        heeded = 0
        while queue or lane_of or queue.refill():
            if len(received) > heeded:
                heeded += 1
                queue.clear()
                engine.drain() if heeded == 1 else engine.stop()
                drain_s, grace_s = control.policy.drain_s, control.policy.grace_s
                observe(Stopping(drain_s=drain_s if heeded == 1 else 0.0, grace_s=grace_s if heeded < 3 else 0.0))
            for news in control.listen(engine, lane_of, len(queue)):
                observe(news)
            while control.has_room(len(lane_of)) and queue:
                if refusal := admission.refusal(lane_of):
                    if not told_of_memory:
                        observe(Note(text=refusal))
                        told_of_memory = True
                    break
                if (shard := queue.next()) is None:
                    break
                if (job := make(shard.id)) is None:
                    queue.leave(shard.lane)
                    continue
                lane_of[shard.id] = shard.lane
                control.launched(shard.id, job.policy.concurrency)
                engine.launch(job)
            engine.allow(control.widths(lane_of))
            for event in engine.wait(TICK_S):
                if isinstance(event, AttemptEnded):
                    _tell(limiter, lane_of[event.shard], event)
                    control.count(event)
                elif isinstance(event, ShardEnded):
                    queue.leave(lane_of.pop(event.shard))
                    control.ended(event.shard)
                observe(event)
            for news in _heeded(engine, queue, limiter, control):
                observe(news)
            sampler.sample()
            observer.tick(time.monotonic())
        return Ended(received[0] if received else None)


def _heeded(engine: Engine, queue: ShardQueue, limiter: RateLimiter[Any], control: Control) -> Iterator[Event]:
    """What the limiter has found out, and the limits of the run; what halts starts nothing more."""
    for news in limiter.news():
        if isinstance(news, LaneHalted):  # the other lanes go on
            engine.halt(news.lane)
            queue.drop(news.lane)
        yield news
    for reached in control.limit():
        queue.clear()
        engine.halt(None)
        yield reached


def _tell(limiter: RateLimiter[Any], lane: str | None, event: AttemptEnded) -> None:
    """Tells the limiter of an outcome: the lane may halt for it."""
    if lane is not None and event.outcome:
        limiter.ended(lane, event.status, event.error.http_status if event.error else None)


class _Sampler:
    """Samples the memory of the run's processes every now and then: it costs a millisecond a process."""

    def __init__(self, engine: Engine, observer: Observer, admission: Admission) -> None:
        self._engine = engine
        self._observer = observer
        self._admission = admission
        self._next = time.monotonic() + FIRST_SAMPLE_S

    def sample(self) -> None:
        if time.monotonic() < self._next:
            return
        self._next = time.monotonic() + SAMPLE_S
        workers = {shard: proportional_bytes(pids) for shard, pids in self._engine.processes().items()}
        other = workers.pop("", 0)
        self._admission.look(workers)
        self._observer.handle(MemorySampled(master=proportional_bytes([os.getpid()]), workers=workers, other=other))
