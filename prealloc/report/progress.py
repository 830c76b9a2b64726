"""The state of a run as a fold over its events. No pixels, no clock: `now_s` is an argument.

The success rate is that of Successes, over the units decided so far: it ends as the one that `prealloc results` gives.
"""

from __future__ import annotations

import heapq
import statistics
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import msgspec

from prealloc.model import events
from prealloc.model.outcome import ErrorInfo, Status
from prealloc.report.shard_progress import (
    LaneProgress,
    Memory,
    Pace,
    ShardProgress,
    State,
    Tally,
    mean_per_s,
    time_left_s,
)

NOTES = 5
OPENS = 20
LATELY = 101
"""So many latest attempts say how long one takes."""


class RunProgress:
    """Everything a reporter shows while a run goes on. A few microseconds per event; memory grows with shards alone.

    RunEnded, which is folded from the journal, has the result of the run.
    """

    def __init__(self) -> None:
        self.started: events.RunStarted | None = None
        self.ended: events.RunEnded | None = None
        self.started_s = 0.0
        self.stopping: events.Stopping | None = None
        self.stopping_s = 0.0
        """When it was told last."""
        self.limit: str | None = None
        """The limit of the whole run that is reached: no further task starts."""
        self.paused = False
        """By `prealloc ctl`: no further task starts for now."""
        self.total = Tally()
        self.running = 0
        """Tasks that run at this moment."""
        self.earlier = 0
        """Units decided before this session."""
        self.shards: dict[str, ShardProgress] = {}
        self.telling: tuple[str, ...] = ()
        """The settings that tell shards apart."""
        self.lanes: dict[str, LaneProgress] = {}
        self.hosts: dict[str, events.HostState] = {}
        """As they were last sampled; those that are lost or have ended are not among them."""
        self.hosts_joined = self.hosts_lost = 0
        self.notes: deque[str] = deque(maxlen=NOTES)
        self.opens = 0
        self.opened: list[tuple[str, str]] = []
        """The first (shard, path) of workers that tried to open the library."""
        self.memory: Memory | None = None
        self.peak: Memory | None = None
        """When the sum was largest."""
        self.worker_memory: dict[str, int] = {}
        self.lost = 0
        """Workers that died or were killed."""
        self._to_retry: set[tuple[str, str, int]] = set()
        """Units whose latest attempt did not decide them."""
        self.waiting_s = 0.0
        self.working_s = 0.0
        self.is_watched = False
        """It is looked at from elsewhere: the picture names what runs, and the last errors."""
        self.last_errors: deque[tuple[str, ErrorInfo]] = deque(maxlen=NOTES)
        """The unit of each, the latest at the end."""
        self._pace = Pace(0.0)
        self._lately: deque[float] = deque(maxlen=LATELY)
        self._in_state: dict[State, set[int]] = {state: set() for state in State}
        self._by_index: list[ShardProgress] = []
        self._shown: list[ShardProgress] = []
        """Without those of which nothing is asked for and nothing is done."""

    def apply(self, event: events.Event, now_s: float) -> None:
        """Takes one event in. `now_s` is any clock in seconds that never goes back."""
        handler = _HANDLERS.get(type(event))
        if handler is not None:
            handler(self, event, now_s)

    def success_rate(self, tally: Tally) -> float | None:
        """Of the shard or of the whole; None as long as no result of the run says success."""
        return tally.success.rate(self.total.success.reported)

    def per_s(self, now_s: float) -> float | None:
        """Units per second lately; over the whole session once it has ended."""
        if self.ended is not None:
            return mean_per_s(self.total.decided - self.earlier, self.ended.duration_s)
        return self._pace.per_s(now_s)

    def typical_s(self) -> float | None:
        """How long an attempt takes, lately: the median. None until one has ended."""
        return statistics.median(self._lately) if self._lately else None

    def eta_s(self, now_s: float) -> float | None:
        """Seconds to the end; None if it is unknown, or the run is stopping or paused. Never below that of a shard."""
        if self.ended is not None or self.is_stopping or self.paused:
            return None
        at_pace_s = time_left_s(self.total.units - self.total.decided, self.per_s(now_s))
        if at_pace_s is None:
            return None
        typical_s = self.typical_s()
        return max([at_pace_s, *(shard.eta_s(now_s, typical_s) or 0.0 for shard in self._under_way())])

    def elapsed_s(self, now_s: float) -> float:
        """Seconds since the session started, or that it took."""
        if self.ended is not None:
            return self.ended.duration_s
        return now_s - self.started_s if self.started is not None else 0.0

    def longest_running(self, most: int) -> list[tuple[str, float]]:
        """The units that run since longest, each with the time when it began."""
        every = (
            (began_s, f"{shard.id}/{task}#{repeat}")
            for shard in self._under_way()
            for (task, repeat), began_s in shard.running.items()
        )
        return [(unit, began_s) for began_s, unit in heapq.nsmallest(most, every)]

    def _under_way(self) -> Iterator[ShardProgress]:
        return (self._by_index[index] for state in (State.RUNNING, State.LOST) for index in self._in_state[state])

    def running_on_lanes(self) -> dict[str, int]:
        """How many workers run on each lane that any runs on."""
        running = (self._by_index[index].workers.values() for index in self._in_state[State.RUNNING])
        return dict(Counter(lane for workers in running for lane in workers if lane is not None))

    @property
    def is_stopping(self) -> bool:
        """What runs may end, and nothing will start."""
        return self.stopping is not None or self.limit is not None

    def states(self) -> dict[State, int]:
        """How many shards are in which state."""
        states = {state: len(indices) for state, indices in self._in_state.items()}
        if self.is_stopping:
            states[State.DRAINING], states[State.RUNNING] = states[State.RUNNING], 0
        return states

    def state(self, shard: ShardProgress) -> State:
        """The shard's state as it is shown: what runs while the run stops is draining."""
        return State.DRAINING if self.is_stopping and shard.state is State.RUNNING else shard.state

    def most_interesting(self, most: int) -> list[ShardProgress]:
        """At most this many shards: all in the plan's order, or if there are more, by state first.

        When the run has ended: those that are not all ok first, and last those that never began.
        """
        if len(self._shown) <= most:
            return self._shown
        if self.ended is not None:
            return heapq.nsmallest(most, self._shown, key=_place_at_the_end)
        chosen: list[int] = []
        for state in State:
            if len(chosen) < most:
                chosen += heapq.nsmallest(most - len(chosen), self._in_state[state])
        return [self._by_index[index] for index in chosen]

    def _run_started(self, event: events.RunStarted, now_s: float) -> None:
        self.started = event
        self.started_s = now_s
        self._pace = Pace(now_s)
        self.lanes = {lane.name: LaneProgress(lane) for lane in event.lanes}
        for index, info in enumerate(event.shards):
            shard = ShardProgress(info, index)
            self.shards[info.id] = shard
            self._by_index.append(shard)
            if info.not_asked and not shard.units:
                continue
            self._shown.append(shard)
            self._in_state[State.WAITING].add(index)
            self.total.units += info.units - info.not_asked
            self.total.carry_over(info)
            if shard.decided >= shard.units:
                self._move(shard, State.ENDED)
        self.earlier = self.total.decided
        self.telling = _telling([shard.settings for shard in self._shown])

    def _shard_started(self, event: events.ShardStarted, now_s: float) -> None:
        shard = self.shards[event.shard]
        shard.workers[event.host, event.pid] = event.lane
        if shard.pace is None:
            shard.pace = Pace(now_s)
        self._move(shard, State.RUNNING)

    def _shard_share(self, event: events.ShardShare, now_s: float) -> None:
        shard = self.shards[event.shard]
        self.total.units += event.units - shard.units
        shard.units = event.units
        if shard.decided >= shard.units and shard.state is State.WAITING:
            self._move(shard, State.ENDED)

    def _attempt_started(self, event: events.AttemptStarted, now_s: float) -> None:
        self._count_retry(event)
        running = self.shards[event.shard].running
        before = len(running)
        running[event.task, event.repeat] = now_s
        self.running += len(running) - before

    def _attempt_ended(self, event: events.AttemptEnded, now_s: float) -> None:
        shard = self.shards[event.shard]
        unit = (event.task, event.repeat)
        began_s = shard.running.pop(unit, None)
        if began_s is not None:
            self.running -= 1
            self._lately.append(now_s - began_s)
        if event.error is not None:
            shard.last_error = event.error
            self.last_errors.append((f"{event.shard}/{event.task}#{event.repeat}", event.error))
        self.working_s += event.working_s
        self._count_retry(event)  # of an engine that does not say when attempts start
        if not event.outcome:
            self._to_retry.add((event.shard, *unit))
            return
        self.waiting_s += event.waiting_s
        shard.decide(event)
        self.total.decide(event)
        self._pace.add(now_s)
        if shard.pace is not None:
            shard.pace.add(now_s)

    def _count_retry(self, event: events.AttemptStarted | events.AttemptEnded) -> None:
        """One that is only planned may never come: the run may end before."""
        unit = (event.shard, event.task, event.repeat)
        if unit in self._to_retry:
            self._to_retry.remove(unit)
            self.shards[event.shard].retries += 1
            self.total.retries += 1

    def _worker_lost(self, event: events.WorkerLost, now_s: float) -> None:
        shard = self.shards[event.shard]
        self.lost += 1
        shard.workers.pop((event.host, event.pid), None)
        # Another one may run: its replacement, or that of a part of the shard.
        if not shard.workers and shard.state is not State.ENDED:
            self._nothing_runs(shard)
            self._move(shard, State.LOST)

    def _worker_gone(self, event: events.WorkerGone, now_s: float) -> None:
        shard = self.shards[event.shard]
        shard.workers.pop((event.host, event.pid), None)
        if not shard.workers and shard.state is State.RUNNING:  # until its next one starts, or it has ended
            self._move(shard, State.WAITING)

    def _shard_ended(self, event: events.ShardEnded, now_s: float) -> None:
        shard = self.shards[event.shard]
        shard.ended_s = now_s
        shard.workers.clear()
        self._nothing_runs(shard)
        self._move(shard, State.ENDED)

    def _host_joined(self, event: events.HostJoined, now_s: float) -> None:
        self.hosts_joined += 1

    def _host_lost(self, event: events.HostLost, now_s: float) -> None:
        self.hosts_lost += 1
        self.hosts.pop(event.host, None)

    def _hosts_sampled(self, event: events.HostsSampled, now_s: float) -> None:
        self.hosts = {each.host: each for each in event.hosts}

    def _library_opened(self, event: events.LibraryOpenedByWorker, now_s: float) -> None:
        self.opens += 1
        if len(self.opened) < OPENS:
            self.opened.append((event.shard, event.path))

    def _memory_sampled(self, event: events.MemorySampled, now_s: float) -> None:
        self.worker_memory = event.workers
        self.memory = Memory(event.master, sum(event.workers.values()), event.other)
        if self.peak is None or self.memory.total > self.peak.total:
            self.peak = self.memory

    def _lane_changed(self, event: events.LaneChanged, now_s: float) -> None:
        self.lanes[event.lane].found = (event.limit, event.window_s)

    def _lane_paused(self, event: events.LanePaused, now_s: float) -> None:
        self.lanes[event.lane].paused_until_s = now_s + event.wait_s
        self.lanes[event.lane].paused_status = event.http_status

    def _lane_halted(self, event: events.LaneHalted, now_s: float) -> None:
        self.lanes[event.lane].halted = event

    def _note(self, event: events.Note, now_s: float) -> None:
        self.notes.append(event.text)

    def _stopping(self, event: events.Stopping, now_s: float) -> None:
        self.stopping, self.stopping_s = event, now_s

    def _limit_reached(self, event: events.LimitReached, now_s: float) -> None:
        self.limit = event.reason

    def _run_steered(self, event: events.RunSteered, now_s: float) -> None:
        self.paused = event.paused
        if self.started is not None:
            self.started = msgspec.structs.replace(
                self.started,
                workers=event.workers,
                concurrency=event.concurrency,
                concurrency_most=event.concurrency_most,
            )

    def _run_ended(self, event: events.RunEnded, now_s: float) -> None:
        self.ended = event
        self.running = 0

    def _nothing_runs(self, shard: ShardProgress) -> None:
        self.running -= len(shard.running)
        shard.running.clear()

    def _move(self, shard: ShardProgress, state: State) -> None:
        self._in_state[shard.state].discard(shard.index)
        shard.state = state
        self._in_state[state].add(shard.index)


_HANDLERS: dict[type, Callable[[RunProgress, Any, float], None]] = {
    events.RunStarted: RunProgress._run_started,
    events.ShardStarted: RunProgress._shard_started,
    events.ShardShare: RunProgress._shard_share,
    events.AttemptStarted: RunProgress._attempt_started,
    events.AttemptEnded: RunProgress._attempt_ended,
    events.WorkerLost: RunProgress._worker_lost,
    events.WorkerGone: RunProgress._worker_gone,
    events.LibraryOpenedByWorker: RunProgress._library_opened,
    events.HostJoined: RunProgress._host_joined,
    events.HostLost: RunProgress._host_lost,
    events.HostsSampled: RunProgress._hosts_sampled,
    events.MemorySampled: RunProgress._memory_sampled,
    events.ShardEnded: RunProgress._shard_ended,
    events.LaneChanged: RunProgress._lane_changed,
    events.LanePaused: RunProgress._lane_paused,
    events.LaneHalted: RunProgress._lane_halted,
    events.Note: RunProgress._note,
    events.Stopping: RunProgress._stopping,
    events.LimitReached: RunProgress._limit_reached,
    events.RunSteered: RunProgress._run_steered,
    events.RunEnded: RunProgress._run_ended,
}


def _place_at_the_end(shard: ShardProgress) -> tuple[bool, bool, int]:
    return shard.state is State.WAITING, shard.counts.get(Status.OK, 0) == shard.units, shard.index


def _telling(settings: Sequence[dict[str, Any]]) -> tuple[str, ...]:
    """The keys whose value is not the same in every shard; all of them if there are two at most."""
    keys = sorted({key for each in settings for key in each})
    if len(keys) <= 2:
        return tuple(keys)
    first = settings[0]
    return tuple(
        key for key in keys if any(key not in each or key not in first or each[key] != first[key] for each in settings)
    )
