"""The three clocks of an attempt: queued, waiting, working. All on monotonic time."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

Monotonic = Callable[[], float]
"""Seconds on a clock that never steps (time.monotonic)."""


class AttemptClock:
    """Tells working time from waiting time. Several threads of one attempt may wait at once.

    `waited_before_s` is what the unit has waited before this attempt (backoff): it counts for max_wait_s.
    """

    def __init__(self, now: Monotonic, *, queued_s: float, waited_before_s: float) -> None:
        self._now = now
        self._lock = threading.Lock()
        self._waiters = 0
        self._waiting_since = 0.0
        self._waited_s = 0.0
        self.started_at = now()
        self.queued_s = queued_s
        self.waited_before_s = waited_before_s

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """While the block runs, time is waiting time."""
        with self._lock:
            if self._waiters == 0:
                self._waiting_since = self._now()
            self._waiters += 1
        try:
            yield
        finally:
            with self._lock:
                if self._waiters == 1:  # before it counts as over: see waited_s
                    self._waited_s += self._now() - self._waiting_since
                self._waiters -= 1

    @property
    def is_waiting(self) -> bool:
        return self._waiters > 0

    @property
    def waited_s(self) -> float:
        """Waiting time within this attempt."""
        if not self._waiters:  # what is over has been added: no lock, since every attempt asks several times
            return self._waited_s
        with self._lock:
            current = self._now() - self._waiting_since if self._waiters else 0.0
            return self._waited_s + current

    @property
    def unit_waited_s(self) -> float:
        """Waiting time of the unit: what --max-wait bounds."""
        return self.waited_before_s + self.waited_s

    @property
    def working_s(self) -> float:
        """From the start until now, less the waiting."""
        return max(0.0, self._now() - self.started_at - self.waited_s)

    def told(self) -> tuple[float, float, float]:
        """Seconds that the attempt was queued, its unit has waited and it has worked, to the microsecond."""
        return _rounded(self.queued_s), _rounded(self.unit_waited_s), _rounded(self.working_s)

    def overdue(self, timeout_s: float | None, max_wait_s: float) -> str | None:
        """Why the attempt must end now: "timeout", "wait", or None."""
        if timeout_s is not None and not self._waiters and self.working_s >= timeout_s:
            return "timeout"
        if self._waiters and self.unit_waited_s >= max_wait_s:
            return "wait"
        return None


def _rounded(seconds: float) -> float:
    return int(seconds * 1e6 + 0.5) / 1e6  # a third of the time that round() takes
