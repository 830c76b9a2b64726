"""Tasks that were read before, as far as they fit: the least lately used go first."""

from __future__ import annotations

import os
import threading
import weakref
from collections import OrderedDict
from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

from prealloc.errors import Mistake, OptionsError

if TYPE_CHECKING:
    from prealloc.model.task import LightweightTask

DEFAULT_BYTES = 64 << 20
_READERS = 64
# Threads that read at the same time; two tasks of one place among these wait for each other.


class CacheInfo(NamedTuple):
    """How a cache has served: `bytes` are those of the workflows and kept fields that it holds."""

    hits: int
    misses: int
    tasks: int
    bytes: int
    most_bytes: int

    @property
    def hit_rate(self) -> float | None:
        """Hits of all that was asked for, 0 to 1; None before anything was."""
        asked = self.hits + self.misses
        return self.hits / asked if asked else None


class TaskCache:
    """A cache of tasks by their position, bounded by bytes. For any number of threads, and for forked processes.

    What it gives has nothing decoded yet, so that no two users share a workflow that one of them changes. Of several
    threads that ask for the same task, one reads it. A task larger than the whole cache is given and not held.
    """

    def __init__(self, most_bytes: int = DEFAULT_BYTES) -> None:
        if most_bytes < 0:
            raise OptionsError([Mistake("cache_bytes", f"{most_bytes} is below 0", "give 0 for no cache, or more")])
        self._most = most_bytes
        self._held: OrderedDict[int, LightweightTask] = OrderedDict()
        self._bytes = self._hits = self._misses = 0
        self._afresh()
        # A thread of the parent's may hold the lock in the moment of a fork: in the child it would never be released.
        mine = weakref.WeakMethod(self._afresh)
        os.register_at_fork(after_in_child=lambda: (afresh := mine()) and afresh())

    def _afresh(self) -> None:
        self._lock = threading.Lock()
        self._reading = [threading.Lock() for _ in range(_READERS)]

    def get(self, position: int, read: Callable[[int], LightweightTask]) -> LightweightTask:
        """The task at a position, by `read` if it is not held."""
        with self._reading[position % _READERS]:
            with self._lock:
                if position in self._held:
                    self._held.move_to_end(position)
                    self._hits += 1
                    return self._held[position].fresh()
                self._misses += 1
            task = read(position)
            with self._lock:
                if _size(task) <= self._most:
                    self._held[position] = task.fresh()
                    self._bytes += _size(task)
                while self._bytes > self._most:
                    _, oldest = self._held.popitem(last=False)
                    self._bytes -= _size(oldest)
        return task

    @property
    def info(self) -> CacheInfo:
        with self._lock:
            return CacheInfo(self._hits, self._misses, len(self._held), self._bytes, self._most)


def _size(task: LightweightTask) -> int:
    return len(task.workflow_json) + len(task.extra_json) + len(task.id)
