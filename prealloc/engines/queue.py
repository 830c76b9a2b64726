"""What waits for its turn to run: whole shards, and units that have come back."""

from __future__ import annotations

import heapq
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple

from prealloc.engines.handover import Units


class WaitingShard(NamedTuple):
    """A shard that has not been launched, or units of one that came back."""

    id: str
    lanes: tuple[str, ...]
    """That may serve it, first the one that the plan deals it to; empty: it needs none."""
    units: Units | None = None
    """Those that came back; None: it has not been launched, and is run as the journal has it."""


class Launch(NamedTuple):
    """What is to be launched, and the lane that serves it."""

    shard: WaitingShard
    lane: str | None


class ShardQueue:
    """Gives the shards in the given order, but none waits for a lane while another one can run.

    `room` is how many shards of each lane may run at once; a shard without lanes never waits for one. Of the lanes that
    may serve a shard it gets the planned one if that has room, else the one with the most.
    """

    def __init__(
        self,
        shards: Sequence[WaitingShard],
        room: Mapping[str, int],
        more: Callable[[], Sequence[WaitingShard]] = list,
    ) -> None:
        self._room = dict(room)
        self._more = more
        self._halted: set[str] = set()
        self._closed = False
        self._place = {shard.id: place for place, shard in enumerate(shards)}
        self._waiting: dict[tuple[str, ...], list[tuple[int, WaitingShard]]] = {}
        """Heaps, by the lanes."""
        for shard in shards:
            self.put(shard)

    def refill(self) -> bool:
        """At the end: takes in the shards that `more` gives, which are there now. False if there are none."""
        for shard in [] if self._closed else self._more():
            self.put(shard)
        return bool(self)

    def __bool__(self) -> bool:
        return bool(self._waiting)

    def __len__(self) -> int:
        return sum(map(len, self._waiting.values()))

    def next(self) -> Launch | None:
        """The next shard that a lane has room for, which it takes; None if there is none now."""
        found = [(heap[0][0], lanes) for lanes, heap in self._waiting.items() if self.spare(lanes) > 0]
        if not found:
            return None
        _, lanes = min(found)
        _, shard = heapq.heappop(self._waiting[lanes])
        if not self._waiting[lanes]:
            del self._waiting[lanes]
        lane = self._choose(lanes)
        if lane is not None:
            self._room[lane] -= 1
        return Launch(shard, lane)

    def put(self, shard: WaitingShard) -> bool:
        """Has it wait, with what waits of it already. False: no lane is left that may serve it."""
        if not self.serves(shard.lanes):
            return False
        place = self._place.setdefault(shard.id, len(self._place))
        heap = self._waiting.setdefault(shard.lanes, [])
        for index, (other, waiting) in enumerate(heap):
            if other == place and waiting.units is not None and shard.units is not None:
                heap[index] = (place, waiting._replace(units=waiting.units.with_more(shard.units)))
                return True
        heapq.heappush(heap, (place, shard))
        return True

    def serves(self, lanes: Sequence[str]) -> bool:
        """Whether a shard that these lanes may serve can still be launched, now or later."""
        return not self._closed and (not lanes or any(lane not in self._halted for lane in lanes))

    def spare(self, lanes: Iterable[str]) -> float:
        """How many more shards these lanes have room for."""
        rooms = [0 if lane in self._halted else max(0, self._room[lane]) for lane in lanes]
        return sum(rooms) if rooms else math.inf

    def leave(self, lane: str | None) -> None:
        """A shard of this lane has ended: another may take its place."""
        if lane is not None:
            self._room[lane] += 1

    def waits(self, shard: str) -> bool:
        """Whether anything of this shard waits."""
        place = self._place.get(shard)
        return any(other == place for heap in self._waiting.values() for other, _ in heap)

    def drop(self, lane: str) -> list[str]:
        """The lane gets nothing more. Gives the shards that no other lane may serve: they do not wait any longer."""
        self._halted.add(lane)
        gone = [lanes for lanes in self._waiting if not self.serves(lanes)]
        return [shard.id for lanes in gone for _, shard in self._waiting.pop(lanes)]

    def close(self) -> list[str]:
        """No further shard will be given. Gives those that waited."""
        self._closed = True
        waiting, self._waiting = self._waiting, {}
        return [shard.id for heap in waiting.values() for _, shard in heap]

    def _choose(self, lanes: Sequence[str]) -> str | None:
        """The planned one if it has room; else the one with the most."""
        if not lanes:
            return None
        return lanes[0] if self.spare(lanes[:1]) > 0 else max(lanes, key=lambda lane: self.spare((lane,)))
