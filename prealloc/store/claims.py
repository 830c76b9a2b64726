"""Who runs what in an experiment: several runs may fill it at a time, and no unit is run by two of them.

A run claims units when their shard starts. What it holds stands in its own file `claims`, as records of a fixed size.
The file counts for as long as the run's lock has an owner, so a run that was killed holds nothing. To read the others'
files and to write into one's own is one step, under the experiment's lock.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterable, Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import BinaryIO

import msgspec

from prealloc.errors import CannotGoOn, InputError, Mistake, OptionsError, RunFolderError
from prealloc.files.atomic import must_write
from prealloc.files.faultpoint import Point, fault_point
from prealloc.files.lock import is_held, live_owner, one_at_a_time
from prealloc.files.paths import ExperimentPaths, RunPaths, parse_journal_name
from prealloc.files.regular import Missing, Unusable, open_regular
from prealloc.model.document import UNREADABLE
from prealloc.model.outcome import FINAL
from prealloc.model.plan import Unit
from prealloc.store.experiment import run_identities
from prealloc.store.fold import RunState
from prealloc.store.identity import Facts, Identity, Rule
from prealloc.store.journal import journal_files
from prealloc.store.run_folder import OpenRun

_SESSION, _TAKEN, _BACK = b"=", b"+", b"-"
_RECORD = 33
"""A mark and a unit's digest. The first record has a number of its session instead, which no other has."""
DYING_S = 10.0
"""The workers of a run that was killed are gone sooner."""
_LOOK_S = 0.01
_SETTLED_NS = 10**9
"""A folder's time may be that much too coarse to tell two changes apart."""


class _Line(msgspec.Struct):
    """Enough of a journal's line to see whether it decides a unit."""

    kind: str | None = None
    shard: str = ""
    task: str = ""
    repeat: int = 0
    status: str = ""
    late: bool = False
    again: bool = False


_lines = msgspec.json.Decoder(_Line)


def _opened(path: Path, inside: Path) -> BinaryIO:
    """Another run's file. Raises Missing, or RunFolderError if something else is there."""
    try:
        return open(open_regular(path, inside=inside), "rb")
    except Missing:
        raise
    except Unusable as error:
        hint = "restore it, or move the run out of the experiment"
        raise RunFolderError(str(error), where=str(path), hint=hint) from None


class Held:
    """What a run has claimed and runs now, read on from where it was read to."""

    def __init__(self, run: RunPaths) -> None:
        self._run = run
        self._session = b""
        self._digests: set[bytes] = set()
        self._offset = 0

    def now(self) -> set[bytes]:
        """The digests of these units; none if it has no living master."""
        if live_owner(self._run.lock) is None:
            return set()
        try:
            with _opened(self._run.claims, self._run.root) as file:
                session = file.read(_RECORD)
                if session != self._session:
                    self._session, self._digests, self._offset = session, set(), _RECORD
                file.seek(self._offset)
                new = file.read()
        except Missing:
            return set()
        for start in range(0, len(new) - _RECORD + 1, _RECORD):
            digest = new[start + 1 : start + _RECORD]
            self._digests.add(digest) if new[start : start + 1] == _TAKEN else self._digests.discard(digest)
            self._offset += _RECORD
        return self._digests


class _Other:
    """Another run of the experiment, read on from where it was read to."""

    def __init__(self, paths: RunPaths, rule: Rule, facts: Facts) -> None:
        self.paths = paths
        self._rule = rule
        self._facts = facts
        self._read: dict[str, int] = {}
        """How far each journal file was read."""
        self.held = Held(paths)
        self._at_rest: int | None = None
        """When its journal's folder was changed last, in nanoseconds, if no process is left that writes to it."""

    @cached_property
    def run(self) -> OpenRun:
        return OpenRun(self.paths.root)

    @cached_property
    def _identities(self) -> dict[Unit, Identity]:
        return run_identities(self.run, self._rule, self._facts)

    def decided(self) -> Iterator[Identity]:
        """Units that it has decided since it was asked last."""
        if self.is_at_rest():
            return
        changed = os.stat(self.paths.journal).st_mtime_ns
        is_over = not self.is_dying() and live_owner(self.paths.lock) is None
        for name in sorted(os.listdir(self.paths.journal)):
            if parse_journal_name(name) is not None:
                yield from self._decided_in(self.paths.journal / name)
        if is_over and time.time_ns() - changed > _SETTLED_NS:
            self._at_rest = changed

    def _decided_in(self, path: Path) -> Iterator[Identity]:
        offset = self._read.get(path.name, 0)
        if path.stat().st_size <= offset:
            return
        with _opened(path, path.parent) as file:
            file.seek(offset)
            for raw in file:
                if not raw.endswith(b"\n"):  # it is being written, or was cut
                    break
                self._read[path.name] = offset = offset + len(raw)
                with contextlib.suppress(*UNREADABLE):  # damage decides nothing; who reads that run is told
                    line = _lines.decode(raw)
                    identity = self._identities.get(Unit(line.shard, line.task, line.repeat))
                    if line.kind is None and line.status in FINAL and not (line.late or line.again) and identity:
                        yield identity

    def is_dying(self) -> bool:
        """Its master is gone, and a process of its still writes to the journal."""
        if live_owner(self.paths.lock) is not None:
            return False
        files = journal_files(self.paths)
        latest = max((file.writer.session for file in files), default=0)
        return any(is_held(file.path) for file in files if file.writer.session == latest)

    def is_at_rest(self) -> bool:
        """Nothing has come since all was read: each session begins with a new file in the folder."""
        try:
            return os.stat(self.paths.journal).st_mtime_ns == self._at_rest
        except FileNotFoundError:  # somebody has taken the run out of the experiment
            return True


class Others:
    """The other runs of an experiment: what they have decided, as of the last look, and what they hold now."""

    def __init__(self, experiment: ExperimentPaths, rule: Rule, facts: Facts, but: str | None = None) -> None:
        """`but` is the name of the run that asks, if it is there already."""
        self.decided: set[Identity] = set()
        self.experiment = experiment
        self.but = but
        self._rule = rule
        self._facts = facts
        self._runs: dict[str, _Other] = {}
        self.look()

    def look(self) -> None:
        """Takes in what they have decided since the last look. Raises InputError if one cannot be read."""
        self._meet()
        for run in self._runs.values():
            self.decided.update(run.decided())

    def _meet(self) -> None:
        """Takes in the runs that are new."""
        for number in self.experiment.numbers():
            folder = self.experiment.run(number)
            if folder.name not in self._runs and folder.name != self.but:
                self._runs[folder.name] = _Other(RunPaths(folder), self._rule, self._facts)

    @property
    def factors(self) -> set[str]:
        """The names of all factors that their plans have."""
        return {name for other in self._runs.values() for name in other.run.plan.spec.factor_values}

    def held(self) -> set[bytes]:
        """The digests of the units that they run now, also those that began after the last look."""
        self._meet()
        return set().union(*(run.held.now() for run in self._runs.values() if not run.is_at_rest()))

    def elsewhere(self, state: RunState, identities: Mapping[Unit, Identity]) -> set[Unit]:
        """The open units of a run that are another run's: decided there, or held."""
        held = self.held()
        open_ = (unit for unit, each in state.units.items() if each.open and each.first is None)
        return {
            unit for unit in open_ if identities[unit] in self.decided or (held and identities[unit].digest() in held)
        }

    def refuse_other_rule(self) -> None:
        """Raises OptionsError if one that runs now tells units apart otherwise: both might run some of them."""
        for name, other in self._runs.items():
            if live_owner(other.paths.lock) is not None and Rule.of(other.run.file.policy) != self._rule:
                problem = f"run {name} of the experiment has another value, and is running"
                hint = "give the same values, or wait for its end"
                raise OptionsError([Mistake("‹neutral›, ‹same_task›", problem, hint)])

    def wait_for_the_dead(self) -> None:
        """A worker of a run that was killed may write its last line a moment after the kill."""
        end = time.monotonic() + DYING_S
        runs = [run for run in self._runs.values() if not run.is_at_rest()]
        while any(run.is_dying() for run in runs) and time.monotonic() < end:
            time.sleep(_LOOK_S)


@contextlib.contextmanager
def _too_late() -> Iterator[None]:
    """What is wrong with another run's folder, or the experiment's, is not bad input to a run that has begun."""
    try:
        yield
    except InputError as error:
        raise CannotGoOn(error.problem, where=error.where, hint=error.hint) from error


class Claims:
    """What one run of an experiment holds. The caller has the run's lock."""

    def __init__(self, others: Others, run: RunPaths, identities: Mapping[Unit, Identity]) -> None:
        self._others = others
        self._run = run
        self._identities = identities
        self._mine: dict[str, list[bytes]] = {}
        """By shard, what is held for it."""
        self._waiting: dict[str, list[Identity]] = {}
        """By shard, what others held when it started."""
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND
        try:
            with must_write(run.claims):
                fault_point(Point.CLAIMS_OPEN)
                self._file = open_regular(run.claims, inside=run.root, flags=flags)
        except Unusable as error:
            hint = "remove it if no master is running this run; it holds nothing that is needed"
            raise RunFolderError(str(error), where=str(run.claims), hint=hint) from None
        self._write(_SESSION, [os.urandom(_RECORD - 1)])

    @_too_late()
    def claim(self, shard: str, units: Iterable[Unit]) -> set[Unit]:
        """Which of these units of a shard are to be run now: not decided by another run, nor held by one."""
        asked = {unit: self._identities[unit] for unit in units if not self.is_decided(unit)}
        digests = {unit: identity.digest() for unit, identity in asked.items()}
        with one_at_a_time(self._others.experiment.lock):
            held = self._others.held()
            got = [unit for unit, digest in digests.items() if digest not in held]
            self._write(_TAKEN, (digests[unit] for unit in got))
        fault_point(Point.UNITS_CLAIMED)
        self._waiting[shard] = [asked[unit] for unit, digest in digests.items() if digest in held]
        self._mine.setdefault(shard, []).extend(digests[unit] for unit in got)
        if got:
            self._others.wait_for_the_dead()
            self._others.look()  # what was decided before it was ours to claim
        return {unit for unit in got if not self.is_decided(unit)}

    def leave(self, shard: str) -> None:
        """The shard has ended: what was held for it is decided, or anybody's."""
        if digests := self._mine.pop(shard, []):
            self._write(_BACK, digests)

    @_too_late()
    def again(self) -> list[str]:
        """The shards of which others have held units that they neither hold now nor have decided."""
        if not any(self._waiting.values()):
            return []
        self._others.look()
        held, decided = self._others.held(), self._others.decided
        return [
            shard
            for shard, units in self._waiting.items()
            if any(unit not in decided and unit.digest() not in held for unit in units)
        ]

    @_too_late()
    def elsewhere(self, state: RunState) -> set[Unit]:
        """The open units of this run that are another run's: decided there, or held."""
        self._others.look()
        return self._others.elsewhere(state, self._identities)

    def is_decided(self, unit: Unit) -> bool:
        """Whether another run has decided it, as of the last look."""
        return self._identities[unit] in self._others.decided

    def close(self) -> None:
        """Ends it. What was held is held no more when the run's lock is given back."""
        os.close(self._file)

    def _write(self, mark: bytes, digests: Iterable[bytes]) -> None:
        records = b"".join(mark + digest for digest in digests)
        if records:
            with must_write(self._run.claims):
                fault_point(Point.CLAIMS_WRITE, self._file, records)
                while records:  # nearly always once
                    records = records[os.write(self._file, records) :]


def elsewhere_of(run: OpenRun, state: RunState) -> set[Unit]:
    """The open units of a run that other runs of its experiment have decided or run now; none if it is of none."""
    paths = ExperimentPaths.of_run(run.paths.root)
    if paths is None:
        return set()
    rule, facts = Rule.of(run.file.policy), Facts()
    return Others(paths, rule, facts, run.paths.root.name).elsewhere(state, run_identities(run, rule, facts))
