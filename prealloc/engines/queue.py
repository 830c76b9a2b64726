"""The shards that wait for their turn to run: each for its lane, and all for a free worker."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple


class WaitingShard(NamedTuple):
    """A shard that has not been launched."""

    id: str
    lane: str | None


class ShardQueue:
    """Gives the shards in the plan's order, except that none overtakes within its lane and none waits for another lane.

    `room` is how many shards of each lane may run at once; shards without a lane never wait for one.
    """

    def __init__(
        self,
        shards: Sequence[WaitingShard],
        room: Mapping[str, int],
        more: Callable[[], Sequence[WaitingShard]] = list,
    ) -> None:
        self._room = dict(room)
        self._lanes: dict[str | None, deque[tuple[int, WaitingShard]]] = {}
        self._more = more
        self._dropped: set[str] = set()
        self._add(shards)

    def _add(self, shards: Sequence[WaitingShard]) -> None:
        for place, shard in enumerate(shards):
            self._lanes.setdefault(shard.lane, deque()).append((place, shard))

    def refill(self) -> bool:
        """At the end: takes in the shards that `more` gives, which are there now. False if there are none."""
        self._add([shard for shard in self._more() if shard.lane not in self._dropped])
        return bool(self)

    def __bool__(self) -> bool:
        return bool(self._lanes)

    def __len__(self) -> int:
        return sum(map(len, self._lanes.values()))

    def next(self) -> WaitingShard | None:
        """The next shard whose lane has room, which it takes; None if there is none now."""
        open_lanes = [lane for lane in self._lanes if lane is None or self._room[lane] > 0]
        if not open_lanes:
            return None
        lane = min(open_lanes, key=lambda lane: self._lanes[lane][0][0])
        _, shard = self._lanes[lane].popleft()
        if not self._lanes[lane]:
            del self._lanes[lane]
        if lane is not None:
            self._room[lane] -= 1
        return shard

    def leave(self, lane: str | None) -> None:
        """A shard of this lane has ended: another may take its place."""
        if lane is not None:
            self._room[lane] += 1

    def drop(self, lane: str) -> None:
        """No further shard of this lane will be given."""
        self._lanes.pop(lane, None)
        self._dropped.add(lane)

    def clear(self) -> None:
        """No further shard will be given."""
        self._more = list
        self._lanes.clear()
