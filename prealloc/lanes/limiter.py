"""The limiter of all lanes: which holder asks for a turn, which is next, and when.

There is one limiter, in the master, so a lane's limit holds across all processes, and what one shard does not use the
others may. Turns are given a little ahead of their time, to the moment: the worker itself waits for it, so that a
master that is busy for some milliseconds loses none. A turn that was given to a worker that died is spent.
"""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Callable, Hashable, Iterator, Sequence
from contextlib import contextmanager
from typing import Generic, NamedTuple, Protocol, TypeVar

from prealloc.lanes.adaptive import Adaptive
from prealloc.lanes.breaker import CircuitBreaker
from prealloc.lanes.pacing import Entry, Pacer, Rate
from prealloc.lanes.sharing import OneRun
from prealloc.model.events import Event, LaneChanged, LaneHalted, LanePaused, Note
from prealloc.model.lane import Lane, LaneFigures
from prealloc.model.outcome import TOO_MANY_REQUESTS, Answer, Status
from prealloc.model.policy import LEAST_PAUSE_S, RunPolicy
from prealloc.model.retry import BACKOFF_MOST_S
from prealloc.model.words import listed

AHEAD_S = 0.05
"""Longer than the master is ever busy; short enough that a changed limit takes effect soon."""

_NEWS_S = 0.5
"""A pause that grows by less is not reported."""

H = TypeVar("H", bound=Hashable)


class Grant(NamedTuple, Generic[H]):
    """`holder` may send the request of its turn `turn` at `at`, in seconds of the limiter's clock.

    Or up to `late_s` later. Who comes later than that asks again: requests that bunch up would meet in one window.
    """

    holder: H
    turn: int
    at: float
    late_s: float


class Turns(Protocol[H]):
    """What an engine needs of the limiter, wherever that is: see RateLimiter."""

    def ask(self, lane: str, holder: H, turn: int, tokens: int) -> None: ...
    def grants(self) -> list[Grant[H]]: ...
    def done(self, lane: str, holder: H, turn: int, tokens: int, answer: Answer) -> bool | None: ...
    def leave(self, lane: str, holder: H) -> None: ...
    def halted(self, lane: str) -> str | None: ...
    def key_refused(self, lane: str) -> bool: ...

    def window_s(self, lane: str) -> float | None: ...

    ahead_s: float
    """How long before its moment a turn is given: longer where it has a long way."""

    @property
    def has_waiting(self) -> bool: ...
    def close(self) -> None: ...


class RateLimiter(Generic[H]):
    """Holders (worker processes) ask, and get turns. `now` is time.monotonic, or a test's clock.

    `share` says how a lane is shared with other runs: see sharing.py.
    """

    def __init__(
        self,
        lanes: Sequence[Lane],
        policy: RunPolicy,
        *,
        now: Callable[[], float] = time.monotonic,
        share: Callable[[Lane], OneRun] = lambda lane: OneRun(),
    ) -> None:
        self._now = now
        self.ahead_s = AHEAD_S
        self._news: list[Event] = []
        """It is the counters' too."""
        self._counters = {lane.name: _Counter[H](lane, policy, now(), share(lane), self._news) for lane in lanes}
        self._noted: set[str] = set()
        self._shared: set[str] = set()

    def ask(self, lane: str, holder: H, turn: int, tokens: int) -> None:
        """Puts a request in the lane's queue."""
        self._counters[lane].ask(holder, turn, tokens)

    def grants(self) -> list[Grant[H]]:
        """The turns that come next, each once."""
        now = self._now()
        granted = [grant for counter in self._counters.values() for grant in counter.grants(now, self.ahead_s)]
        self._note_shared()
        return granted

    def done(self, lane: str, holder: H, turn: int, tokens: int, answer: Answer) -> bool:
        """A request has been answered, or given up: what it used, and what the server said.

        Says whether its turn had been given, and was not done yet.
        """
        counter = self._counters[lane]
        was_given = counter.settle(holder, turn, tokens)
        counter.tokens += tokens if answer.came_through else 0
        counter.answers_429 += answer.http_status == TOO_MANY_REQUESTS
        if answer.http_status == TOO_MANY_REQUESTS or answer.retry_after_s is not None:
            counter.refused(self._now(), answer)
        elif answer.came_through:
            counter.refusals = 0
        with counter.halting() as halt:
            halt.answered(answer)
        return was_given

    def leave(self, lane: str, holder: H) -> None:
        """The holder is gone: it asks no more. What it was given counts until its window is over."""
        self._counters[lane].leave(holder)

    def ended(self, lane: str, status: Status, http_status: int | None) -> None:
        """Takes the outcome of a unit of the lane in."""
        with self._counters[lane].halting() as halt:
            halt.ended(status, http_status)

    def halted(self, lane: str) -> str | None:
        """Why the lane starts no further task and gives no further turn; None if it does."""
        return self._counters[lane].breaker.reason

    def change(self, lane: str, per_s: float) -> None:
        """From now on a lane may send this many requests per second. Its other limits stay."""
        self._counters[lane].change(per_s, self._now())

    def per_s(self, lane: str) -> float | None:
        """Requests per second that a lane may send now; None without a limit."""
        return self._counters[lane].per_s

    def key_refused(self, lane: str) -> bool:
        """Whether the lane starts no further task because of its key."""
        return self._counters[lane].breaker.key_refused

    def figures(self) -> dict[str, LaneFigures]:
        """What has happened in each lane since the start, and who holds turns in it or waits for one."""
        return {name: counter.figures() for name, counter in self._counters.items()}

    def window_s(self, lane: str) -> float | None:
        """The shortest time that a limit of the lane is for; None without a limit."""
        return self._counters[lane].window_s

    @property
    def has_waiting(self) -> bool:
        """Somebody is in a queue: `grants` must be asked again soon."""
        return any(counter.waiting for counter in self._counters.values())

    def news(self) -> list[Event]:
        """The limits that have changed and the lanes that halt since the last call."""
        news = [*self._news]
        self._news.clear()
        return news

    def _note_shared(self) -> None:
        """Says, once, which lanes other runs use too, and what keeps them from being shared."""
        texts = [text for counter in self._counters.values() for text in counter.share.notes()]
        new = [name for name, each in self._counters.items() if each.share.is_shared and name not in self._shared]
        if new:
            self._shared.update(new)
            texts.append(f"other runs of yours use these lanes too, and share their limits: {listed(new)}")
        for text in texts:
            if text not in self._noted:  # many lanes may have one trouble
                self._noted.add(text)
                self._news.append(Note(text=text))

    def close(self) -> None:
        """The run ends: other runs need not heed its limits any more."""
        for counter in self._counters.values():
            counter.share.close()


class _Ask(NamedTuple):
    turn: int
    tokens: int


class _Given(NamedTuple):
    """A turn whose request is not settled yet."""

    entry: Entry | None
    at: float
    counted: int
    """Tokens, as the runs together count them."""


class _Counter(Generic[H]):
    """One lane's queue: the holders take turns, so that none with many requests keeps the others waiting."""

    def __init__(self, lane: Lane, policy: RunPolicy, now: float, share: OneRun, news: list[Event]) -> None:
        self.share = share
        self._news = news
        self.breaker = CircuitBreaker(policy.halt_after_infra)
        self._lane = lane.name
        self._key_env = lane.key_env
        self._fixed = _request_rates(lane)
        self._per_minute = per_minute = lane.tokens_per_minute
        self._pacer = Pacer(self._fixed, Rate(per_minute, 60.0) if per_minute is not None else None)
        self._adaptive: Adaptive | None = None
        if policy.rate_mode == "adaptive":
            self._adaptive = _adaptive(self._fixed, now)
            self._pacer.change(self._rates())
        self._queues: dict[H, deque[_Ask]] = {}
        self._given: dict[H, dict[int, _Given]] = {}
        """By turn, of each holder that has any."""
        self._paused_until = now
        self._max_wait_s = policy.max_wait_s
        self.refusals = 0
        """Pauses that the server has asked for since a request came through."""
        self.turns = 0
        self.tokens = 0
        self.answers_429 = 0

    def figures(self) -> LaneFigures:
        per_s = self.per_s
        return LaneFigures(
            limit=None if per_s is None else round(per_s, 3),
            turns=self.turns,
            tokens=self.tokens,
            refused=self.answers_429,
            holders=len(self._given.keys() | self._queues.keys()),
        )

    @contextmanager
    def halting(self) -> Iterator[CircuitBreaker]:
        """The block reports to the lane's CircuitBreaker; if that halts the lane, there is news, once."""
        before = self.breaker.reason
        yield self.breaker
        if before is None and self.breaker.reason is not None:
            self._queues.clear()  # the workers hear of it and tell the requests that wait
            hint = "wait that long" if self.breaker.asked_to_wait else "check its server"
            hint = f"fix {self._key_env or 'its key'}" if self.breaker.key_refused else hint
            self._news.append(LaneHalted(lane=self._lane, reason=self.breaker.reason, hint=hint))

    @property
    def waiting(self) -> bool:
        return bool(self._queues)

    @property
    def per_s(self) -> float | None:
        return min((rate.limit / rate.window_s for rate in self._rates()), default=None)

    @property
    def window_s(self) -> float | None:
        windows = [rate.window_s for rate in self._fixed]
        return min([*windows, *([60.0] if self._per_minute is not None else [])], default=None)

    def change(self, per_s: float, now: float) -> None:
        self._fixed = [Rate(per_s, 1.0), *(rate for rate in self._fixed if rate.window_s != 1.0)]
        if self._adaptive is not None:  # it finds out anew what the server allows, within this
            self._adaptive = _adaptive(self._fixed, now)
        self._pacer.change(self._rates())
        self._news.append(LaneChanged(lane=self._lane, limit=per_s, window_s=1.0, reason="set by prealloc ctl"))

    def ask(self, holder: H, turn: int, tokens: int) -> None:
        if self.breaker.reason is None:
            self._queues.setdefault(holder, deque()).append(_Ask(turn, tokens))

    def grants(self, now: float, ahead_s: float) -> list[Grant[H]]:
        given = []
        spacing_s = max((rate.spacing_s for rate in self._fixed), default=0.0)
        self.share.declare(spacing_s, self._pacer.late_s, self._per_minute)
        with self.share.turn(now, wanted=self._next_at(now) <= now + ahead_s) as may_give:
            self._hear_of_a_pause(now)
            while may_give and (at := self._next_at(now)) <= now + ahead_s:
                holder, queue = next(iter(self._queues.items()))
                ask = queue.popleft()
                self.turns += 1
                counted = self.share.take(at, ask.tokens)
                given_turn = _Given(self._pacer.take(at, ask.tokens), at, counted)
                self._given.setdefault(holder, {})[ask.turn] = given_turn
                del self._queues[holder]
                if queue:
                    self._queues[holder] = queue  # behind the others
                given.append(Grant(holder, ask.turn, at, min(self._pacer.late_s, self.share.late_s)))
                if self._adaptive is not None:
                    self._changed(self._adaptive.went(now))
        return given

    def _next_at(self, now: float) -> float:
        """When the request that is next may go; never, without one."""
        if not self._queues:
            return math.inf
        tokens = next(iter(self._queues.values()))[0].tokens
        return self.share.earliest(self._pacer.earliest(now, tokens), tokens)

    def _hear_of_a_pause(self, now: float) -> None:
        """The server may have asked another run to wait."""
        until = self.share.paused_until
        if until > max(now, self._paused_until) + _NEWS_S and self.breaker.reason is None:
            self._paused_until = until
            self._pacer.pause(until)
            with self.halting() as halt:
                halt.paused(until - now, self._max_wait_s)
            if self.breaker.reason is None:
                self._news.append(LanePaused(lane=self._lane, wait_s=round(until - now, 3), http_status=None))

    def settle(self, holder: H, turn: int, tokens: int) -> bool:
        turns = self._given.get(holder, {})
        given = turns.pop(turn, None)
        if given is None:
            return False
        if not turns:
            del self._given[holder]
        self.share.settle(given.at, given.counted, tokens)
        if given.entry is not None:
            self._pacer.settle(given.entry, tokens)
        return True

    def refused(self, now: float, answer: Answer) -> None:
        """The server has asked for a pause: no request of the lane goes before it is over.

        If it names no time, or next to none, the pauses become longer until a request comes through.
        """
        if now >= self._paused_until or not self.refusals:
            self.refusals += 1
        pause_s = answer.retry_after_s
        if pause_s is None or (pause_s <= LEAST_PAUSE_S and answer.http_status is not None):
            pause_s = min(BACKOFF_MOST_S, LEAST_PAUSE_S * 2 ** (self.refusals - 1))
        with self.halting() as halt:
            halt.paused(pause_s, self._max_wait_s)
        if now + pause_s > self._paused_until + _NEWS_S and self.breaker.reason is None:
            self._news.append(LanePaused(lane=self._lane, wait_s=round(pause_s, 3), http_status=answer.http_status))
        self._paused_until = max(self._paused_until, now + pause_s)
        self._pacer.pause(self._paused_until)
        if self.breaker.reason is None:  # else it is for ever, or for longer than this run may wait
            self.share.pause(self._paused_until)
        if self._adaptive is not None and answer.http_status == TOO_MANY_REQUESTS:
            self._changed(self._adaptive.refused(now, paused_until=self._paused_until))

    def leave(self, holder: H) -> None:
        self._queues.pop(holder, None)
        self._given.pop(holder, None)  # its tokens stay in the log as they were estimated

    def _changed(self, why: str | None) -> None:
        if why is None or self._adaptive is None:
            return
        self._pacer.change(self._rates())
        limit, window_s = round(self._adaptive.limit, 3), self._adaptive.window_s
        self._news.append(LaneChanged(lane=self._lane, limit=limit, window_s=window_s, reason=why))

    def _rates(self) -> list[Rate]:
        found = self._adaptive
        return [*self._fixed, *([Rate(found.limit, found.window_s)] if found is not None else [])]


def _request_rates(lane: Lane) -> list[Rate]:
    rates = []
    if lane.queries_per_second is not None:
        rates.append(Rate(lane.queries_per_second, 1.0))
    if lane.requests_per_minute is not None:
        rates.append(Rate(lane.requests_per_minute, 60.0))
    return rates


def _adaptive(fixed: Sequence[Rate], now: float) -> Adaptive:
    """In the unit of the lane's own limit: per second, unless it is only known per minute."""
    most = min(fixed, key=lambda rate: rate.limit / rate.window_s, default=None)
    if most is None:
        return Adaptive(window_s=1.0, most=None, now=now)
    return Adaptive(window_s=most.window_s, most=most.limit, now=now)
