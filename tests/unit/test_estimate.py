"""The estimate, worked out by hand."""

from __future__ import annotations

import pytest

from prealloc.errors import OptionsError
from prealloc.model.lane import Lane
from prealloc.planning.estimate import WORK, WORKERS, Durations, Effort, Estimate, ShardLoad, estimate


def loads(lane: str | None, *units: int, model: str = "m") -> list[ShardLoad]:
    return [ShardLoad(lane, model, {"t": count}) for count in units]


def only(lane: Lane, *units: int, effort: Effort, concurrency: int = 1) -> tuple[float | None, str | None]:
    (found,) = estimate(loads(lane.name, *units), [lane], effort, concurrency=concurrency).lanes
    return found.seconds, found.limited_by


@pytest.mark.parametrize(
    ("limit", "effort", "seconds"),
    [
        ({"requests_per_minute": 60}, Effort(requests_per_task=2), 200.0),
        ({"queries_per_second": 10}, Effort(requests_per_task=2), 20.0),
        ({"tokens_per_minute": 6000}, Effort(tokens_per_task=300), 300.0),
    ],
)
def test_a_rate_bounds_a_lane(limit: dict[str, int], effort: Effort, seconds: float) -> None:
    """100 units at a rate take what their requests or tokens take, however many run at once."""
    lane = Lane(name="l", shards_at_once=9, **limit)  # type: ignore[arg-type]
    assert only(lane, 50, 50, effort=effort) == (seconds, next(iter(limit)))


def test_tasks_at_once_bound_a_lane() -> None:
    """Shards of one lane wait for each other: 3 shards of 4, 2 at once, 10 s each, 1 task at once: two waves."""
    lane = Lane(name="l", shards_at_once=2)
    effort = Effort(seconds_per_task=10)
    assert only(lane, 4, 4, 4, effort=effort) == (80.0, WORK)
    assert only(lane, 4, 4, 4, effort=effort, concurrency=4) == (20.0, WORK)
    assert only(Lane(name="l", shards_at_once=2, concurrency=8), 4, 4, 4, effort=effort) == (20.0, WORK)
    assert only(Lane(name="l"), 4, 4, 4, effort=effort) == (120.0, WORK)


def test_the_slowest_limit_counts() -> None:
    """A fast rate does not help a slow worker, nor a quick task a slow rate."""
    lane = Lane(name="l", queries_per_second=10)
    assert only(lane, 100, effort=Effort(seconds_per_task=1)) == (100.0, WORK)
    assert only(lane, 100, effort=Effort(seconds_per_task=0.05)) == (10.0, "queries_per_second")


def two() -> tuple[list[ShardLoad], list[Lane]]:
    return loads("slow", 10) + loads("quick", 10), [Lane(name="quick"), Lane(name="slow", requests_per_minute=6)]


def test_the_bottleneck_is_the_lane_that_ends_last() -> None:
    """Lanes run side by side: the whole takes what the slowest takes. They come in the order they are given."""
    found = estimate(*two(), Effort(seconds_per_task=5))
    assert [lane.lane for lane in found.lanes] == ["quick", "slow"]
    assert (found.seconds, found.bottleneck, found.limited_by) == (100.0, "slow", "requests_per_minute")
    assert found.complete


def test_too_few_workers_are_a_bottleneck() -> None:
    """With one worker, shards of different lanes wait for each other."""
    found = estimate(*two(), Effort(seconds_per_task=8), workers=1)
    assert (found.seconds, found.bottleneck) == (160.0, WORKERS)
    assert estimate(*two(), Effort(seconds_per_task=8), workers=2).bottleneck == "slow"


def test_what_is_not_known_is_not_guessed() -> None:
    """Without the time of a task, limits give a lower bound, and where there is none, nothing."""
    found = estimate(*two(), Effort())
    assert [lane.seconds for lane in found.lanes] == [None, 100.0]
    assert (found.seconds, found.complete) == (100.0, False)
    nothing = estimate(loads(None, 3), [], Effort())
    assert (nothing.seconds, nothing.bottleneck, nothing.complete) == (None, None, False)


def test_past_durations_by_what_is_nearest() -> None:
    """Model and type, else model, else type, else all; the median is a time that was really measured."""
    past = Durations([("a", "t", 1.0), ("a", "t", 9.0), ("a", "t", 2.0), ("a", "u", 4.0), ("b", "u", 30.0)])
    assert past.seconds("a", "t") == 2.0
    assert past.seconds("a", "new") == 2.0
    assert past.seconds("new", "u") == 4.0
    assert past.seconds("new", "new") == 4.0
    assert Durations([]).seconds("a", "t") is None
    lane = Lane(name="l")
    mixed = [ShardLoad("l", "a", {"t": 2, "u": 1})]
    found = estimate(mixed, [lane], Effort(seconds_per_task=99), durations=past)
    assert found.seconds == 2 * 2.0 + 4.0


def test_cells_with_another_concurrency() -> None:
    """8 units of 10 s: 2 at once take 40 s, 4 at once 20 s; on a lane of 3 tasks they are 3."""
    shards = [ShardLoad(None, "a", {"t": 8}, {"model": "a"}), ShardLoad(None, "b", {"t": 8}, {"model": "b"})]
    where = [{"model": "b", "concurrency": 4}]

    def seconds(shards: list[ShardLoad], lanes: list[Lane]) -> float | None:
        return estimate(shards, lanes, Effort(seconds_per_task=10), concurrency=2, where=where).seconds

    assert [seconds([each], []) for each in shards] == [40.0, 20.0]
    on_lane = [each._replace(lane="l") for each in shards]
    assert [seconds([each], [Lane(name="l", concurrency=3)]) for each in on_lane] == [pytest.approx(80 / 3)] * 2
    assert seconds(on_lane[1:], [Lane(name="l", concurrency=8)]) == 20.0


def test_no_shards_take_no_time() -> None:
    """An empty plan has no bottleneck."""
    assert estimate([], [Lane(name="l")], Effort()) == Estimate(
        lanes=(), seconds=None, bottleneck=None, limited_by=None, complete=True
    )


def test_efforts_that_are_none() -> None:
    """All of them are told."""
    with pytest.raises(OptionsError) as caught:
        Effort.checked(requests_per_task=0, seconds_per_task="long", tokens_per_task=float("nan"))
    assert len(caught.value.mistakes) == 3
