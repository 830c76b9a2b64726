"""Whether a process holds the same memory and as many open files after an hour as after a minute."""

from __future__ import annotations

import contextlib
import os
import statistics
import time
from collections.abc import Sequence
from typing import NamedTuple

import psutil

WARM_S = 10.0
"""A process takes what it needs in this time; growth is looked for after it."""
LEAST_S = 30.0
"""A life that is shorter says nothing."""


class Sample(NamedTuple):
    """One look at a process."""

    at: float
    bytes: int
    files: int


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
        return Sample(time.monotonic(), pss, len(os.listdir(f"/proc/{pid}/fd")))
    except (OSError, StopIteration):
        return None


def children(pid: int | None) -> int:
    """How many processes a process has started that are there now."""
    with contextlib.suppress(psutil.Error):
        return len(psutil.Process(pid).children()) if pid is not None else 0
    return 0


def parent(pid: int) -> int | None:
    """Who started a process; None if it is gone."""
    try:
        with open(f"/proc/{pid}/stat") as file:
            return int(file.read().rpartition(")")[2].split()[1])
    except OSError:
        return None
