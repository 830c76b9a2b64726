"""When the next request may go, so that a limit holds in every window of its length, wherever the window begins.

Requests are spaced equally: with a limit of L in W seconds, one every (1 + GUARD) W / L seconds. In any window of W
seconds lie at most floor(W / spacing) + 1 <= L of them. A bucket of tokens does not give that: one that is full lets
L through at once and L more while it refills. The guard is what requests may be delayed on their way, each
differently, before two windows' worth could meet in one at the server: 40 ms with a limit per second.

Tokens are not equal to each other, so for them a log is kept of what went in the last (1 + GUARD) W seconds.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import NamedTuple

GUARD = 0.04

LATE = 0.01
"""Of the window: a request later than this must not use its slot. The rest of the guard is for the way."""


UNLIMITED_S = 1e9
"""The window of a lane that has no limit. Not infinity: JSON has no word for it."""


class Rate(NamedTuple):
    """At most `limit` in any window of `window_s` seconds."""

    limit: float
    window_s: float

    @property
    def spacing_s(self) -> float:
        """From one request to the next."""
        return (1 + GUARD) * self.window_s / self.limit


class Entry:
    """Tokens that were taken, or are going to be, at a moment."""

    __slots__ = ("at", "tokens")

    def __init__(self, at: float, tokens: int) -> None:
        self.at = at
        self.tokens = tokens


class TokenLog:
    """What went in the last window. Moments never go back."""

    def __init__(self, rate: Rate) -> None:
        self._limit = int(rate.limit)
        self._window_s = (1 + GUARD) * rate.window_s
        self._entries: deque[Entry] = deque()
        self._sum = 0

    def earliest(self, at: float, tokens: int) -> float:
        """The first moment from `at` on at which this many tokens fit in. More than the limit count as the limit."""
        left = self._sum
        for entry in self._entries:
            gone_at = entry.at + self._window_s
            if gone_at > at:
                if left + min(tokens, self._limit) <= self._limit:
                    break
                at = gone_at
            left -= entry.tokens
        return at

    def take(self, at: float, tokens: int) -> Entry:
        """Takes tokens at a moment that `earliest` gave."""
        while self._entries and self._entries[0].at + self._window_s <= at:
            self._sum -= self._entries.popleft().tokens
        entry = Entry(at, min(tokens, self._limit))
        self._entries.append(entry)
        self._sum += entry.tokens
        return entry

    def settle(self, entry: Entry, tokens: int) -> None:
        """Says what was really used. An entry that has left the window counts no more."""
        if self._entries and entry.at >= self._entries[0].at:
            self._sum += tokens - entry.tokens
            entry.tokens = tokens


class Pacer:
    """The slots of one lane. Every method takes the time, in seconds of a clock that never steps."""

    def __init__(self, requests: Sequence[Rate], tokens: Rate | None) -> None:
        self._log = TokenLog(tokens) if tokens is not None else None
        self._tokens = tokens
        self.late_s = 0.0
        """How much later than its slot a request may still be sent."""
        self._spacing_s = 0.0
        self._next = self._latest = float("-inf")
        self.change(requests)

    def earliest(self, now: float, tokens: int) -> float:
        """When the next request may go."""
        at = max(now, self._next)
        return at if self._log is None else self._log.earliest(at, tokens)

    def take(self, at: float, tokens: int) -> Entry | None:
        """Takes the slot at a moment that `earliest` gave. The entry is for `settle`; None without a token limit."""
        self._latest = at
        self._next = at + self._spacing_s
        return None if self._log is None else self._log.take(at, tokens)

    def settle(self, entry: Entry, tokens: int) -> None:
        """Says how many tokens a request has really used."""
        if self._log is not None:
            self._log.settle(entry, tokens)

    def pause(self, until: float) -> None:
        """No request goes before this moment."""
        self._next = max(self._next, until)

    def change(self, requests: Sequence[Rate]) -> None:
        """Other limits from here on: the next slot is as far from the latest one as they say."""
        before, self._spacing_s = self._spacing_s, max((rate.spacing_s for rate in requests), default=0.0)
        windows = [rate.window_s for rate in (*requests, *([self._tokens] if self._tokens is not None else []))]
        self.late_s = LATE * min(windows, default=UNLIMITED_S)
        if self._next == self._latest + before:  # not paused
            self._next = self._latest + self._spacing_s
