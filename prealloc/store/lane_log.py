"""What became of each lane's limit over time: JSON lines in the run folder, for people and plots.

Nothing rests on them.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import msgspec

from prealloc.files.paths import RunPaths
from prealloc.model.events import Event, LaneChanged, LaneHalted, LanePaused
from prealloc.model.lane import Lane
from prealloc.store.tail import content_of, decoded


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
    goes_on: bool = False
    mend: str = "fix what its tasks need"
    """The name of `hint` in the runs of earlier versions."""

    def told(self) -> LaneChanged | LanePaused | LaneHalted:
        """The event that it was written for."""
        if self.event == "lane_changed":
            window_s = self.window_s or 1.0
            return LaneChanged(lane=self.lane, limit=self.limit or 0.0, window_s=window_s, reason=self.reason)
        if self.event == "lane_paused":
            return LanePaused(lane=self.lane, wait_s=self.wait_s or 0.0, http_status=self.http_status)
        return LaneHalted(lane=self.lane, reason=self.reason, hint=self.hint or self.mend, goes_on=self.goes_on)


notes = msgspec.json.Decoder(LaneNote)


def read_notes(paths: RunPaths, lanes: Sequence[Lane]) -> list[LaneNote]:
    """All that the logs of the lanes say, in order of time, as far as they are there."""
    files = _files(paths, lanes).items()
    found = (
        note for lane, path in files for note in decoded(notes, content_of(path).split(b"\n")) if note.lane == lane
    )
    return sorted(found, key=lambda note: note.at)


def read_halts(paths: RunPaths, lanes: Sequence[Lane], session: int) -> tuple[LaneHalted, ...]:
    """The lanes that have halted in a session, each with what has halted it first."""
    first: dict[str, LaneHalted] = {}
    for note in read_notes(paths, lanes):
        if note.session == session and isinstance(event := note.told(), LaneHalted):
            first.setdefault(note.lane, event)
    return tuple(first[lane.name] for lane in lanes if lane.name in first)


def read_pauses(paths: RunPaths, lanes: Sequence[Lane], session: int, now: float) -> tuple[LanePaused, ...]:
    """The lanes whose server has asked for a pause that is not over at `now`, by the wall clock."""
    longest: dict[str, LanePaused] = {}
    for note in read_notes(paths, lanes):
        if note.session == session and isinstance(event := note.told(), LanePaused):
            left_s = round(note.at + event.wait_s - now, 3)
            if left_s > (longest[note.lane].wait_s if note.lane in longest else 0.0):
                longest[note.lane] = msgspec.structs.replace(event, wait_s=left_s)
    return tuple(longest.values())


def _files(paths: RunPaths, lanes: Sequence[Lane]) -> dict[str, Path]:
    return {lane.name: paths.lane(number) for number, lane in enumerate(lanes)}
