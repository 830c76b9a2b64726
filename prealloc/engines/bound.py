"""How many workers a run may have, and the longest that it can take."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import msgspec

from prealloc.engines.base import Engine
from prealloc.model.lane import Lane
from prealloc.model.policy import CLEANUP_S, IDLE_DEATHS, KILL_STEP_S, MOST_THROTTLED, SOLO_DEATHS, RunPolicy
from prealloc.model.where import options_in
from prealloc.store.run_folder import OpenRun

SPARE_S = 10.0
"""For all that a run does beside its tasks."""


class Share(NamedTuple):
    """What the shards of a lane, or those without one, get of it and of the run's policy."""

    lane: Lane | None
    shards: int
    """Those that the plan deals to it."""
    policy: RunPolicy

    @property
    def shards_at_once(self) -> int:
        return self.shards if self.lane is None else self.lane.share(self.shards, 1)[0]

    @property
    def room(self) -> int:
        """How many jobs the lane may serve at once: shards that are dealt to others too, and parts of shards."""
        if self.lane is None:
            return self.shards
        if self.lane.concurrency is None:
            return self.lane.shards_at_once
        most = self.lane.concurrency // self.shards_at_once
        return min(self.lane.shards_at_once, self.lane.concurrency // most)

    def in_cell(self, cell: Mapping[str, Any]) -> RunPolicy:
        """The policy of a shard of this cell: as many tasks at once as the lane leaves it."""
        said = options_in(self.policy.where, cell)
        if self.lane is not None:
            _, said["concurrency"] = self.lane.share(self.shards, self.policy.concurrency, said.get("concurrency"))
        return msgspec.structs.replace(self.policy, **said)


Shares = Mapping[str | None, Share]
"""By lane; None: of the shards without one."""


class ShardWork(NamedTuple):
    """The units of a shard: how many have each timeout. And how many of them run at once."""

    timeouts: Mapping[float | None, int]
    concurrency: int


class LaneLoad(NamedTuple):
    """The shards of some lanes, and how many of them run at once, at least."""

    shards: Sequence[ShardWork]
    shards_at_once: int
    lanes: int = 1
    """Lanes that may serve these shards, each after the one before has halted."""


def bound_s(policy: RunPolicy, lanes: Iterable[LaneLoad], *, cleanup: bool = False) -> float | None:
    """The longest that a run can take, in seconds; None if some unit has no timeout.

    Shards without a lane are one more of the `lanes`. Every shard's worker may take its time to start, IDLE_DEATHS
    times over, and again on each lane that takes it over, and each time that half of it moves to another worker. Each
    unit may use every retry to its full timeout, be turned away MOST_THROTTLED times and once by every lane, wait
    the max_wait, and be met by the deaths of its worker: once as a suspect and SOLO_DEATHS times alone. After each try
    it may take the grace, and with `cleanup` also a call of that function. Shards run side by side as the lane lets
    them, the units of a shard as the concurrency does: see `most_s`. Lanes run side by side, unless there are too few
    workers. With --max-time no attempt begins after it.
    """
    tries = policy.retries + 1 + MOST_THROTTLED + 1 + SOLO_DEATHS
    after_s = policy.grace_s + 2 * KILL_STEP_S + 1.0 + (CLEANUP_S if cleanup else 0.0)
    start_s = IDLE_DEATHS * (policy.start_s + 2 * KILL_STEP_S)
    total_s = longest_s = 0.0
    for lane in lanes:
        shards: Counter[float] = Counter()
        for shard in lane.shards:
            units: Counter[float] = Counter()
            for timeout_s, count in shard.timeouts.items():
                if timeout_s is None:
                    return None
                longest_s = max(longest_s, timeout_s)
                units[(tries + lane.lanes - 1) * (timeout_s + after_s) + policy.max_wait_s] += count
            if any(units.values()):
                moves = units.total().bit_length() if policy.rebalance else 0
                shards[(lane.lanes + moves) * start_s + most_s(units, shard.concurrency)] += 1
        total_s += most_s(shards, lane.shards_at_once)
    if policy.max_time_s is not None:
        last_s = policy.start_s + longest_s + policy.max_wait_s + after_s
        total_s = min(total_s, policy.max_time_s + last_s)
    return total_s + policy.drain_s + policy.grace_s + SPARE_S


def most_s(times: Mapping[float, int], at_once: int) -> float:
    """The longest that jobs can take of which so many have each of these times, in whatever order they start.

    No place is empty while a job waits. So they end no later than if each took as long as the longest; and the last to
    end has begun when the others, spread evenly, were done (R. L. Graham, "Bounds on multiprocessing timing anomalies",
    SIAM J. Appl. Math. 17, 1969).
    """
    longest = max((time for time, count in times.items() if count), default=0.0)
    in_waves = -(-sum(times.values()) // at_once) * longest
    evenly = longest + (sum(time * count for time, count in times.items()) - longest) / at_once
    return min(in_waves, evenly)


def workers_wanted(run: OpenRun, left: Mapping[str, int], engine: Engine, *, moves: bool) -> int:
    """How many workers may run at once, as far as memory goes. `moves`: the engine can spread a shard over several."""
    policy = run.policy
    shards = len(run.plan.shards) if moves and policy.rebalance else len(left)
    most = sum(left.values()) if moves and policy.rebalance else len(left)
    if run.plan.spec.lanes:  # then every shard needs room on one of them
        most = min(most, sum(share.room for lane, share in shares_of(run, policy).items() if lane is not None))
    return min(policy.workers or engine.most_jobs(max(1, shards), largest_slice(run)), max(1, most))


def largest_slice(run: OpenRun) -> int:
    """The bytes of the largest slice."""
    return max((manifest.slice.bytes for manifest in run.manifests.values()), default=0)


def shares_of(run: OpenRun, policy: RunPolicy) -> Shares:
    """What each lane's shards get of a policy."""
    shards = Counter(manifest.planned_lane for manifest in run.manifests.values())
    lanes: list[Lane | None] = [None, *run.plan.spec.lanes]
    names = {lane.name if lane is not None else None: lane for lane in lanes}
    return {name: Share(lane, shards[name], policy) for name, lane in names.items()}


def run_bound_s(run: OpenRun, shares: Shares, left: Mapping[str, int], at_once: int) -> float | None:
    """The run's bound: by the lanes that may serve a shard, each as slow as the slowest of them.

    That one may be the last that has not halted.
    """
    work: dict[tuple[str | None, ...], list[ShardWork]] = {}
    for shard, count in left.items():
        manifest = run.manifests[shard]
        lanes: tuple[str | None, ...] = tuple(sorted(manifest.served_by)) or (None,)
        policies = [shares[lane].in_cell(manifest.cell) for lane in lanes]
        concurrency = min(policy.concurrency for policy in policies)
        timeouts = _longest_timeouts(run, policies[0], shard, count)
        work.setdefault(lanes, []).append(ShardWork(timeouts, concurrency))
    loads = (
        LaneLoad(shards, max(1, min(at_once, *(shares[lane].shards_at_once for lane in lanes))), len(lanes))
        for lanes, shards in work.items()
    )
    return bound_s(run.policy, loads, cleanup=run.file.cleanup is not None)


def _longest_timeouts(run: OpenRun, policy: RunPolicy, shard: str, units: int) -> Counter[float | None]:
    """The longest timeouts of so many units of a shard, and how many have each."""
    manifest, own = run.manifests[shard], run.timeouts(shard)
    left = manifest.slice.tasks - len(own)
    there: list[tuple[float | None, int]] = [(policy.timeout_s, left), *Counter(own.values()).items()]
    found: Counter[float | None] = Counter()
    for timeout_s, count in sorted(there, key=lambda each: math.inf if each[0] is None else each[0], reverse=True):
        taken = min(count * manifest.repeats, units)
        found[timeout_s] += taken
        units -= taken
    return +found
