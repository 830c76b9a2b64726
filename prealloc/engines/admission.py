"""How many workers may run at once: by free memory, by what workers turn out to use, and by what killed them."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Collection, Mapping
from typing import NamedTuple

from prealloc.model.words import size
from prealloc.processes.memory import available_bytes

try:
    import resource
except ImportError:  # pragma: no cover  # Windows has no such limits
    resource = None  # type: ignore[assignment]

MOST_WORKERS = 64
"""Shards that run at once by default: agent tasks wait more than they compute, so more than there are cores."""

WORKER_BYTES = 16 * 2**20
"""What a worker takes beside its slice before the user's code has done anything."""

SLICE_FACTOR = 3
"""The slice as shipped, as held, and one task decoded."""

FILES_EACH = 2
"""What the master has open for each worker that runs: its channel, its in-flight table."""

SPARE_FILES = 48
"""For what it opens for a moment, for workers that are being replaced, and for the caller."""

USABLE = 0.8
"""Of the free memory: the rest is for the page cache and for the unforeseen."""


def expected_bytes(slice_bytes: int) -> int:
    """What a worker takes, until one has been measured."""
    return WORKER_BYTES + SLICE_FACTOR * slice_bytes


def default_workers(shards: int, slice_bytes: int) -> int:
    """How many workers may run at once: all shards up to 64, fewer if free memory is short."""
    fitting = int(available_bytes() * USABLE) // expected_bytes(slice_bytes)
    return max(1, min(shards, MOST_WORKERS, fitting))


def within_open_files(workers: int) -> tuple[int, str | None]:
    """How many of these workers the limit of open files allows; if that is fewer, also a sentence that says so."""
    if resource is None:
        return workers, None
    limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = len(os.listdir("/dev/fd")) + SPARE_FILES + FILES_EACH * workers
    if limit == resource.RLIM_INFINITY or needed <= limit:
        return workers, None
    allowed = max(1, workers - -(-(needed - limit) // FILES_EACH))
    return allowed, (
        f"{workers} workers at once need {needed} open files, but the limit is {limit}: {allowed} run at once, the "
        f"others wait; `ulimit -n {needed}` allows all"
    )


class Room(NamedTuple):
    """How many more jobs an engine takes now."""

    jobs: int
    why: str | None = None
    """Why it takes no more, if the user should know."""


class Admission:
    """Says whether one more worker may start, by a look at the memory every now and then. `available` is for tests."""

    def __init__(self, slice_bytes: int, available: Callable[[], int] = available_bytes) -> None:
        self._expected_bytes = expected_bytes(slice_bytes)
        self._available = available
        self._most: int | None = None
        self._told: int | None = None
        self.look({})

    def look(self, memory: Mapping[str, int]) -> Mapping[str, int]:
        """Takes in what the workers hold now, see Engine.memory, and what is left. Gives it on."""
        held = self._held = {shard: size for shard, size in memory.items() if shard}
        self._typical_bytes = self._expected_bytes
        if held:
            from statistics import median  # here: no master needs it before its run goes on

            # Not the largest: one task that goes wild must not keep all others from starting.
            self._typical_bytes = max(self._expected_bytes, int(median(held.values())))
        self._usable_bytes = int(self._available() * USABLE)
        return memory

    def narrow(self, others: int) -> int | None:
        """There was not enough memory for a worker beside `others`: at most that many run at once from now on.

        Gives how many that is if it should be told: the first time, and whenever it has fallen to half.
        """
        self._most = max(1, min(others, self._most or others))
        if self._told is not None and self._most > self._told // 2:
            return None
        self._told = self._most
        return self._most

    def forget(self) -> None:
        """It was the fault of one task, which is known by now."""
        self._most = self._told = None

    def room(self, running: Collection[str]) -> Room:
        """How many more workers may start beside those of these shards (one for each worker)."""
        fitting = self._left(running) // self._typical_bytes
        if self._most is not None:
            fitting = min(fitting, self._most - len(running))
        return Room(max(0 if running else 1, fitting), self.refusal(running))

    def refusal(self, running: Collection[str]) -> str | None:
        """Why no further worker may start beside those of these shards (one for each worker); None if one may.

        The first always may. Each that runs may yet grow to what is typical, and so may the next one.
        """
        if not running:
            return None
        if self._most is not None and len(running) >= self._most:
            return f"{len(running)} shards run, and memory ran out with more; the others wait"
        left = self._left(running)
        if left >= self._typical_bytes:
            return None
        return (
            f"{len(running)} shards run, and there is not enough memory for another worker: one takes about "
            f"{size(self._typical_bytes)}, {size(max(0, left))} are free; the others wait"
        )

    def _left(self, running: Collection[str]) -> int:
        """The memory that is left when those that run have grown to what is typical."""
        return self._usable_bytes - sum(
            max(0, count * self._typical_bytes - self._held.get(shard, 0)) for shard, count in Counter(running).items()
        )
