"""How a run went over time, in `telemetry.jsonl`: memory, tasks, lanes; and in `running.json` what runs now.

For pictures and for other terminals. Nothing rests on either file: a disk that refuses a line stops nothing, and a file
that is lost is missed by nobody. `telemetry.jsonl` stays small: when it is full, each two lines become one.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Mapping, Sequence
from itertools import islice
from typing import Any

import msgspec

from prealloc.files.atomic import write_file
from prealloc.files.faultpoint import Point, fault_point
from prealloc.files.paths import RunPaths
from prealloc.files.regular import Unusable, open_regular
from prealloc.model.events import (
    AttemptEnded,
    AttemptStarted,
    Event,
    MemorySampled,
    RunStarted,
    RunSteered,
    ShardEnded,
    ShardShare,
    ShardStarted,
    WorkerGone,
    WorkerLost,
)
from prealloc.model.lane import LaneFigures
from prealloc.store.tail import content_of, decoded

MOST_LINES = 4000
FIRST_INTERVAL_S = 2.0
MOST_NAMED = 1000
"""Units that are named as running; the others are counted."""


class Sample(msgspec.Struct, frozen=True, kw_only=True):
    """A line: an interval of time. Bytes and tasks are the most at a time in it."""

    at: float
    """Its end, by the wall clock."""
    s: float
    """Its length."""
    session: int
    master: int
    workers: int
    other: int
    running: int
    """Tasks."""
    waiting: int
    """Units that have not begun."""
    lanes: dict[str, LaneFigures] = {}
    """Those in which anything happened, by their names."""

    def then(self, later: Sample) -> Sample:
        """Both intervals together."""
        most = {name: max(getattr(self, name), getattr(later, name)) for name in _MOST}
        lanes = {}
        for name in dict.fromkeys((*self.lanes, *later.lanes)):
            mine = self.lanes.get(name, LaneFigures())
            lanes[name] = mine.then(later.lanes.get(name, LaneFigures(limit=mine.limit)))  # else nothing happened
        return Sample(at=later.at, s=round(self.s + later.s, 3), session=later.session, lanes=lanes, **most)


_MOST = ("master", "workers", "other", "running", "waiting")


class RunningUnit(msgspec.Struct, frozen=True, kw_only=True):
    """A unit that runs now."""

    shard: str
    task: str
    repeat: int
    attempt: int
    since: float
    """Wall clock."""


class Running(msgspec.Struct, frozen=True, kw_only=True):
    """What runs now, as its master has heard: a task that has just begun is not among them."""

    at: float
    session: int
    units: tuple[RunningUnit, ...]
    more: int = 0
    """Further ones that are not named."""
    workers: int = 1
    """As many as may run at once."""
    concurrency: int = 1
    concurrency_most: int | None = None


samples = msgspec.json.Decoder(Sample)
_running = msgspec.json.Decoder(Running)


def read_samples(paths: RunPaths) -> list[Sample]:
    """All lines that can be read, in their order."""
    return list(decoded(samples, content_of(paths.telemetry).split(b"\n")))


def read_running(paths: RunPaths) -> Running | None:
    """What runs now, if anybody says so. Of a run without a master it is what ran when that was killed."""
    return next(decoded(_running, [content_of(paths.running)]), None)


def merged(samples: Sequence[Sample]) -> list[Sample]:
    """Each two of a session made one."""
    found: list[Sample] = []
    open_ = False
    for sample in samples:
        if open_ and found[-1].session == sample.session:
            found[-1], open_ = found[-1].then(sample), False
        else:
            found.append(sample)
            open_ = True
    return found


class Telemetry:
    """Writes both files, from what a session's events say. `figures` are those of its lanes since its start."""

    def __init__(
        self,
        paths: RunPaths,
        session: int,
        figures: Callable[[], Mapping[str, LaneFigures]],
        *,
        most_lines: int = MOST_LINES,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._paths = paths
        self._session = session
        self._figures = figures
        self._most_lines = most_lines
        self._now = now
        self._units: dict[tuple[str, str, int], tuple[AttemptStarted, float]] = {}
        """Those that run, and since when."""
        self._left: dict[str, int] = {}
        """Units that are to end yet, by shard."""
        self._workers: dict[str, set[tuple[str | None, int]]] = {}
        """Living ones, by shard: host and process id."""
        self._told: Running | None = None
        self._course: dict[str, Any] = {}
        """What may run at once."""
        self._before: Mapping[str, LaneFigures] = {}
        self._since = now()
        self._pending: Sample | None = None
        earlier = read_samples(paths)
        self._lines = len(earlier)
        lengths = sorted(sample.s for sample in earlier)
        self._interval_s = max(FIRST_INTERVAL_S, lengths[len(lengths) // 2] if lengths else 0.0)
        content = content_of(paths.telemetry)
        self._torn = bool(content) and not content.endswith(b"\n")
        """Its last line was cut: the next one is not to be a part of it."""

    def note(self, event: Event) -> Event:
        """Takes an event in, and gives it on."""
        if isinstance(event, AttemptEnded):
            self._units.pop((event.shard, event.task, event.repeat), None)
            if event.outcome:
                self._left[event.shard] = self._left.get(event.shard, 0) - 1
        elif isinstance(event, AttemptStarted):
            self._units[event.shard, event.task, event.repeat] = event, self._now()
        elif isinstance(event, MemorySampled):
            self._sample(event)
        elif isinstance(event, RunStarted):
            asked = {shard.id: shard.units - shard.not_asked - sum(shard.done.values()) for shard in event.shards}
            self._left = asked
            self._go_on(event)
        elif isinstance(event, RunSteered):
            self._go_on(event)
        elif isinstance(event, ShardShare):
            self._left[event.shard] = event.units
        elif isinstance(event, ShardStarted):
            self._workers.setdefault(event.shard, set()).add((event.host, event.pid))
        elif isinstance(event, WorkerLost | WorkerGone):
            self._workers.setdefault(event.shard, set()).discard((event.host, event.pid))
            if not self._workers[event.shard]:  # else another one may run them
                self._forget(event.shard)
        elif isinstance(event, ShardEnded):
            self._left.pop(event.shard, None)
            self._forget(event.shard)
        return event

    def close(self) -> None:
        """The session ends: nothing runs any more."""
        self._sample(MemorySampled(master=0, workers={}, other=0), last=True)
        with contextlib.suppress(OSError):
            self._paths.running.unlink(missing_ok=True)

    def _forget(self, shard: str) -> None:
        for key in [key for key in self._units if key[0] == shard]:
            del self._units[key]

    def _sample(self, memory: MemorySampled, *, last: bool = False) -> None:
        now = self._now()
        sample = self._taken(memory, now)
        self._pending = sample if self._pending is None else self._pending.then(sample)
        if last or self._pending.s >= self._interval_s - _SLACK_S:
            self._append(self._pending)
            self._pending = None
        if not last:
            self._tell_what_runs(now)

    def _tell_what_runs(self, now: float) -> None:
        units = tuple(
            RunningUnit(shard=began.shard, task=began.task, repeat=began.repeat, attempt=began.attempt, since=since)
            for began, since in islice(self._units.values(), MOST_NAMED)
        )
        more = len(self._units) - len(units)
        at = self._told.at if self._told is not None else now
        told = Running(at=at, session=self._session, units=units, more=more, **self._course)
        if told != self._told:
            self._told = msgspec.structs.replace(told, at=now)
            with contextlib.suppress(OSError):
                write_file(self._paths.running, msgspec.json.encode(self._told))

    def _go_on(self, event: RunStarted | RunSteered) -> None:
        self._course = {name: getattr(event, name) for name in ("workers", "concurrency", "concurrency_most")}

    def _taken(self, memory: MemorySampled, now: float) -> Sample:
        """The interval since the last call."""
        figures, before = self._figures(), self._before
        lanes = {name: each.since(before.get(name, LaneFigures())) for name, each in figures.items()}
        since, self._since, self._before = self._since, now, figures
        return Sample(
            at=round(now, 3),
            s=max(0.0, round(now - since, 3)),
            session=self._session,
            master=memory.master,
            workers=sum(memory.workers.values()),
            other=memory.other,
            running=len(self._units),
            waiting=max(0, sum(self._left.values()) - len(self._units)),
            lanes={name: each for name, each in lanes.items() if each != LaneFigures(limit=each.limit)},
        )

    def _append(self, sample: Sample) -> None:
        line = msgspec.json.encode(sample) + b"\n"
        with contextlib.suppress(OSError, Unusable):
            if self._lines >= self._most_lines:
                self._shorten()
            flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND
            descriptor = open_regular(self._paths.telemetry, inside=self._paths.root, flags=flags)
            with open(descriptor, "ab", buffering=0) as file:
                line = b"\n" + line if self._torn else line
                fault_point(Point.TELEMETRY_WRITE, descriptor, line)
                file.write(line)
            self._torn = False
            self._lines += 1

    def _shorten(self) -> None:
        """Makes each two lines one, and the interval twice as long."""
        samples = merged(read_samples(self._paths))
        write_file(self._paths.telemetry, b"".join(msgspec.json.encode(each) + b"\n" for each in samples))
        self._lines, self._interval_s = len(samples), 2 * self._interval_s


_SLACK_S = 0.1
"""Samples come when the master has time for them."""
