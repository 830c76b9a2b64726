"""Finds workers that hold more memory than --memory allows, with all that their tasks have started.

A full look at the process table costs 15 microseconds a process, too much for every 20 ms. So only newcomers are
asked for their parent; a process once seen to belong to a worker stays with it, also when its parent dies.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Collection

from prealloc.processes.memory import proportional_bytes, resident_bytes
from prealloc.processes.parent import MARK
from prealloc.processes.tree import descendants, parent_of, started_with

LOOK_S = 0.02
"""At two gigabytes per second, about what one core can touch, a limit is passed by 40 MB before it is seen."""


class MemoryWatch:
    """Looks at most every LOOK_S seconds."""

    def __init__(self, limit_bytes: int) -> None:
        self._limit_bytes = limit_bytes
        self._trees = ProcessTrees()
        self._next = 0.0

    def over(self, workers: Collection[int]) -> dict[int, int]:
        """Those of the workers (process ids) that are over the limit, and the bytes they hold."""
        if time.monotonic() < self._next:
            return {}
        found = {}
        for worker, tree in self._trees.look(workers).items():
            # RSS counts a page that ten processes share ten times: only what is over by that is looked at closely.
            if resident_bytes(tree) > self._limit_bytes and (held := proportional_bytes(tree)) > self._limit_bytes:
                found[worker] = held
        self._next = time.monotonic() + LOOK_S
        return found


class ProcessTrees:
    """Which processes belong to which worker: itself and all that its tasks have started. Kept up between looks."""

    def __init__(self) -> None:
        self._worker_of: dict[int, int | None] = {}
        """Of every process there is, the worker it belongs to; None: to none of ours."""

    def look(self, workers: Collection[int]) -> dict[int, list[int]]:
        """The living processes of each of these workers (process ids), the worker first."""
        if sys.platform != "linux":
            return {pid: [pid, *(process.pid for process in descendants([pid]))] for pid in workers}
        living = {int(name) for name in os.listdir("/proc") if name.isdigit()}
        # A process without a known worker may have been started by a new one: those are asked again.
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
        trees: dict[int, list[int]] = {worker: [worker] for worker in workers}
        for pid, owner in known.items():
            if owner is not None and owner != pid:
                trees[owner].append(pid)
        return trees


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
