"""Laws of lanes: a limit holds in every window, wherever it begins, and nobody waits longer than it takes."""

from __future__ import annotations

from bisect import bisect_left
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from examples import examples
from prealloc.lanes.adaptive import CUT, START, Adaptive
from prealloc.lanes.breaker import CircuitBreaker
from prealloc.lanes.limiter import AHEAD_S, RateLimiter
from prealloc.lanes.pacing import GUARD, Pacer, Rate, TokenLog
from prealloc.model.events import LaneChanged, LaneHalted, LanePaused
from prealloc.model.lane import Lane
from prealloc.model.outcome import Answer, Status
from prealloc.model.policy import LEAST_PAUSE_S, NEVER_S, RunPolicy
from prealloc.model.retry import BACKOFF_MOST_S
from prealloc.testing import FakeClock

pauses = st.lists(st.floats(0, 0.5), min_size=1, max_size=200)


def fullest(moments: list[float], window_s: float) -> int:
    """The most of these moments (sorted) in any window [t, t + window)."""
    return max((bisect_left(moments, at + window_s) - place for place, at in enumerate(moments)), default=0)


@given(st.integers(1, 50), st.none() | st.integers(1, 50), st.integers(0, 50), st.integers(1, 50))
def test_a_lanes_shards_stay_within_its_concurrency(most: int, tasks: int | None, shards: int, each: int) -> None:
    """Together they take no more tasks than it bears, each one at least, and less than one for each is left."""
    at_once, slots = Lane(name="k", shards_at_once=most, concurrency=tasks).share(shards, each)
    assert 1 <= at_once <= most
    assert slots >= 1
    if tasks is None:
        assert (at_once, slots) == (max(1, min(most, shards)), each)
    else:
        assert at_once * slots <= tasks < at_once * (slots + 1)


@given(st.integers(1, 60), st.sampled_from([1.0, 60.0]), pauses, st.floats(0, 0.9))
def test_a_request_limit_holds_in_every_window(limit: int, window_s: float, asked: list[float], late: float) -> None:
    """At most L in any window of W seconds, also when each arrives up to 90% of the guard later than it was sent."""
    pacer = Pacer([Rate(limit, window_s)], None)
    now, moments = 1000.0, []
    for place, pause_s in enumerate(asked):
        now += pause_s
        at = pacer.earliest(now, 0)
        assert at >= now
        pacer.take(at, 0)
        moments.append(at + (late * GUARD * window_s if place % 2 else 0.0))
    assert fullest(sorted(moments), window_s) <= limit


@given(st.integers(1, 60), st.integers(2, 200))
def test_who_always_asks_uses_95_percent(limit: int, asked: int) -> None:
    """While somebody is always waiting, requests go at more than 95% of the limit."""
    pacer = Pacer([Rate(limit, 1.0)], None)
    moments = []
    for _ in range(asked):
        at = pacer.earliest(1000.0, 0)
        pacer.take(at, 0)
        moments.append(at)
    assert (asked - 1) / (moments[-1] - moments[0]) > 0.95 * limit


@given(st.integers(1, 1000), st.lists(st.tuples(st.floats(0, 5), st.integers(0, 1500), st.integers(0, 1000))))
def test_a_token_limit_holds_in_every_window(limit: int, asked: list[tuple[float, int, int]]) -> None:
    """At most L tokens in any window of W seconds, by what was really used where that is not more than was asked."""
    log = TokenLog(Rate(limit, 10.0))
    at, taken = 0.0, []
    for pause_s, tokens, used in asked:
        before = at
        at = log.earliest(at + pause_s, tokens)
        assert at >= before + pause_s
        entry = log.take(at, tokens)
        log.settle(entry, min(used, entry.tokens))
        taken.append((at, entry.tokens))
    for start, _ in taken:
        assert sum(tokens for moment, tokens in taken if start <= moment < start + 10.0) <= limit


def test_tokens_that_were_not_used_are_for_others() -> None:
    """`turn.used(n)` gives back at once what was estimated too high, and takes what was estimated too low."""
    log = TokenLog(Rate(100, 10.0))
    entry = log.take(0.0, 100)
    assert log.earliest(0.0, 50) == 10.0 * (1 + GUARD)
    log.settle(entry, 50)
    assert log.earliest(0.0, 50) == 0.0
    log.settle(entry, 80)
    assert log.earliest(0.0, 50) > 10.0


def test_a_request_larger_than_the_limit_goes_alone() -> None:
    """It cannot fit any window, so it waits for an empty one rather than for ever."""
    log = TokenLog(Rate(100, 10.0))
    log.take(0.0, 1)
    at = log.earliest(0.0, 1000)
    assert at == 10.0 * (1 + GUARD)
    log.take(at, 1000)
    assert log.earliest(at, 1) >= at + 10.0


@given(st.floats(1, 100), st.floats(1, 100))
def test_a_changed_limit_holds_from_then_on(first: float, second: float) -> None:
    """The next slot is as far from the latest one as the new limit says; a pause stays."""
    pacer = Pacer([Rate(first, 1.0)], None)
    pacer.take(pacer.earliest(5.0, 0), 0)
    pacer.change([Rate(second, 1.0)])
    assert pacer.earliest(5.0, 0) == 5.0 + Rate(second, 1.0).spacing_s
    pacer.pause(50.0)
    pacer.change([Rate(first, 1.0)])
    assert pacer.earliest(5.0, 0) == 50.0


def lane(**limits: Any) -> Lane:
    return Lane.checked(name="k", **limits)


def limiter(limits: dict[str, Any], clock: FakeClock, **policy: Any) -> RateLimiter[str]:
    return RateLimiter([lane(**limits)], RunPolicy.checked(**policy), now=clock)


@examples(100)
@given(
    st.integers(1, 40),
    st.lists(st.tuples(st.sampled_from("abcd"), st.integers(1, 5), st.floats(0, 0.3)), min_size=1, max_size=60),
)
@example(26, [("a", 6, 0.0)])  # 0.2 - 0.15 is more than 0.05
def test_the_desk_serves_everybody_in_turn(limit: int, asked: list[tuple[str, int, float]]) -> None:
    """Every ask is granted once, in the holder's order, never more than AHEAD_S early, within the lane's limit."""
    clock = FakeClock(0.0)
    lanes = limiter({"queries_per_second": limit}, clock)
    grants, turns = [], dict.fromkeys("abcd", 0)
    for holder, count, pause_s in asked:
        for _ in range(count):
            turns[holder] += 1
            lanes.ask("k", holder, turns[holder], 0)
        grants += lanes.grants()
        clock.advance(pause_s)
    while lanes.has_waiting:
        new = lanes.grants()
        assert all(clock() <= grant.at <= clock() + AHEAD_S for grant in new)
        grants += new
        clock.advance(AHEAD_S / 2)
    assert fullest([grant.at for grant in grants], 1.0) <= limit
    for holder, count in turns.items():
        assert [grant.turn for grant in grants if grant.holder == holder] == list(range(1, count + 1))


def test_shards_share_a_lane_evenly() -> None:
    """One that asks for much keeps none that asks for little waiting; who leaves, leaves its part to the others."""
    clock = FakeClock(0.0)
    lanes = limiter({"queries_per_second": 100}, clock)
    for turn in range(100):
        lanes.ask("k", "greedy", turn, 0)
    for turn in range(3):
        lanes.ask("k", "modest", turn, 0)
    served: list[str] = []
    while len(served) < 6:
        served += [grant.holder for grant in lanes.grants()]
        clock.advance(0.01)
    assert served[:6].count("modest") == 3
    lanes.leave("k", "greedy")
    lanes.ask("k", "other", 1, 0)
    clock.advance(1)
    assert [grant.holder for grant in lanes.grants()] == ["other"]


def test_what_a_dead_holder_was_given_stays_spent() -> None:
    """Its budget returns after a full window, not at once: its requests may have gone."""
    clock = FakeClock(0.0)
    lanes = limiter({"tokens_per_minute": 100}, clock)
    lanes.ask("k", "dead", 1, 100)
    assert len(lanes.grants()) == 1
    lanes.leave("k", "dead")
    lanes.ask("k", "heir", 1, 100)
    clock.advance(59.0)
    assert lanes.grants() == []
    clock.advance(60.0 * GUARD + 1.1)
    assert len(lanes.grants()) == 1


def test_a_429_slows_all_siblings() -> None:
    """Nobody of the lane sends before the server's pause is over; a 503 with Retry-After counts too, others do not."""
    clock = FakeClock(0.0)
    lanes = limiter({}, clock)
    lanes.ask("k", "a", 1, 0)
    assert len(lanes.grants()) == 1
    lanes.done("k", "a", 1, 0, Answer(http_status=429, retry_after_s=3.0))
    lanes.ask("k", "b", 1, 0)
    clock.advance(2.9)
    assert lanes.grants() == []
    clock.advance(0.2)
    assert len(lanes.grants()) == 1
    lanes.done("k", "b", 1, 0, Answer(http_status=500, retry_after_s=None))
    lanes.ask("k", "b", 2, 0)
    assert len(lanes.grants()) == 1
    lanes.done("k", "b", 2, 0, Answer(http_status=503, retry_after_s=2.0))
    lanes.ask("k", "b", 3, 0)
    assert lanes.grants() == []


@given(st.lists(st.none() | st.floats(0, LEAST_PAUSE_S), min_size=1, max_size=12))
def test_pauses_without_a_time_become_longer(asked: list[float | None]) -> None:
    """A second at least, then twice as long each time, until a request comes through. Each is news."""
    clock = FakeClock(0.0)
    lanes = limiter({}, clock)
    waits = []
    for turn, retry_after_s in enumerate([*asked, None]):
        lanes.done("k", "a", turn, 0, Answer(http_status=429, retry_after_s=retry_after_s))
        (news,) = lanes.news()
        assert isinstance(news, LanePaused)
        waits.append(news.wait_s)
        lanes.ask("k", "a", turn, 0)
        clock.advance(news.wait_s - 2 * AHEAD_S)
        assert lanes.grants() == []
        clock.advance(2 * AHEAD_S)
        assert len(lanes.grants()) == 1
    assert waits == [min(LEAST_PAUSE_S * 2**n, BACKOFF_MOST_S) for n in range(len(waits))]
    lanes.done("k", "a", 99, 0, Answer(came_through=True))
    lanes.done("k", "a", 100, 0, Answer(http_status=429))
    (news,) = lanes.news()
    assert isinstance(news, LanePaused)
    assert news.wait_s == LEAST_PAUSE_S


def test_answers_of_one_overload_are_one_pause() -> None:
    """Many that were under way together neither lengthen it nor are each news; a longer one is."""
    clock = FakeClock(0.0)
    lanes = limiter({}, clock)
    for turn in range(20):
        lanes.done("k", "a", turn, 0, Answer(http_status=429))
        clock.advance(0.01)
    lanes.done("k", "a", 20, 0, Answer(http_status=503, retry_after_s=41.0))
    told = [(news.wait_s, news.http_status) for news in lanes.news() if isinstance(news, LanePaused)]
    assert told == [(1.0, 429), (41.0, 503)]
    clock.advance(40.5)
    lanes.done("k", "a", 21, 0, Answer(came_through=True))  # it was under way
    lanes.done("k", "a", 22, 0, Answer(http_status=429))
    lanes.ask("k", "a", 23, 0)
    clock.advance(0.9)
    assert lanes.grants() == []


@pytest.mark.parametrize(
    ("asked_s", "hint"), [(3600.0, None), (3601.0, "wait that long"), (NEVER_S, "fix its key")], ids=str
)
def test_a_pause_that_no_unit_may_wait_for_ends_the_lane(asked_s: float, hint: str | None) -> None:
    """At once: who waits for a turn, or asks for one, gets none; it is told why, and what to do."""
    lanes = limiter({}, FakeClock(0.0))
    lanes.ask("k", "b", 1, 0)
    lanes.done("k", "a", 1, 0, Answer(http_status=429, retry_after_s=asked_s))
    lanes.ask("k", "b", 2, 0)
    (news,) = lanes.news()
    if hint is None:
        assert isinstance(news, LanePaused)
        assert lanes.halted("k") is None
        assert lanes.has_waiting
    else:
        assert isinstance(news, LaneHalted)
        assert (lanes.halted("k"), news.hint) == (news.reason, hint)
        assert not lanes.has_waiting


def saturated(adaptive: Adaptive, now: float) -> float:
    """One round in which all of the limit is used; gives the time of its end."""
    for _ in range(int(adaptive.limit)):
        adaptive.went(now)
    now += adaptive.window_s
    adaptive.pass_time(now)
    return now


def test_adaptive_up_and_down() -> None:
    """From 20, doubled until the first 429, cut once per episode, then grown by 5% in clean rounds that use it."""
    adaptive = Adaptive(window_s=1.0, most=None, now=0.0)
    assert adaptive.limit == START
    now = saturated(adaptive, 0.0)
    now = saturated(adaptive, now)
    assert adaptive.limit == START * 4
    assert adaptive.refused(now, paused_until=now + 2) is not None
    assert adaptive.refused(now, paused_until=now + 2) is None  # of the same episode
    assert adaptive.refused(now + 2.5, paused_until=now + 2) is None
    assert adaptive.limit == START * 4 * CUT
    now = saturated(adaptive, now + 4)
    assert adaptive.limit == pytest.approx(START * 4 * CUT * 1.05)
    adaptive.went(now)
    adaptive.pass_time(now + 1)  # a limit that is not used has proved nothing
    assert adaptive.limit == pytest.approx(START * 4 * CUT * 1.05)
    assert adaptive.refused(now + 2, paused_until=now + 2) is not None


def test_adaptive_never_passes_what_is_known() -> None:
    """A lane's own limit stays a limit."""
    adaptive = Adaptive(window_s=1.0, most=50.0, now=0.0)
    now = 0.0
    for _ in range(5):
        now = saturated(adaptive, now)
    assert adaptive.limit == 50.0


def test_the_desk_tells_of_changes() -> None:
    """In adaptive mode a 429 cuts the lane's limit and is news; 5xx never cuts; in fixed mode neither does."""
    clock = FakeClock(0.0)
    lanes = limiter({"queries_per_second": 50}, clock, rate_mode="adaptive")
    lanes.done("k", "a", 1, 0, Answer(http_status=500, retry_after_s=1.0))
    assert not any(isinstance(news, LaneChanged) for news in lanes.news())
    lanes.done("k", "a", 2, 0, Answer(http_status=429, retry_after_s=1.0))
    (news,) = lanes.news()
    assert isinstance(news, LaneChanged)
    assert (news.lane, news.limit, news.window_s) == ("k", START * CUT, 1.0)
    fixed = limiter({"queries_per_second": 50}, clock)
    fixed.done("k", "a", 2, 0, Answer(http_status=429, retry_after_s=1.0))
    assert not any(isinstance(news, LaneChanged) for news in fixed.news())


@given(st.lists(st.sampled_from([Status.OK, Status.INFRA, Status.FAILED]), max_size=60), st.integers(1, 5))
def test_a_lane_halts_after_so_many_infra_in_a_row(outcomes: list[Status], most: int) -> None:
    """At the first run of that length, for good, and not because of its key; never with None."""
    halt, never, in_a_row, expected = CircuitBreaker(most), CircuitBreaker(None), 0, False
    for status in outcomes:
        in_a_row = in_a_row + 1 if status is Status.INFRA else 0
        expected = expected or in_a_row >= most
        halt.ended(status, None)
        never.ended(status, None)
        assert (halt.reason is not None) == expected
    assert (never.reason, halt.key_refused) == (None, False)


@pytest.mark.parametrize("status", [401, 402, 403])
def test_one_refused_key_halts_a_lane(status: int) -> None:
    """A key that is refused once will be refused again. The limiter says so once, with the variable to fix."""
    for told in ("answer", "outcome"):
        lanes = limiter({"key_env": "A_KEY"}, FakeClock(0.0))
        lanes.ended("k", Status.OK, None)
        assert not lanes.key_refused("k")
        for turn in range(2):
            if told == "answer":
                lanes.done("k", "a", turn, 0, Answer(http_status=status, key_refused=True))
            else:
                lanes.ended("k", Status.INFRA, status)
        (news,) = lanes.news()
        assert isinstance(news, LaneHalted)
        assert (str(status) in news.reason, news.hint) == (True, "fix A_KEY")
        assert lanes.key_refused("k")


@given(st.lists(st.sampled_from(["ok", 403, 500]), max_size=40), st.booleans())
def test_a_lane_halts_after_three_403_in_a_row(told: list[str | int], in_turns: bool) -> None:
    """With nothing that came through in between. Where requests have turns, an outcome's 403 is that of some page."""
    halt, in_a_row, expected = CircuitBreaker(None), 0, False
    for each in told:
        status = each if isinstance(each, int) else None
        in_a_row = in_a_row + 1 if each == 403 else 0 if each == "ok" else in_a_row
        expected = expected or in_a_row >= 3
        if in_turns:
            halt.answered(Answer(came_through=each == "ok", http_status=status))
            halt.ended(Status.FAILED, 403)
        else:
            halt.ended(Status.OK if each == "ok" else Status.FAILED, status)
        assert halt.key_refused == expected


def test_spacing_is_never_less_than_it_must_be() -> None:
    """Of several limits the strictest spacing holds."""
    pacer = Pacer([Rate(100, 1.0), Rate(60, 60.0)], None)
    moments = []
    for _ in range(5):
        at = pacer.earliest(0.0, 0)
        pacer.take(at, 0)
        moments.append(at)
    assert all(two - one >= 1.0 * (1 + GUARD) - 1e-9 for one, two in pairwise(moments))
