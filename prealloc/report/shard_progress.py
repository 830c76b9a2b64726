"""How far a shard and a lane are: their part of a run's state, as RunProgress folds it."""

from __future__ import annotations

import enum
from collections import deque
from typing import NamedTuple

from prealloc.model import events
from prealloc.model.lane import Lane
from prealloc.model.outcome import FINAL, ErrorInfo, Successes

WINDOW_S = 60
"""What happened longer ago does not count ..."""
LEAST = 10
"""... unless fewer than this many happened since: agents may need minutes for each task."""

_KEPT = WINDOW_S + 2 * LEAST


class Pace:
    """Counts in buckets of a second: a fixed amount of memory, whatever happens."""

    __slots__ = ("_buckets", "started_s")

    def __init__(self, started_s: float) -> None:
        self.started_s = started_s
        self._buckets: deque[list[int]] = deque(maxlen=_KEPT)

    def add(self, now_s: float) -> None:
        """One more was done."""
        second = int(now_s)
        buckets = self._buckets
        if buckets and buckets[-1][0] == second:
            buckets[-1][1] += 1
        else:
            buckets.append([second, 1])

    def per_s(self, now_s: float) -> float | None:
        """Done per second; None as long as nothing is known. Falls while nothing gets done."""
        total = 0
        since_s = self.started_s
        for second, count in reversed(self._buckets):
            if now_s - second > WINDOW_S and total >= LEAST:
                # Left out from this bucket on, so the time is measured from its end.
                since_s = second + 1.0
                break
            total += count
        elapsed_s = now_s - since_s
        return total / elapsed_s if total and elapsed_s > 0 else None


class State(enum.StrEnum):
    """Where a shard stands, in the order in which people want to see it."""

    RUNNING = "running"
    DRAINING = "draining"
    LOST = "restarting"
    WAITING = "waiting"
    ENDED = "done"


class Tally:
    """Counts of some units: of a shard, or of the run."""

    __slots__ = ("counts", "decided", "retries", "success", "units")

    def __init__(self, units: int = 0) -> None:
        self.units = units
        self.counts: dict[str, int] = {}
        """Decided units by status; a status that did not happen may be missing."""
        self.decided = 0
        """Units that this session is through with: the sum of `counts`."""
        self.retries = 0
        """Attempts that have begun because the one before did not decide their unit."""
        self.success = Successes()

    @property
    def done(self) -> int:
        """Units whose outcome stands: not those that their infrastructure failed, nor those that were stopped."""
        return sum(self.counts.get(status, 0) for status in FINAL)

    def decide(self, event: events.AttemptEnded) -> None:
        """One more unit has its outcome."""
        counts = self.counts
        counts[event.status] = counts.get(event.status, 0) + 1
        self.decided += 1
        if event.first:
            self.success.count_first(event.status, event.success)
        self.success.count_latest(event.success, event.unclear)

    def carry_over(self, info: events.ShardInfo) -> None:
        """Units decided before this session."""
        for status, count in info.done.items():
            self.counts[status] = self.counts.get(status, 0) + count
            self.decided += count
        self.success.add(info.success)


class ShardProgress(Tally):
    """One shard."""

    __slots__ = (
        "earlier",
        "ended_s",
        "id",
        "index",
        "last_error",
        "pace",
        "running",
        "settings",
        "state",
        "workers",
    )

    def __init__(self, info: events.ShardInfo, index: int) -> None:
        super().__init__(info.units - info.not_asked)
        self.carry_over(info)
        self.earlier = self.decided
        self.id = info.id
        self.index = index
        self.settings = info.settings
        self.state = State.WAITING
        self.workers: dict[tuple[str | None, int], str | None] = {}
        """The lane that each worker process runs on, by host and process id; those that retire too."""
        # Units, not a number: a suspect that starts again without having ended must not count twice.
        self.running: dict[tuple[str, int], float] = {}
        """When each began."""
        self.last_error: ErrorInfo | None = None
        self.pace: Pace | None = None
        self.ended_s: float | None = None

    def per_s(self, now_s: float) -> float | None:
        """Units per second lately; over its whole time once the shard has ended."""
        if self.pace is None:
            return None
        if self.ended_s is not None:
            return mean_per_s(self.decided - self.earlier, self.ended_s - self.pace.started_s)
        return self.pace.per_s(now_s)

    def eta_s(self, now_s: float, typical_s: float | None) -> float | None:
        """Seconds to its end; None if it is unknown or the shard has ended. `typical_s` is what an attempt takes.

        At its pace, but no sooner than what runs now can be expected to end.
        """
        if self.state is State.ENDED:
            return None
        at_pace_s = time_left_s(self.units - self.decided, self.per_s(now_s))
        if at_pace_s is None or typical_s is None:
            return at_pace_s
        return max(at_pace_s, *(_remaining(now_s - began_s, typical_s) for began_s in self.running.values()), 0.0)


class Memory(NamedTuple):
    """Bytes held at one moment, by who held them."""

    master: int
    workers: int
    other: int

    @property
    def total(self) -> int:
        return self.master + self.workers + self.other


class LaneProgress:
    """A lane: what it was given, what its limit was found to be, and why it has halted, if it has."""

    def __init__(self, lane: Lane) -> None:
        self.lane = lane
        self.found: tuple[float, float] | None = None
        """Requests in this many seconds; None while the limits it was given are all there is."""
        self.halted: events.LaneHalted | None = None
        self.paused_until_s = 0.0
        """Its server has asked for no request before this time."""
        self.paused_status: int | None = None
        """And has answered with this HTTP status."""


def mean_per_s(count: int, elapsed_s: float) -> float | None:
    return count / elapsed_s if count and elapsed_s > 0 else None


def _remaining(age_s: float, typical_s: float) -> float:
    """What an attempt of this age can be expected to need still: one that has outlived the others, half of its age."""
    return max(typical_s - age_s, age_s / 2)


def time_left_s(remaining: int, per_s: float | None) -> float | None:
    if remaining <= 0:
        return 0.0
    return remaining / per_s if per_s else None
