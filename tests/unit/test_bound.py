"""The longest that a run can take, as it is promised at its start."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from prealloc.model.policy import LaneLoad, RunPolicy, bound_s

units = st.lists(st.integers(0, 50), max_size=12)


@given(units, st.integers(1, 12), st.integers(1, 8))
def test_less_side_by_side_takes_no_less(shard_units: list[int], at_once: int, concurrency: int) -> None:
    """More units, fewer shards at once and fewer tasks at once never make the bound smaller."""
    policy = RunPolicy.checked()
    bound = bound_s(policy, [LaneLoad(shard_units, at_once, concurrency)])
    assert bound is not None
    for other in (
        LaneLoad([*shard_units, 1], at_once, concurrency),
        LaneLoad(shard_units, max(1, at_once - 1), concurrency),
        LaneLoad(shard_units, at_once, max(1, concurrency - 1)),
    ):
        assert (bound_s(policy, [other]) or 0.0) >= bound


@given(units, units)
def test_a_lane_of_its_own_has_its_own_concurrency(one: list[int], two: list[int]) -> None:
    """Two lanes take no longer than both one after the other, and each by what runs at once on it."""
    policy = RunPolicy.checked(concurrency=8)
    spare = bound_s(policy, []) or 0.0
    both = bound_s(policy, [LaneLoad(one, 2, 1), LaneLoad(two, 3, 8)])
    apart = [bound_s(policy, [LaneLoad(one, 2, 1)]), bound_s(policy, [LaneLoad(two, 3, 8)])]
    assert both is not None
    assert abs(both - sum(each or 0.0 for each in apart) + spare) < 1e-6 * both


def test_no_timeout_no_bound() -> None:
    """Without --timeout nobody can tell."""
    assert bound_s(RunPolicy.checked(timeout_s=None), [LaneLoad([1], 1, 1)]) is None
