"""What became of each lane's limit over time: JSON lines in the run folder, for people and plots."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec

from prealloc.files.paths import RunPaths
from prealloc.files.regular import Unusable, open_regular
from prealloc.model.events import Event, LaneChanged, LaneHalted
from prealloc.model.lane import Lane


class LaneLog:
    """Appends what the lanes' events say, under the lane's number."""

    def __init__(
        self, paths: RunPaths, lanes: Sequence[Lane], session: int, *, now: Callable[[], float] = time.time
    ) -> None:
        self._files = _files(paths, lanes)
        self._session = session
        self._now = now

    def note(self, event: Event) -> None:
        """Writes a line if the event is about a lane: the event, and the wall clock in seconds since 1970.

        A disk that refuses it stops nothing: the journal, which is needed, will meet it too.
        """
        if isinstance(event, LaneChanged | LaneHalted):
            head = {"at": round(self._now(), 3), "session": self._session}
            line = msgspec.json.encode({**head, **msgspec.to_builtins(event)})
            with contextlib.suppress(OSError), self._files[event.lane].open("ab") as file:
                file.write(line + b"\n")


def read_halts(paths: RunPaths, lanes: Sequence[Lane], session: int) -> tuple[LaneHalted, ...]:
    """The lanes that have halted in a session, as far as their logs are there: nothing rests on them."""
    found = []
    for lane, path in _files(paths, lanes).items():
        for line in _lines(path):
            with contextlib.suppress(msgspec.DecodeError, UnicodeDecodeError, RecursionError):
                told = _halts.decode(line)
                if (told.lane, told.session) == (lane, session):
                    found.append(LaneHalted(lane=lane, reason=told.reason, mend=told.mend))
                    break
    return tuple(found)


class _Halt(msgspec.Struct, frozen=True, tag_field="event", tag="lane_halted"):
    lane: str
    reason: str
    mend: str = "mend what its tasks need"
    session: int = 1


_halts = msgspec.json.Decoder(_Halt)


def _files(paths: RunPaths, lanes: Sequence[Lane]) -> dict[str, Path]:
    return {lane.name: paths.lane(number) for number, lane in enumerate(lanes)}


def _lines(path: Path) -> list[bytes]:
    try:
        with open(open_regular(path, inside=path.parent), "rb") as file:
            return file.read().split(b"\n")
    except (Unusable, OSError):
        return []
