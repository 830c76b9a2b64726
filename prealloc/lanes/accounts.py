"""What each run on this machine has taken of a lane: so the lane's limits hold over all of them together. Pure.

Each run has an account, which it alone changes. One run at a time gives turns (see lane_file.py), so it sees all that
the others have given. Nothing is divided: whichever run asks gets the next slot. In one run alone the accounts decide
nothing: see pacing.py.

Times are those of time.monotonic, which is one clock for all processes of a machine.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

import msgspec

from prealloc.lanes.pacing import GUARD, UNLIMITED_S

ALIVE_S = 10.0
"""A run that has not been seen for so long is gone, or stopped: what it has declared binds nobody."""

MINUTE_S = (1 + GUARD) * 60.0
"""The window of tokens, as in pacing.py."""

_LONGEST_S = MINUTE_S + 1.0
"""No slot is further from the one before it, and no second's tokens count longer."""
_CLOCK_S = 1.0
"""A run that was seen so much later than now was seen by another clock: before the machine was started, say."""


class Account(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """One run's. Of tokens, only how many went in each second is kept: they count until that second is over."""

    run: str
    """A random name, new for each session."""
    seen_at: float = 0.0
    spacing_s: float = 0.0
    """What its lane declares: from one request to the next."""
    late_s: float = UNLIMITED_S
    """How late a request may use its slot."""
    tokens_per_minute: int | None = None
    latest: float = 0.0
    """Its latest slot."""
    paused_until: float = 0.0
    """The server has asked it for a pause."""
    tokens: dict[int, int] = {}
    """By the second in which they went."""

    def is_alive(self, now: float) -> bool:
        """Whether what it declares holds."""
        return now - self.seen_at <= ALIVE_S

    def counts(self, now: float) -> bool:
        """Whether anything in it still matters to anybody."""
        if self.seen_at > now + _CLOCK_S:
            return False
        return self.is_alive(now) or self.paused_until > now or self.latest + _LONGEST_S > now


class Accounts:
    """Our own account among those of the other runs."""

    def __init__(self, run: str) -> None:
        self.own = Account(run=run)
        self.others: Sequence[Account] = ()
        """As of when we last looked."""
        self.late_s = UNLIMITED_S
        """The least that one of them declares."""
        self.is_shared = False
        """Another run uses the lane now."""
        self._spacing_s = 0.0
        self._tokens_per_minute: int | None = None
        self._latest = 0.0

    def meet(self, found: Iterable[Account], now: float) -> None:
        """Takes in what the others have by now."""
        self.others = [each for each in found if each.run != self.own.run and each.counts(now)]
        living = [self.own, *(each for each in self.others if each.is_alive(now))]
        self.is_shared = len(living) > 1
        self._spacing_s = max(each.spacing_s for each in living)
        self.late_s = min(each.late_s for each in living)
        limits = [each.tokens_per_minute for each in living if each.tokens_per_minute is not None]
        self._tokens_per_minute = min(limits, default=None)
        self._latest = max([self.own.latest, *(each.latest for each in self.others)])

    @property
    def paused_until(self) -> float:
        """Until when the others know the server to be closed."""
        return max((each.paused_until for each in self.others), default=0.0)

    def earliest(self, at: float, tokens: int) -> float:
        """The first moment from `at` on, at which our own limits allow a request, that leaves the others theirs."""
        if not self.others:
            return at
        at = max(at, self._latest + self._spacing_s, self.paused_until)
        limit = self._tokens_per_minute
        return at if limit is None else self._room_for(at, min(tokens, limit), limit)

    def take(self, at: float, tokens: int) -> int:
        """Takes a slot at a moment that `earliest` gave. Gives the tokens that count for it, for `settle`."""
        limits = [each for each in (self._tokens_per_minute, self.own.tokens_per_minute) if each is not None]
        counted = min([tokens, *limits])
        self.own.latest = self._latest = at
        self._count(at, counted)
        return counted

    def settle(self, at: float, counted: int, tokens: int) -> None:
        """Says how many tokens the request of this slot has really used."""
        self._count(at, tokens - counted)

    def forget_before(self, now: float) -> None:
        """Drops what counts no more."""
        self.own.tokens = {second: n for second, n in self.own.tokens.items() if second + 1 + MINUTE_S > now}

    def _count(self, at: float, tokens: int) -> None:
        if tokens:
            second = int(at)
            self.own.tokens[second] = self.own.tokens.get(second, 0) + tokens

    def _room_for(self, at: float, tokens: int, limit: int) -> float:
        went: Counter[int] = Counter()
        for account in (self.own, *self.others):
            for second, number in account.tokens.items():
                went[second] += number
        gone = {second + 1 + MINUTE_S: number for second, number in sorted(went.items())}
        left = sum(number for gone_at, number in gone.items() if gone_at > at)
        for gone_at, number in gone.items():
            if gone_at > at:
                if left + tokens <= limit:
                    break
                at, left = gone_at, left - number
        return at
