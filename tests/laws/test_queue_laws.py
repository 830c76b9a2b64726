"""The queue of shards: who is next, on which lane, and what is left when lanes halt."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from prealloc.engines.handover import Units, units_of
from prealloc.engines.queue import Launch, ShardQueue, WaitingShard
from prealloc.worker.job import UnitOrder

LANES = ("a", "b", "c")
room = st.fixed_dictionaries({lane: st.integers(1, 3) for lane in LANES})
served_by = st.lists(st.sampled_from(LANES), unique=True, max_size=3).map(tuple)


def queue_of(lanes: list[tuple[str, ...]], rooms: dict[str, int]) -> tuple[ShardQueue, list[WaitingShard]]:
    shards = [WaitingShard(f"s{number}", each) for number, each in enumerate(lanes)]
    return ShardQueue(shards, rooms), shards


def drained(queue: ShardQueue) -> list[Launch]:
    """All that can be launched now."""
    found = []
    while (launch := queue.next()) is not None:
        found.append(launch)
    return found


@given(st.lists(served_by, max_size=12), room, st.data())
def test_every_shard_is_given_once_on_a_lane_that_serves_it_and_has_room(
    lanes: list[tuple[str, ...]], rooms: dict[str, int], data: st.DataObject
) -> None:
    """Whatever the order in which shards end. A shard waits only while all of its lanes are full."""
    queue, shards = queue_of(lanes, rooms)
    running: list[Launch] = []
    given_: list[str] = []
    while queue or running:
        for launch in drained(queue):
            running.append(launch)
            given_.append(launch.shard.id)
            assert (launch.lane in launch.shard.lanes) if launch.shard.lanes else launch.lane is None
        used = Counter(launch.lane for launch in running)
        assert all(used[lane] <= rooms[lane] for lane in LANES)
        for shard in shards:
            if shard.id not in given_:
                assert shard.lanes
                assert all(used[lane] == rooms[lane] for lane in shard.lanes)
        ended = running.pop(data.draw(st.integers(0, len(running) - 1)))
        queue.leave(ended.lane)
    assert sorted(given_) == sorted(shard.id for shard in shards)


@given(st.lists(served_by, min_size=1, max_size=12), room)
def test_none_overtakes_another_that_the_same_lanes_serve(lanes: list[tuple[str, ...]], rooms: dict[str, int]) -> None:
    """In the given order; and each gets the lane that the plan deals it to while that has room."""
    queue, shards = queue_of(lanes, rooms)
    place = {shard.id: number for number, shard in enumerate(shards)}
    before: dict[frozenset[str], int] = {}
    used: Counter[str | None] = Counter()
    for launch in drained(queue):
        group = frozenset(launch.shard.lanes)
        assert place[launch.shard.id] > before.get(group, -1)
        before[group] = place[launch.shard.id]
        if launch.shard.lanes and used[launch.shard.lanes[0]] < rooms[launch.shard.lanes[0]]:
            assert launch.lane == launch.shard.lanes[0]
        used[launch.lane] += 1


@given(st.lists(served_by, max_size=12), st.sets(st.sampled_from(LANES)))
def test_what_no_lane_can_serve_any_more_leaves_the_queue(lanes: list[tuple[str, ...]], halted: set[str]) -> None:
    """And nothing else; a lane that has halted is given nothing."""
    rooms = dict.fromkeys(LANES, 100)
    queue, shards = queue_of(lanes, rooms)
    gone = [shard for lane in sorted(halted) for shard in queue.drop(lane)]
    assert sorted(gone) == sorted(shard.id for shard in shards if shard.lanes and halted.issuperset(shard.lanes))
    launched = drained(queue)
    assert sorted([*gone, *(launch.shard.id for launch in launched)]) == sorted(shard.id for shard in shards)
    assert not any(launch.lane in halted for launch in launched)
    for shard in shards:
        assert queue.put(shard) == (shard.id not in gone)


@given(st.lists(st.sets(st.integers(0, 20), max_size=6), min_size=1, max_size=5))
def test_units_that_come_back_wait_together_in_their_order(parts: list[set[int]]) -> None:
    """They keep their place in the plan's order, too: before all shards that come later in it."""
    queue, (first, later) = queue_of([("a",), ("a",)], {"a": 1})
    assert queue.next() == Launch(first, "a")
    seen: set[int] = set()
    for part in parts:
        fresh, seen = part - seen, seen | part
        orders = tuple(UnitOrder(position, 0, 1) for position in sorted(fresh))
        assert queue.put(first._replace(units=units_of(orders, {(position, 0): 1 for position in fresh})))
    queue.leave("a")
    back = queue.next()
    assert back is not None
    assert back.shard.units is not None
    assert [order.position for order in back.shard.units.orders] == sorted(seen)
    assert back.shard.units.deaths == {(position, 0): 1 for position in seen}
    assert not queue.waits(first.id)
    queue.leave("a")
    assert queue.next() == Launch(later, "a")


def test_a_closed_queue_takes_nothing_back() -> None:
    """The run stops: what comes back stays open, for a resume."""
    queue, (first, later) = queue_of([(), ()], {})
    assert queue.next() == Launch(first, None)
    assert queue.close() == [later.id]
    assert not queue.put(first._replace(units=Units((UnitOrder(0, 0, 1),))))
    assert not queue
