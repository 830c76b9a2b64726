"""How many workers of a way fit into the memory that is free. Better fewer workers than a machine that swaps."""

from __future__ import annotations

from prealloc.memory.ways import FORK, FORK_GC, WHOLE, Way

SAFETY = 1.2
WORKER_BYTES = 40_000_000
"""An interpreter that has loaded what it needs, and a few tasks: more than it takes."""


def bytes_needed(way: Way, workers: int, *, copy_bytes: int, file_bytes: int, share: float) -> int:
    """The memory of a way, estimated from above.

    `copy_bytes` is the most that one process takes which loads the whole library; on a machine with fewer cores than
    workers all of them are in the middle of that at once. `share` is the part of the tasks that a worker reads.
    """
    if way == WHOLE:
        need = workers * copy_bytes
    elif way == FORK_GC:
        need = copy_bytes + workers * (WORKER_BYTES + copy_bytes)
    elif way == FORK:
        # Read pages come to be each worker's own, and objects that are not read lie in the same pages.
        need = copy_bytes + workers * (WORKER_BYTES + int(copy_bytes * min(1.0, 2 * share)))
    else:
        need = 3 * file_bytes + workers * (WORKER_BYTES + int(file_bytes * share))
    return int(need * SAFETY)


def workers_that_fit(way: Way, workers: int, available: int, *, copy_bytes: int, file_bytes: int, share: float) -> int:
    """At most `workers`; 0 if not even one fits."""

    def need(count: int) -> int:
        return bytes_needed(way, count, copy_bytes=copy_bytes, file_bytes=file_bytes, share=share)

    each = need(1) - need(0)
    return max(0, min(workers, (available - need(0)) // each))
