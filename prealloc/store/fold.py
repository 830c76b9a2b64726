"""Folds the journal into what became of each unit. Progress, resume, results and exit code all come from here."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Set
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from prealloc.files.paths import RunPaths
from prealloc.model.outcome import FINAL, Attempt, Status, Successes
from prealloc.model.part import Part
from prealloc.model.plan import Unit
from prealloc.model.usage import Usage, added
from prealloc.store.journal import JournalFile, Line, damaged, journal_files, read_line, read_lines
from prealloc.store.journal_lines import (
    AnyRecord,
    AttemptBegan,
    AttemptLine,
    AttemptLost,
    AttemptRecord,
    CleanedUp,
    LibraryOpen,
    Noted,
    Reopened,
    SessionStarted,
    SoloDeath,
    Steered,
    WorkerEnded,
    WorkerStarted,
    with_result,
)


class Outcome(msgspec.Struct, frozen=True, gc=False):
    """An attempt that counts, without its result, which stays in the journal until asked for."""

    attempt: AttemptLine
    path: Path
    offset: int
    length: int

    def line(self) -> AttemptLine:
        """Its line of the journal, with the result as JSON text. Raises JournalError."""
        return read_line(self.path, self.offset, self.length)

    def read(self) -> Attempt:
        """The whole attempt, with its result. Raises JournalError."""
        return with_result(self.line())


class UnitState(msgspec.Struct, gc=False):
    """What the journal says of one unit."""

    first: Outcome | None = None
    """The first final outcome: success rates look at this one."""
    latest: Outcome | None = None
    """The final outcome that counts. It differs from `first` only after `resume --failed`."""
    unfinished: Outcome | None = None
    """The latest ending that is not final: retries used up (infra), or stopped (cancelled)."""
    attempts: int = 0
    """The highest attempt number seen."""
    deaths: int = 0
    """Workers this unit has killed while alone in them."""
    open: bool = True
    """Whether a resume runs it."""
    usage: Usage | None = None
    """Tokens by model, of all its attempts in this run: failed, killed and late ones too."""
    infra_retries: int = 0
    """Attempts that were made because the one before met an infrastructure error."""
    lane_retries: int = 0
    """... because its server asked to come back later, or its lane had halted and another one took the unit."""
    lost_workers: int = 0
    """Attempts that were made again because the worker died: of the attempt itself, or of one beside it."""
    lost_a_try: bool = False
    """Whether infrastructure or a lost worker has cost it a try before its first outcome. Lanes and users cost none."""

    @property
    def status(self) -> Status:
        return outcome.attempt.status if (outcome := self.outcome) is not None else Status.NOT_RUN

    @property
    def outcome(self) -> Outcome | None:
        return self.latest or self.unfinished


class Due(NamedTuple):
    """An attempt that somebody must clean up after: it has not come back to do so itself."""

    unit: Unit
    attempt: int
    notes: tuple[Any, ...]
    """What it recorded with `ctx.note`."""


class Untidied:
    """Which attempts have begun and not been cleaned up after, from the journal's lines in any order."""

    def __init__(self) -> None:
        self._notes: dict[tuple[Unit, int], list[Any]] = {}
        self._clean: set[tuple[Unit, int]] = set()

    def take_in(self, line: AttemptLine | AnyRecord) -> None:
        """Lines that say nothing of it are passed over."""
        if not isinstance(line, AttemptRecord):
            return
        attempt = (line.unit, line.attempt)
        if isinstance(line, AttemptBegan):
            self._notes.setdefault(attempt, [])
        elif isinstance(line, Noted):
            self._notes.setdefault(attempt, []).append(line.value)
        elif isinstance(line, CleanedUp):
            self._clean.add(attempt)

    def owe(self, due: Due) -> None:
        """An attempt of which that is known already."""
        self._notes.setdefault((due.unit, due.attempt), list(due.notes))

    def due(self) -> list[Due]:
        """Those that are left, in the order in which they began."""
        return [Due(*attempt, tuple(notes)) for attempt, notes in self._notes.items() if attempt not in self._clean]


class RunState(msgspec.Struct, frozen=True):
    """The fold of a whole journal: every planned unit, in the plan's order."""

    units: dict[Unit, UnitState]
    sessions: int
    library_opens: int
    warnings: list[str]
    due: list[Due] = []
    """What --cleanup has to clean up after. Without --cleanup it says nothing: then no attempt's end is noted."""
    part: Part | None = None
    """What the latest session was asked for; None: everything that was open."""
    stopped: str | None = None
    """The limit of the whole run that the latest session has reached."""
    paused: bool = False
    """`prealloc ctl` has paused the latest session."""

    def leaving(self, units: Set[Unit]) -> RunState:
        """The same, with these units as if they had never run here: another run has them."""
        if not units:
            return self
        mine = {unit: UnitState() if unit in units else state for unit, state in self.units.items()}
        return msgspec.structs.replace(self, units=mine)

    def census(self) -> dict[str, int]:
        """Units by status, all eight of them; together every unit of the plan."""
        counted = Counter(state.status for state in self.units.values())
        return {status.value: counted.get(status, 0) for status in Status}


def count_success(successes: Successes, state: UnitState) -> None:
    """Counts a unit in."""
    if state.first is not None:
        successes.count_first(state.first.attempt.status, state.first.attempt.success)
    if (outcome := state.outcome) is not None:
        successes.count_latest(outcome.attempt.success, outcome.attempt.unclear)


def used_by(state: RunState | None) -> Usage | None:
    """Tokens by model, of all attempts of a run."""
    return added(unit.usage for unit in state.units.values()) if state is not None else None


def by_shard(
    units: Mapping[Unit, UnitState], shards: Iterable[str], *, closed: bool = False
) -> dict[str, tuple[dict[str, int], Successes]]:
    """Of each shard: its units by status (if `closed`, those that no resume runs), and what their results say."""
    return by_row(((unit.shard, state) for unit, state in units.items()), shards, closed=closed)


def by_row(
    units: Iterable[tuple[str, UnitState]], rows: Iterable[str], *, closed: bool = False
) -> dict[str, tuple[dict[str, int], Successes]]:
    """The same of rows of any kind, each unit with the row that it is in."""
    found: dict[str, tuple[dict[str, int], Successes]] = {row: ({}, Successes()) for row in rows}
    for row, state in units:
        counts, success = found[row]
        count_success(success, state)
        if not (closed and state.open):
            counts[state.status.value] = counts.get(state.status.value, 0) + 1
    return found


def fold(run: RunPaths, units: Iterable[Unit], *, before: int | None = None) -> RunState:
    """The state of every planned unit; as it was before a session, where that is named.

    Raises JournalError for lines that are damaged or not foreseen.
    """
    folding = _Folding(units)
    warnings: list[str] = []
    for file in journal_files(run):  # by session, the supervisor's file first
        if before is not None and file.writer.session >= before:
            break
        folding.go_on_to(file.writer.session)
        for line in read_lines(file, warnings):
            folding.take_in(file, line)
    return folding.state(warnings)


class _Folding:
    """Takes the lines of a journal in."""

    def __init__(self, units: Iterable[Unit]) -> None:
        self._states = {unit: UnitState() for unit in units}
        self._untidied = Untidied()
        self._opens = 0
        self._session = 0
        self._part: Part | None = None
        self._stopped: str | None = None
        self._paused = False
        self._turned_away: list[tuple[UnitState, int]] = []
        """Attempts of this session that have ended by infrastructure, and for good as far as their lines say."""

    def go_on_to(self, session: int) -> None:
        """What follows is of this session."""
        if session != self._session:
            self._count_turned_away()
        self._session = session

    def take_in(self, file: JournalFile, line: Line) -> None:
        """Raises JournalError if the line is not foreseen."""
        content = line.content
        if isinstance(content, AttemptLine):
            state = self._planned(file, line, content.unit)
            _count(state, content)
            if not (content.late or content.again):
                if content.status is Status.INFRA:
                    self._turned_away.append((state, content.attempt))
                _accept(state, Outcome(content.without_result(), file.path, line.offset, line.length))
        elif isinstance(content, SoloDeath):
            state = self._planned(file, line, content.unit)
            state.deaths += 1
            state.attempts = max(state.attempts, content.attempt)
            _lose(state, content.attempt)
        elif isinstance(content, AttemptRecord):
            _count_record(self._planned(file, line, content.unit), content)
            self._untidied.take_in(content)
        elif isinstance(content, LibraryOpen):
            self._opens += 1
        elif isinstance(content, Reopened):
            reopen([self._planned(file, line, Unit(*unit)) for unit in content.units])
        else:
            self._take_in_course(content)

    def state(self, warnings: list[str]) -> RunState:
        """What all lines together say."""
        self._count_turned_away()
        return RunState(
            self._states,
            self._session,
            self._opens,
            warnings,
            self._untidied.due(),
            self._part,
            self._stopped,
            self._paused,
        )

    def _planned(self, file: JournalFile, line: Line, unit: Unit) -> UnitState:
        state = self._states.get(unit)
        if state is None:
            raise damaged(file.path, line.number, f"the plan has no unit {unit}")
        return state

    def _take_in_course(self, content: AnyRecord) -> None:
        """How the session goes on."""
        if isinstance(content, SessionStarted):
            self._part, self._stopped, self._paused = content.part, None, False
            if content.reopen_failed:
                reopen(self._states.values())
        elif isinstance(content, Steered):
            self._stopped = content.stopped or self._stopped
            if content.change is not None and content.change.pause is not None:
                self._paused = content.change.pause

    def _count_turned_away(self) -> None:
        """Of these attempts, those after which another lane has tried again. The others had no retry left."""
        for state, attempt in self._turned_away:
            if state.attempts > attempt:
                state.lane_retries += 1
            else:
                _lose(state, attempt)
        self._turned_away.clear()


def at_work(run: RunPaths) -> dict[str, int]:
    """Workers that have begun and not ended, by the host that they are on. Raises JournalError."""
    latest = [file for file in journal_files(run) if file.writer.shard is None][-1:]
    hosts: dict[tuple[str, int], str | None] = {}
    for file in latest:
        for line in read_lines(file):
            if isinstance(line.content, WorkerStarted):
                hosts[line.content.shard, line.content.incarnation] = line.content.host
            elif isinstance(line.content, WorkerEnded):
                hosts.pop((line.content.shard, line.content.incarnation), None)
    return dict(Counter(host for host in hosts.values() if host is not None))


class Tried(msgspec.Struct, frozen=True, kw_only=True):
    """One try at a unit that has ended."""

    session: int
    attempt: Attempt
    run: str | None = None
    """Of an experiment: the name of the run."""


def tries_of(run: RunPaths, unit: Unit) -> list[Tried]:
    """All tries at a unit, with their results, in the order of their numbers. Raises JournalError."""
    return tries_in(run, unit.shard, unit).get(unit, [])


def tries_in(run: RunPaths, shard: str, only: Unit | None = None) -> dict[Unit, list[Tried]]:
    """The same of every unit of a shard, or of one alone: the shard's files are read once."""
    found: dict[Unit, list[Tried]] = {}
    for file in journal_files(run):
        for line in read_lines(file) if file.writer.shard in (None, shard) else ():
            if isinstance(line.content, AttemptLine) and line.content.shard == shard:
                unit = line.content.unit
                if only in (None, unit):
                    attempt = with_result(read_line(file.path, line.offset, line.length))
                    found.setdefault(unit, []).append(Tried(session=file.writer.session, attempt=attempt))
    for tries in found.values():
        tries.sort(key=lambda tried: (tried.session, tried.attempt.attempt))
    return found


def _count(state: UnitState, line: AttemptLine) -> None:
    state.attempts = max(state.attempts, line.attempt)
    if line.usage is not None and line.reused is None:  # else it counts in the run that it is from
        state.usage = line.usage if state.usage is None else added((state.usage, line.usage))
    if line.again:
        state.lane_retries += line.retry == "lane"
        state.infra_retries += line.retry != "lane"
        if line.retry != "lane":
            _lose(state, line.attempt)


def _count_record(state: UnitState, line: AttemptRecord) -> None:
    state.attempts = max(state.attempts, line.attempt)
    if isinstance(line, AttemptLost):
        state.usage = added((state.usage, line.usage))
        state.lost_workers += 1
        _lose(state, line.attempt)


def _lose(state: UnitState, attempt: int) -> None:
    """This try is lost. Numbers of attempts only grow, so what comes after the first outcome is known by them."""
    before = state.first is None or attempt < state.first.attempt.attempt
    state.lost_a_try = state.lost_a_try or before


def _accept(state: UnitState, outcome: Outcome) -> None:
    """Takes an ending in. Within a session a unit's endings may come in any order: attempt numbers decide."""
    if outcome.attempt.status not in FINAL:
        if state.unfinished is None or outcome.attempt.attempt > state.unfinished.attempt.attempt:
            state.unfinished = outcome
    elif state.open:  # else it is fenced: the unit was decided before this came
        state.first = state.first or outcome
        state.latest = outcome
        state.open = False


def reopen(states: Iterable[UnitState]) -> None:
    """Those of them that have ended and are not ok are open again."""
    for state in states:
        if state.latest is not None and state.latest.attempt.status is not Status.OK:
            state.open = True
            state.deaths = 0
