"""How fast things are done, lately."""

from __future__ import annotations

from collections import deque

WINDOW_S = 60
"""What happened longer ago does not count ..."""
LEAST = 10
"""... unless fewer than this many happened since: agents may need minutes for each task."""

_KEPT = WINDOW_S + 2 * LEAST


class Pace:
    """Counts in buckets of a second: a fixed amount of memory, whatever happens."""

    __slots__ = ("_buckets", "started_s")

    def __init__(self, started_s: float) -> None:
        self.started_s = started_s
        self._buckets: deque[list[int]] = deque(maxlen=_KEPT)

    def add(self, now_s: float) -> None:
        """One more was done."""
        second = int(now_s)
        buckets = self._buckets
        if buckets and buckets[-1][0] == second:
            buckets[-1][1] += 1
        else:
            buckets.append([second, 1])

    def per_s(self, now_s: float) -> float | None:
        """Done per second; None as long as nothing is known. Falls while nothing gets done."""
        total = 0
        since_s = self.started_s
        for second, count in reversed(self._buckets):
            if now_s - second > WINDOW_S and total >= LEAST:
                # Left out from this bucket on, so the time is measured from its end.
                since_s = second + 1.0
                break
            total += count
        elapsed_s = now_s - since_s
        return total / elapsed_s if total and elapsed_s > 0 else None
