"""Every attempt of a run, in one pass over its journal: for pictures over time, and for the histories of many units."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from prealloc.files.paths import RunPaths
from prealloc.model.plan import Unit
from prealloc.store.fold import Outcome, Tried
from prealloc.store.journal import journal_files, read_lines
from prealloc.store.journal_lines import AttemptLine, LibraryOpen, SessionEnded, SessionStarted


class Session(NamedTuple):
    """A master's time at work. None: not noted by its version, or it was killed."""

    number: int
    started_at: float | None
    ended_at: float | None


class Ended(NamedTuple):
    """An attempt that has ended, and where its line lies."""

    session: int
    place: Outcome
    ended_at: float
    """As far as the journal says: see `_spans`."""

    @property
    def attempt(self) -> AttemptLine:
        return self.place.attempt

    def tried(self, run: str | None = None) -> Tried:
        """The same with its result, read from the journal. Raises JournalError."""
        return Tried(session=self.session, attempt=self.place.read(), run=run)


class Attempts(NamedTuple):
    """All attempts of a run, unit by unit in the order of their numbers, and its sessions."""

    by_unit: dict[Unit, list[Ended]]
    sessions: list[Session]
    library_opens: int
    warnings: list[str]

    def here(self) -> Iterable[Ended]:
        """Those that ran in this run, unit by unit."""
        return (ended for found in self.by_unit.values() for ended in found if ended.attempt.reused is None)


def attempts_of(run: RunPaths) -> Attempts:
    """Reads the journal once. Raises JournalError."""
    found: dict[Unit, list[tuple[int, Outcome]]] = {}
    sessions: dict[int, Session] = {}
    warnings: list[str] = []
    opens = 0
    for file in journal_files(run):
        number = file.writer.session
        for content, _, offset, length in read_lines(file, warnings):
            if isinstance(content, AttemptLine):
                line = content.without_result()
                found.setdefault(line.unit, []).append((number, Outcome(line, file.path, offset, length)))
            elif isinstance(content, SessionStarted):
                sessions[number] = Session(number, content.started_at, None)
            elif isinstance(content, SessionEnded) and number in sessions:
                sessions[number] = sessions[number]._replace(ended_at=content.ended_at)
            elif isinstance(content, LibraryOpen):
                opens += 1
    by_unit = {unit: _spans(tries) for unit, tries in found.items()}
    return Attempts(by_unit, list(sessions.values()), opens, warnings)


def _spans(tries: list[tuple[int, Outcome]]) -> list[Ended]:
    """The attempts of a unit with their ends.

    A line has what the unit has waited in its session so far, with the pauses between attempts. So an attempt's own
    waiting is the growth of that, less the time since the attempt before it.
    """
    tries.sort(key=lambda each: (each[0], each[1].attempt.attempt))
    found: list[Ended] = []
    for session, place in tries:
        line = place.attempt
        waited_s = line.waiting_s
        if found and found[-1].session == session:
            before = found[-1]
            between_s = max(0.0, line.started_at - before.ended_at)
            waited_s = max(0.0, line.waiting_s - before.attempt.waiting_s - between_s)
        ended_at = line.started_at + max(0.0, line.working_s) + max(0.0, waited_s)
        found.append(Ended(session, place, ended_at))
    return found
