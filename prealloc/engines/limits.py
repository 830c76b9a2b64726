"""Limits of a whole run, --max-time and --max-failures: when no further task starts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

from prealloc.model.events import AttemptEnded
from prealloc.model.options import Seconds, share_of
from prealloc.model.outcome import Status
from prealloc.model.policy import RunPolicy

LEAST_ENDED = 20
"""Units that must have ended before a share of them says anything."""


class RunLimits:
    """Counts what has ended in this session. `now` is time.monotonic, or a test's clock."""

    def __init__(self, policy: RunPolicy, began: float, now: Callable[[], float]) -> None:
        self._most_s = policy.max_time_s
        self._most_failures = policy.max_failures
        self._share = share_of(policy.max_failures)
        self._began = began
        self._now = now
        self._ended: Counter[Status] = Counter()

    def count(self, event: AttemptEnded) -> None:
        """Takes the end of an attempt in. One that is tried again, or was stopped by the user, says nothing yet."""
        if event.outcome and event.status is not Status.CANCELLED:
            self._ended[event.status] += 1

    def reached(self) -> str | None:
        """The limit that is reached, as a sentence; None: none is."""
        if self._most_s is not None and self._now() - self._began >= self._most_s:
            return f"max-time {Seconds().write(self._most_s)} is over"
        ended = self._ended.total()
        failures = ended - self._ended[Status.OK]
        if self._most_failures is None or not failures:
            return None
        if self._share is None:
            over = isinstance(self._most_failures, int) and failures >= self._most_failures
        else:
            over = ended >= LEAST_ENDED and failures / ended >= self._share
        if not over:
            return None
        kinds = ", ".join(
            f"{self._ended[status]} {status}" for status in Status if status is not Status.OK and self._ended[status]
        )
        return f"{failures} of the {ended} units that ended are not ok ({kinds}), max-failures is {self._most_failures}"
