"""The in-flight table: a little shared memory in which a worker shows what it runs, so that a death finds its suspects.

A message could be lost in the very moment that kills its sender, and would cost a system call for every task. A
store to shared memory is there at once and stays when the process is gone. The worker writes, the supervisor reads.

Layout: 64-bit integers, native order. Word 0 is the control thread's last beat (monotonic nanoseconds). Then one row
per slot: position + 1 (0: the slot is free), repeat, attempt, tries, start (monotonic nanoseconds), waited (of the
unit, in microseconds), waiting now (0 or 1), waited before this attempt (microseconds), throttled. The position is
written last and cleared first: a row is valid while it is not 0.
"""

from __future__ import annotations

import mmap
import struct
import time
from typing import NamedTuple

from prealloc.processes.memory import unnamed_memory
from prealloc.worker.job import UnitOrder

_WORD = 8
_ROW = struct.Struct("=9q")
_HEAD = struct.Struct("=q")

_SPARE_SLOTS = 64

NOBODY_ELSE = -1
"""In place of a descriptor: a table that this process keeps to itself."""


class InFlight(NamedTuple):
    """A unit that runs in a worker right now. Times are monotonic seconds."""

    order: UnitOrder
    started_at: float
    waited_s: float
    """Within this attempt, as of the last beat."""
    waiting: bool


class InFlightTable:
    """Either end of an in-flight table. `slots` is the most units that can ever run at once in the worker."""

    def __init__(self, descriptor: int, slots: int) -> None:
        self.slots = slots
        self._memory = mmap.mmap(descriptor, _size_of(slots))

    # -- the worker's side ----------------------------------------------------------------------------------

    def beat(self) -> None:
        """The control thread could run."""
        _HEAD.pack_into(self._memory, 0, time.monotonic_ns())

    def enter(self, slot: int, order: UnitOrder, started_at: float) -> None:
        """This unit starts, in this slot."""
        before = int(order.waited_s * 1e6)
        row = (0, order.repeat, order.attempt, order.tries, int(started_at * 1e9), 0, 0, before, order.throttled)
        at = self._at(slot)
        _ROW.pack_into(self._memory, at, *row)
        _HEAD.pack_into(self._memory, at, order.position + 1)

    def wait(self, slot: int, waited_s: float, waiting: bool) -> None:
        """How long the unit in this slot has waited within this attempt, and whether it does so now."""
        at = self._at(slot) + 5 * _WORD
        _HEAD.pack_into(self._memory, at, int(waited_s * 1e6))
        _HEAD.pack_into(self._memory, at + _WORD, int(waiting))

    def leave(self, slot: int) -> None:
        """The unit in this slot is decided, or will be tried again."""
        _HEAD.pack_into(self._memory, self._at(slot), 0)

    # -- the supervisor's side ------------------------------------------------------------------------------

    @property
    def beat_at(self) -> float:
        """The last beat, in monotonic seconds; 0.0 before the first."""
        beat_ns: int = _HEAD.unpack_from(self._memory, 0)[0]
        return beat_ns / 1e9

    def rows(self) -> list[InFlight]:
        """What runs right now."""
        found = []
        for slot in range(self.slots):
            position, *row = _ROW.unpack_from(self._memory, self._at(slot))
            if position:
                repeat, attempt, tries, started_ns, waited_us, waiting, before_us, throttled = row
                order = UnitOrder(position - 1, repeat, attempt, tries, before_us / 1e6, throttled)
                found.append(InFlight(order, started_ns / 1e9, waited_us / 1e6, bool(waiting)))
        return found

    def close(self) -> None:
        self._memory.close()

    def _at(self, slot: int) -> int:
        return _WORD + slot * _ROW.size


def most_slots(concurrency: int) -> int:
    """The slots of a worker's table that begins with so many at once: it may get more while it runs."""
    return max(_SPARE_SLOTS, 2 * concurrency)


def _size_of(slots: int) -> int:
    return _WORD + slots * _ROW.size


def new_descriptor(slots: int) -> int:
    """The memory of a new table."""
    return unnamed_memory("prealloc-in-flight", _size_of(slots))
