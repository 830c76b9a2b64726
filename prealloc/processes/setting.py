"""Settings of the whole process that several threads may want changed at the same time."""

from __future__ import annotations

import gc
import os
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Generic, TypeVar

T = TypeVar("T", bound=float)


class ProcessSetting(Generic[T]):
    """`with SWITCH_INTERVAL.at(1e-5):` sets it for the block.

    Blocks may overlap in any order: the `best` of what they and the process want is set, at last what was before them.
    """

    def __init__(self, read: Callable[[], T], write: Callable[[T], object], best: Callable[[list[T]], T]) -> None:
        self._read = read
        self._write = write
        self._best = best
        self._values: list[T] = []
        """What was set before, and what is wanted now."""
        self._lock = threading.Lock()
        os.register_at_fork(after_in_child=self._forget)

    def _forget(self) -> None:
        """In a forked process: the threads that had wanted something are not there, nor who held the lock."""
        self._lock = threading.Lock()
        if self._values:
            self._write(self._values[0])
            self._values = []

    @contextmanager
    def at(self, value: T) -> Iterator[None]:
        """Has this value, or a better one, within the block."""
        with self._lock:
            self._values = [*(self._values or [self._read()]), value]
            self._write(self._best(self._values))
        try:
            yield
        finally:
            with self._lock:
                if value in self._values:  # else this process was forked within the block
                    self._values.remove(value)
                    self._write(self._best(self._values))
                if len(self._values) == 1:
                    self._values = []


COLLECTING = ProcessSetting(gc.isenabled, lambda on: gc.enable() if on else gc.disable(), min)
"""Whether Python looks for cycles to free: not while many objects are made of which none is garbage."""
SWITCH_INTERVAL = ProcessSetting(sys.getswitchinterval, sys.setswitchinterval, min)
"""Seconds that a thread waits for the interpreter before it asks for it."""
