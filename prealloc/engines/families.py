"""Which processes belong to which worker: the worker itself and all that its tasks have started.

A full look at the process table costs 15 microseconds a process, too much for every 20 ms. So only newcomers are
asked for their parent; who was once seen to belong to a worker stays with it, also when its parent dies.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Collection

from prealloc.processes.tree import descendants, parent_of, started_with
from prealloc.worker.process import MARK


class Families:
    """Kept up from one look to the next."""

    def __init__(self) -> None:
        self._worker_of: dict[int, int | None] = {}
        """Of every process there is, the worker it belongs to; None: to none of ours."""

    def look(self, workers: Collection[int]) -> dict[int, list[int]]:
        """The living processes of each of these workers (process ids), the worker first."""
        if sys.platform != "linux":
            return {pid: [pid, *(process.pid for process in descendants([pid]))] for pid in workers}
        living = {int(name) for name in os.listdir("/proc") if name.isdigit()}
        # Whoever was nobody's child before a worker was known may be its child now: those are asked again.
        is_new = any(self._worker_of.get(worker) != worker for worker in workers)
        known = {
            pid: owner
            for pid, owner in self._worker_of.items()
            if pid in living and (owner in workers or (owner is None and not is_new))
        }
        known |= {worker: worker for worker in workers}
        for pid in living - known.keys():
            _settle(pid, known, workers)
        self._worker_of = known
        families: dict[int, list[int]] = {worker: [worker] for worker in workers}
        for pid, owner in known.items():
            if owner is not None and owner != pid:
                families[owner].append(pid)
        return families


def _settle(newcomer: int, known: dict[int, int | None], workers: Collection[int]) -> None:
    """Finds the worker of a newcomer by going up its parents; all of them are known from then on."""
    line: list[int] = []
    at: int | None = newcomer
    while at and at not in known:
        line.append(at)
        known[at] = None  # so that no circle, which numbers that are given anew could make, is without end
        at = parent_of(at)
    owner = known[at] if at else None
    for pid in reversed(line):
        # Its parent may have died already: then it is an orphan of the fork server, with its worker's mark.
        owner = known[pid] = owner or _marked(pid, workers)


def _marked(pid: int, workers: Collection[int]) -> int | None:
    mark = started_with(pid, MARK)
    return int(mark) if mark is not None and mark.isdecimal() and int(mark) in workers else None
