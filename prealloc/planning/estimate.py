"""How long a plan will take, and which lane is the last to end: arithmetic over limits and times of a task.

A lane is done when the slowest of these is: its requests at its rate, its tokens at theirs, and its shards one after
the other as far as it lets them run at once. Retries, failures and starts of processes are not foreseen.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from heapq import heapify, heapreplace
from typing import Annotated, Any, NamedTuple

import msgspec

from prealloc.model.lane import Lane
from prealloc.model.options import Number, Option, checked_options
from prealloc.model.where import Entry, options_in
from prealloc.planning.history import NO_PAST, History

WORK = "tasks_at_once"
WORKERS = "workers"
_MOST_WORKERS = 64
"""How many shards run at once where nothing else says so."""


class Effort(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What one task takes. None: not known."""

    requests_per_task: Annotated[float, Option(Number(), "Requests that one task sends.")] = 1.0
    tokens_per_task: Annotated[
        float | None, Option(Number(), "Tokens that one task uses; history comes before it.", unset="not known")
    ] = None
    seconds_per_task: Annotated[
        float | None, Option(Number(), "Working time of one task; history comes before it.", unset="not known")
    ] = None

    @classmethod
    def checked(cls, **fields: Any) -> Effort:
        """The effort of these fields. Raises OptionsError with every mistake among them."""
        return cls(**checked_options(cls, fields))


_NO_LANE = Lane(name="none")


class ShardLoad(NamedTuple):
    """The work of one shard: `units` by task type."""

    lane: str | None
    model: Any
    units: Mapping[str, int]
    cell: Mapping[str, Any] = {}


class LaneEstimate(msgspec.Struct, frozen=True, kw_only=True):
    """One lane's part of the work. `lane` None: the shards that queue for no lane."""

    lane: str | None
    shards: int
    at_once: int
    """Shards that run at once."""
    units: int
    requests: float
    seconds: float | None
    """None: neither a limit nor the time of a task is known."""
    limited_by: str | None
    """The limit (a field of Lane, or `tasks_at_once`) that makes it last so long."""


class Estimate(msgspec.Struct, frozen=True, kw_only=True):
    """The whole plan. Lanes run side by side, unless there are too few workers."""

    lanes: tuple[LaneEstimate, ...]
    seconds: float | None
    bottleneck: str | None
    """The lane that ends last, or `workers`."""
    limited_by: str | None
    complete: bool
    """False: the time of a task is not known for all, so it will take at least so long."""


def estimate(
    loads: Sequence[ShardLoad],
    lanes: Sequence[Lane],
    effort: Effort,
    *,
    concurrency: int = 1,
    workers: int | None = None,
    where: Sequence[Entry] = (),
    history: History = NO_PAST,
) -> Estimate:
    """The estimate of these shards. `concurrency`, `workers` and `where` are those of the run."""
    by_lane: dict[str | None, list[ShardLoad]] = {}
    for load in loads:
        by_lane.setdefault(load.lane, []).append(load)
    most = workers if workers is not None else _MOST_WORKERS
    of_name: dict[str | None, Lane] = {lane.name: lane for lane in lanes}
    every_shard_s: list[float | None] = []
    told = []
    for name in sorted(by_lane, key=[*of_name, None].index):
        mine, lane = by_lane[name], of_name.get(name)
        slots = [_slots(load, lane, len(mine), concurrency, where) for load in mine]
        at_once = min(lane.share(len(mine), concurrency)[0] if lane is not None else len(mine), most)
        shard_s = [_shard_s(load, effort, history, each) for load, each in zip(mine, slots, strict=True)]
        every_shard_s += shard_s
        told.append(_lane(name, lane, mine, effort, at_once, _makespan(shard_s, at_once), history))
    return _together(told, every_shard_s, most)


def _lane(
    name: str | None,
    lane: Lane | None,
    loads: Sequence[ShardLoad],
    effort: Effort,
    at_once: int,
    work_s: float | None,
    history: History,
) -> LaneEstimate:
    units = sum(sum(load.units.values()) for load in loads)
    requests = units * effort.requests_per_task
    bounds: dict[str, float | None] = {WORK: work_s}
    if lane is not None:
        if lane.queries_per_second is not None:
            bounds["queries_per_second"] = requests / lane.queries_per_second
        if lane.requests_per_minute is not None:
            bounds["requests_per_minute"] = requests * 60 / lane.requests_per_minute
        if lane.tokens_per_minute is not None and (tokens := _tokens(loads, effort, history)) is not None:
            bounds["tokens_per_minute"] = tokens * 60 / lane.tokens_per_minute
    known = {limit: seconds for limit, seconds in bounds.items() if seconds is not None}
    limited_by = max(known, key=known.__getitem__, default=None)
    return LaneEstimate(
        lane=name,
        shards=len(loads),
        at_once=at_once,
        units=units,
        requests=requests,
        seconds=known[limited_by] if limited_by is not None else None,
        limited_by=limited_by,
    )


def _tokens(loads: Sequence[ShardLoad], effort: Effort, history: History) -> float | None:
    """What these shards use; None if that is not known of all their units."""
    total = 0.0
    for load in loads:
        for kind, count in load.units.items():
            past = history.tokens(load.model, kind)
            each = effort.tokens_per_task if past is None else past.mean
            if each is None:
                return None
            total += count * each
    return total


def _together(lanes: Sequence[LaneEstimate], shard_s: Sequence[float | None], workers: int) -> Estimate:
    timed = [(lane.seconds, lane.lane, lane.limited_by) for lane in lanes if lane.seconds is not None]
    seconds, bottleneck, limited_by = max(timed, key=lambda each: each[0], default=(None, None, None))
    whole = [each for each in shard_s if each is not None]
    if len(whole) == len(shard_s) and whole and (seconds is None or sum(whole) / workers > seconds):
        seconds, bottleneck, limited_by = sum(whole) / workers, WORKERS, WORKERS
    return Estimate(
        lanes=tuple(lanes),
        seconds=seconds,
        bottleneck=bottleneck,
        limited_by=limited_by,
        complete=len(whole) == len(shard_s),
    )


def _slots(load: ShardLoad, lane: Lane | None, shards: int, concurrency: int, where: Sequence[Entry]) -> int:
    """How many tasks of a shard run at once, on its lane beside so many others."""
    of_cell = options_in(where, load.cell).get("concurrency")
    return (lane or _NO_LANE).share(shards, concurrency, of_cell)[1]


def _shard_s(load: ShardLoad, effort: Effort, history: History, slots: int) -> float | None:
    """A shard's working time, its slots kept busy; None if the time of one of its tasks is not known."""
    total, longest = 0.0, 0.0
    for kind, count in load.units.items():
        seconds = history.seconds(load.model, kind)
        seconds = effort.seconds_per_task if seconds is None else seconds
        if seconds is None:
            return None
        total += seconds * count
        longest = max(longest, seconds)
    # No shard ends before its longest task does.
    return max(total / slots, longest)


def _makespan(shard_s: Sequence[float | None], at_once: int) -> float | None:
    """When the last shard ends, each starting in its order as soon as there is room."""
    ends = [0.0] * max(1, at_once)
    heapify(ends)
    for seconds in shard_s:
        if seconds is None:
            return None
        heapreplace(ends, ends[0] + seconds)
    return max(ends)
