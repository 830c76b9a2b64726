"""What became of each lane's limit over time: JSON lines in the run folder, for people and plots."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Literal, TypeVar

import msgspec

from prealloc.files.paths import RunPaths
from prealloc.files.regular import Unusable, open_regular
from prealloc.model.document import UNREADABLE
from prealloc.model.events import Event, LaneChanged, LaneHalted, LanePaused
from prealloc.model.lane import Lane


class LaneLog:
    """Appends what the lanes' events say, under the lane's number."""

    def __init__(self, paths: RunPaths, lanes: Sequence[Lane], session: int) -> None:
        self._files = _files(paths, lanes)
        self._session = session

    def note(self, event: Event) -> None:
        """Writes a line if the event is about a lane: the event, and the wall clock in seconds since 1970.

        A disk that refuses it stops nothing: the journal, which is needed, will meet it too.
        """
        if isinstance(event, LaneChanged | LanePaused | LaneHalted):
            head = {"at": round(time.time(), 3), "session": self._session}
            line = msgspec.json.encode({**head, **msgspec.to_builtins(event)})
            with contextlib.suppress(OSError), self._files[event.lane].open("ab") as file:
                file.write(line + b"\n")


def read_halts(paths: RunPaths, lanes: Sequence[Lane], session: int) -> tuple[LaneHalted, ...]:
    """The lanes that have halted in a session, as far as their logs are there: nothing rests on them."""
    first = {told.lane: told for told in reversed(list(_told(paths, lanes, session, _halts)))}
    return tuple(
        LaneHalted(
            lane=lane.name,
            reason=first[lane.name].reason,
            hint=first[lane.name].hint or first[lane.name].mend,
            goes_on=first[lane.name].goes_on,
        )
        for lane in lanes
        if lane.name in first
    )


def read_pauses(paths: RunPaths, lanes: Sequence[Lane], session: int, now: float) -> tuple[LanePaused, ...]:
    """The lanes whose server has asked for a pause that is not over at `now`, by the wall clock. As above."""
    longest: dict[str, LanePaused] = {}
    for told in _told(paths, lanes, session, _pauses):
        left_s = round(told.at + told.wait_s - now, 3)
        if left_s > (longest[told.lane].wait_s if told.lane in longest else 0.0):
            longest[told.lane] = LanePaused(lane=told.lane, wait_s=left_s, http_status=told.http_status)
    return tuple(longest.values())


class LaneNote(msgspec.Struct, frozen=True, kw_only=True):
    """One line of a lane's log."""

    at: float
    lane: str
    event: Literal["lane_changed", "lane_paused", "lane_halted"]
    session: int = 1
    limit: float | None = None
    """Requests per `window_s` seconds, from now on."""
    window_s: float | None = None
    wait_s: float | None = None
    """The pause that the server asked for."""
    http_status: int | None = None
    reason: str = ""
    hint: str = ""


def read_notes(paths: RunPaths, lanes: Sequence[Lane]) -> list[LaneNote]:
    """All that the logs of the lanes say, in order of time, as far as they are there: nothing rests on them."""
    found = []
    for lane, path in _files(paths, lanes).items():
        for line in _lines(path):
            with contextlib.suppress(*UNREADABLE):
                note = _notes.decode(line)
                if note.lane == lane:
                    found.append(note)
    return sorted(found, key=lambda note: note.at)


def _told(paths: RunPaths, lanes: Sequence[Lane], session: int, lines: msgspec.json.Decoder[T]) -> Iterator[T]:
    for lane, path in _files(paths, lanes).items():
        for line in _lines(path):
            with contextlib.suppress(*UNREADABLE):
                told = lines.decode(line)
                if (told.lane, told.session) == (lane, session):
                    yield told


class _Halt(msgspec.Struct, frozen=True, tag_field="event", tag="lane_halted"):
    lane: str
    reason: str
    hint: str = ""
    goes_on: bool = False
    mend: str = "fix what its tasks need"  # the name of `hint` in the runs of earlier versions
    session: int = 1


class _Pause(msgspec.Struct, frozen=True, tag_field="event", tag="lane_paused"):
    at: float
    lane: str
    wait_s: float
    http_status: int | None = None
    session: int = 1


T = TypeVar("T", _Halt, _Pause)

_halts = msgspec.json.Decoder(_Halt)
_pauses = msgspec.json.Decoder(_Pause)
_notes = msgspec.json.Decoder(LaneNote)


def _files(paths: RunPaths, lanes: Sequence[Lane]) -> dict[str, Path]:
    return {lane.name: paths.lane(number) for number, lane in enumerate(lanes)}


def _lines(path: Path) -> list[bytes]:
    try:
        with open(open_regular(path, inside=path.parent), "rb") as file:
            return file.read().split(b"\n")
    except (Unusable, OSError):
        return []
