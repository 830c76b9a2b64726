"""Whether a process holds the same memory and as many open files after an hour as after a minute."""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Sequence
from typing import NamedTuple

WARM_S = 10.0
"""A process takes what it needs in this time; growth is looked for after it."""
LEAST_S = 30.0
"""A life that is shorter says nothing."""


class Sample(NamedTuple):
    """One look at a process."""

    at: float
    bytes: int
    files: int
    """Open ones, but those for workers."""
    workers: int
    """As many as it has an in-flight table of: that and a channel are two open files for each."""


class Life(NamedTuple):
    """The samples of one process."""

    name: str
    pid: int
    samples: list[Sample]

    @property
    def seconds(self) -> float:
        """How long it was looked at, after it was warm."""
        warm = self._warm()
        return warm[-1].at - warm[0].at if len(warm) > 2 else 0.0

    def growth(self, field: str) -> float:
        """How much it grew over its warm life: the median slope of all pairs, times its length.

        Theil-Sen: a few samples in the middle of a burst do not decide it.
        """
        points = [(sample.at, getattr(sample, field)) for sample in thin(self._warm())]
        pairs = [(a, b) for i, a in enumerate(points) for b in points[i + 1 :]]
        return statistics.median((b[1] - a[1]) / (b[0] - a[0]) for a, b in pairs) * self.seconds if pairs else 0.0

    def least(self, field: str) -> float:
        """The least it held while warm."""
        return min((getattr(sample, field) for sample in self._warm()), default=0)

    def _warm(self) -> list[Sample]:
        return [sample for sample in self.samples if sample.at - self.samples[0].at >= WARM_S]


def thin(samples: Sequence[Sample]) -> Sequence[Sample]:
    """At most 300 of them: the pairs are their square."""
    return samples[:: max(1, len(samples) // 300)]


def look(pid: int) -> Sample | None:
    """A process as it is now; None if it is gone."""
    try:
        with open(f"/proc/{pid}/smaps_rollup", "rb") as file:
            pss = next(int(line.split()[1]) * 1024 for line in file if line.startswith(b"Pss:"))
        names = [os.readlink(entry.path) for entry in os.scandir(f"/proc/{pid}/fd")]
        workers = sum("prealloc-in-flight" in name for name in names)
        return Sample(time.monotonic(), pss, len(names) - 2 * workers, workers)
    except (OSError, StopIteration):
        return None


def parent(pid: int) -> int | None:
    """Who started a process; None if it is gone."""
    try:
        with open(f"/proc/{pid}/stat") as file:
            return int(file.read().rpartition(")")[2].split()[1])
    except OSError:
        return None
