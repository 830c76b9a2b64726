"""The longest that a run can take, as it is promised at its start."""

from __future__ import annotations

from collections import Counter
from heapq import heapreplace

from hypothesis import given
from hypothesis import strategies as st

from prealloc.engines.bound import LaneLoad, ShardWork, bound_s, most_s
from prealloc.model.policy import RunPolicy

units = st.lists(st.integers(0, 50), max_size=12)
MINUTE = 60.0


def load(shard_units: list[int], at_once: int, concurrency: int, timeout_s: float | None = MINUTE) -> LaneLoad:
    return LaneLoad([ShardWork({timeout_s: count}, concurrency) for count in shard_units], at_once)


@given(units, st.integers(1, 12), st.integers(1, 8))
def test_less_side_by_side_takes_no_less(shard_units: list[int], at_once: int, concurrency: int) -> None:
    """More units, fewer shards or tasks at once, and a longer timeout never make the bound smaller."""
    policy = RunPolicy.checked()
    bound = bound_s(policy, [load(shard_units, at_once, concurrency)])
    assert bound is not None
    for other in (
        load([*shard_units, 1], at_once, concurrency),
        load(shard_units, max(1, at_once - 1), concurrency),
        load(shard_units, at_once, max(1, concurrency - 1)),
        load(shard_units, at_once, concurrency, 2 * MINUTE),
    ):
        assert (bound_s(policy, [other]) or 0.0) >= bound


@given(units, units)
def test_a_lane_of_its_own_has_its_own_concurrency(one: list[int], two: list[int]) -> None:
    """Two lanes take no longer than both one after the other, and each by what runs at once on it."""
    policy = RunPolicy.checked(concurrency=8)
    spare = bound_s(policy, []) or 0.0
    both = bound_s(policy, [load(one, 2, 1), load(two, 3, 8)])
    apart = [bound_s(policy, [load(one, 2, 1)]), bound_s(policy, [load(two, 3, 8)])]
    assert both is not None
    assert abs(both - sum(each or 0.0 for each in apart) + spare) < 1e-6 * both


def test_no_timeout_no_bound() -> None:
    """If one unit has no timeout, nobody can tell."""
    assert bound_s(RunPolicy.checked(), [load([1], 1, 1, None)]) is None
    assert bound_s(RunPolicy.checked(), [LaneLoad([ShardWork({MINUTE: 1, None: 1}, 1)], 1)]) is None


@given(st.lists(st.integers(1, 9), min_size=1, max_size=12), st.integers(1, 5))
def test_jobs_end_by_their_bound_in_whatever_order_they_start(times: list[int], at_once: int) -> None:
    """Each job starts as soon as there is a place; alike, they end exactly by the bound."""
    bound = most_s(Counter(map(float, times)), at_once)
    ends = [0] * at_once
    for time in times:
        heapreplace(ends, ends[0] + time)
    assert max(ends) <= bound
    alike = most_s({2.0: len(times)}, at_once)
    assert alike == 2.0 * -(-len(times) // at_once)
