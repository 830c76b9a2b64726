"""How many workers the machine bears: by what it has free, and by what the workers turn out to take."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from statistics import median

from prealloc.engines.memory import available_bytes

MOST_WORKERS = 64
"""Shards that run at once by default: agent tasks wait more than they compute, so more than there are cores."""

WORKER_BYTES = 16 * 2**20
"""What a worker takes beside its slice before the user's code has done anything."""

SLICE_FACTOR = 3
"""The slice as shipped, as held, and one task decoded."""

USABLE = 0.8
"""Of the free memory: the rest is for the page cache and for what nobody foresaw."""


def expected_bytes(slice_bytes: int) -> int:
    """What a worker takes, as long as none has been measured."""
    return WORKER_BYTES + SLICE_FACTOR * slice_bytes


def default_workers(shards: int, slice_bytes: int) -> int:
    """How many workers may run at once: all shards up to 64, less what the free memory does not bear."""
    bearable = int(available_bytes() * USABLE) // expected_bytes(slice_bytes)
    return max(1, min(shards, MOST_WORKERS, bearable))


class Admission:
    """Says whether one more worker may start. `available` is for tests."""

    def __init__(self, slice_bytes: int, available: Callable[[], int] = available_bytes) -> None:
        self._expected_bytes = expected_bytes(slice_bytes)
        self._typical_bytes = self._expected_bytes
        self._held: Mapping[str, int] = {}
        self._available = available

    def measured(self, held: Mapping[str, int]) -> None:
        """What the workers hold now, by shard."""
        self._held = held
        if held:
            # Not the largest: one task that goes wild must not keep all others from starting.
            self._typical_bytes = max(self._expected_bytes, int(median(held.values())))

    def refusal(self, running: Collection[str]) -> str | None:
        """Why no further worker may start beside those of these shards; None if one may. The first always may.

        Each that runs may yet grow to what is typical, and so may the next one.
        """
        if not running:
            return None
        growth = sum(max(0, self._typical_bytes - self._held.get(shard, 0)) for shard in running)
        usable = int(self._available() * USABLE)
        if usable >= growth + self._typical_bytes:
            return None
        return (
            f"{len(running)} shards run, and the memory does not bear another: a worker takes about "
            f"{self._typical_bytes // 2**20} MB, {max(0, usable - growth) // 2**20} MB are left; the others wait"
        )
