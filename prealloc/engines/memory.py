"""Memory of processes and of the machine, in bytes."""

from __future__ import annotations

import sys
from collections.abc import Iterable

MOST_WORKERS = 64
"""Shards that run at once by default: agent tasks wait more than they compute, so more than there are cores."""

WORKER_BYTES = 16 * 2**20
"""What a worker takes beside its slice before the user's code has done anything."""

SLICE_FACTOR = 3
"""The slice as shipped, as held, and one task decoded."""


def proportional_bytes(pids: Iterable[int]) -> int:
    """The memory of these processes: proportional set size (PSS), which counts shared pages once in all.

    Elsewhere than on Linux the resident set size, which counts them in every process.
    """
    return sum(map(_one, pids))


def default_workers(shards: int, slice_bytes: int) -> int:
    """How many workers may run at once: all shards up to 64, less what the free memory does not bear."""
    import psutil

    free = psutil.virtual_memory().available
    bearable = int(free * 0.8) // (WORKER_BYTES + SLICE_FACTOR * slice_bytes)
    return max(1, min(shards, MOST_WORKERS, bearable))


def _one(pid: int) -> int:
    if sys.platform == "linux":
        try:
            with open(f"/proc/{pid}/smaps_rollup", "rb") as file:
                for line in file:
                    if line.startswith(b"Pss:"):
                        return int(line.split()[1]) * 1024
        except OSError:
            return 0
        return 0
    import psutil

    try:
        return int(psutil.Process(pid).memory_info().rss)
    except psutil.Error:
        return 0
