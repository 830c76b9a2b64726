"""Finds workers that hold more memory than --memory allows, with all that their tasks have started."""

from __future__ import annotations

import time
from collections.abc import Collection

from prealloc.engines.families import Families
from prealloc.processes.memory import proportional_bytes, resident_bytes

LOOK_S = 0.02
"""At two gigabytes per second, about what one core can touch, a limit is passed by 40 MB before it is seen."""


class MemoryWatch:
    """Looks at most every LOOK_S seconds."""

    def __init__(self, limit_bytes: int) -> None:
        self._limit_bytes = limit_bytes
        self._families = Families()
        self._next = 0.0

    def over(self, workers: Collection[int]) -> dict[int, int]:
        """Those of the workers (process ids) that are over the limit, and the bytes they hold."""
        if time.monotonic() < self._next:
            return {}
        found = {}
        for worker, family in self._families.look(workers).items():
            # RSS counts a page that ten processes share ten times: only what is over by that is looked at closely.
            if resident_bytes(family) > self._limit_bytes and (held := proportional_bytes(family)) > self._limit_bytes:
                found[worker] = held
        self._next = time.monotonic() + LOOK_S
        return found
