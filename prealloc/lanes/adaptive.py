"""How many requests a server turns out to allow: up until it says 429, then down once, then slowly up again.

Additive increase and multiplicative decrease, as TCP does it (V. Jacobson, "Congestion avoidance and control", 1988),
but growing by a share: what servers allow differs by a factor of a thousand. Time goes in rounds of the limit's window.
"""

from __future__ import annotations

START = 20.0
CUT = 0.8
GROWTH = 1.05
IN_USE = 0.8
"""Only a limit of which so much was used has proved anything, and grows."""


class Adaptive:
    """The limit of one lane, in requests per `window_s` seconds. `most` is what is known to be too much to exceed."""

    def __init__(self, *, window_s: float, most: float | None, now: float) -> None:
        self.window_s = window_s
        self._most = most
        self.limit = START if most is None else min(START, most)
        self._doubling = True
        self._round_ends = now + window_s
        self._used = 0
        self._clean = True
        self._episode_until = now

    def went(self, now: float) -> str | None:
        """A request went. Returns why the limit has changed, if it has."""
        changed = self.pass_time(now)
        self._used += 1
        return changed

    def refused(self, now: float, *, paused_until: float) -> str | None:
        """A request met a 429. Returns why the limit has changed, if it has.

        All requests that were under way together meet the same overload: they are one episode, which lasts until
        the pause that the server asked for is over, and a round more.
        """
        changed = self.pass_time(now)
        self._clean = False
        self._doubling = False
        if now < self._episode_until:
            return changed
        self._episode_until = max(now, paused_until) + self.window_s
        self.limit = max(1.0, self.limit * CUT)
        return f"cut to {CUT:g} after a 429"

    def pass_time(self, now: float) -> str | None:
        """Ends the rounds that are over. Returns why the limit has changed, if it has."""
        if now < self._round_ends:
            return None
        grown = None
        proven = self._clean and self._used >= IN_USE * self.limit and now >= self._episode_until
        if proven and (self._most is None or self.limit < self._most):
            factor = 2.0 if self._doubling else GROWTH
            self.limit = min(self.limit * factor, self._most or float("inf"))
            grown = "doubled: no 429 yet" if self._doubling else f"grown by {GROWTH - 1:.0%} after a clean round"
        self._round_ends = now + self.window_s
        self._used = 0
        self._clean = True
        return grown
