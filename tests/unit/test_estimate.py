"""The estimate, worked out by hand."""

from __future__ import annotations

import pytest

from prealloc.errors import OptionsError
from prealloc.model.lane import Lane
from prealloc.planning.estimate import WORK, WORKERS, Effort, Estimate, ShardLoad, estimate
from prealloc.planning.forecast import forecast
from prealloc.planning.history import History, PastUnit


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


def past(model: str, kind: str, task: str, seconds: float, tokens: int | None = None) -> PastUnit:
    return PastUnit(model, kind, task, seconds, tokens, None if tokens is None else tokens / 100)


def test_past_times_by_what_is_nearest() -> None:
    """Means over tasks: by model and type, else model, else type, else all. Sums of medians would be too low."""
    units = [past("a", "t", "1", 1.0), past("a", "t", "2", 9.0), past("a", "u", "3", 4.0), past("b", "u", "3", 30.0)]
    history = History(units)
    assert history.seconds("a", "t") == 5.0
    assert history.seconds("a", "new") == pytest.approx(14 / 3)
    assert history.seconds("new", "u") == 17.0
    assert history.seconds("new", "new") == pytest.approx(27 / 3)  # tasks 1, 9 and 17
    assert History([]).seconds("a", "t") is None
    lane = Lane(name="l")
    mixed = [ShardLoad("l", "a", {"t": 2, "u": 1})]
    found = estimate(mixed, [lane], Effort(seconds_per_task=99), history=history)
    assert found.seconds == 2 * 5.0 + 4.0
    assert estimate(mixed, [lane], Effort(), history=history.later(1.0)).seconds == pytest.approx(2 * 9.0 + 4.0)


def test_a_forecast_of_tokens_and_money() -> None:
    """By hand: 2 tasks with 100 and 300 tokens; 40 units of 10 tasks take 8,000, give or take z 40 s sqrt(1/2 + 1/10).

    What another model used says nothing of one without a history, which is named.
    """
    history = History([past("a", "t", "1", 1.0, 100), past("a", "t", "2", 1.0, 300)])
    loads = [
        ShardLoad("k", "a", {"t": 20}, {"model": "a", "prompt": "x"}),
        ShardLoad("l", "a", {"t": 20}, {"model": "a", "prompt": "y"}),
        ShardLoad("l", "b", {"t": 20}, {"model": "b"}),
    ]
    found = forecast(loads, history, repeats=2)
    half = 1.959963984540054 * 40 * 141.4213562373095 * (1 / 2 + 1 / 10) ** 0.5
    assert found.tokens is not None
    assert (found.tokens.mean, found.tokens.high) == (8000.0, pytest.approx(8000 + half))
    assert found.tokens.low == 0.0
    assert found.dollars is not None
    assert found.dollars.mean == pytest.approx(80.0)
    assert found.no_history == ("b",)
    assert [(each.model, each.known, each.tokens is None) for each in found.models] == [
        ("a", True, False),
        ("b", False, True),
    ]
    assert [(each.lane, each.units, each.tokens and each.tokens.mean) for each in found.lanes] == [
        ("k", 20, 4000.0),
        ("l", 40, 4000.0),
    ]
    limited = Lane(name="l", tokens_per_minute=1000)
    (lane,) = estimate(loads[1:2], [limited], Effort(tokens_per_task=9), history=history).lanes
    assert (lane.seconds, lane.limited_by) == (240.0, "tokens_per_minute")


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
