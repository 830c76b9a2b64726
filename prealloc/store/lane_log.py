"""What became of each lane's limit over time: JSON lines in the run folder, for people and plots."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Sequence

import msgspec

from prealloc.files.paths import RunPaths
from prealloc.model.events import Event, LaneChanged, LaneHalted
from prealloc.model.lane import Lane


class LaneLog:
    """Appends what the lanes' events say, under the lane's number."""

    def __init__(self, paths: RunPaths, lanes: Sequence[Lane], *, now: Callable[[], float] = time.time) -> None:
        self._files = {lane.name: paths.lane(number) for number, lane in enumerate(lanes)}
        self._now = now

    def note(self, event: Event) -> None:
        """Writes a line if the event is about a lane: the event, and the wall clock in seconds since 1970.

        A disk that refuses it stops nothing: the journal, which is needed, will meet it too.
        """
        if isinstance(event, LaneChanged | LaneHalted):
            line = msgspec.json.encode({"at": round(self._now(), 3), **msgspec.to_builtins(event)})
            with contextlib.suppress(OSError), self._files[event.lane].open("ab") as file:
                file.write(line + b"\n")
