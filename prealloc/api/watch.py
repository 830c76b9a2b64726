"""A run as its events, told by its files: for those who look at it from another terminal."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import msgspec

from prealloc.api.experiments import is_experiment
from prealloc.engines.registry import facts_of
from prealloc.engines.session import resume_command, shard_infos, summarise
from prealloc.files.lock import live_owner
from prealloc.files.paths import ExperimentPaths, RunPaths
from prealloc.model.events import (
    AttemptEnded,
    AttemptStarted,
    Event,
    LaneChanged,
    LaneHalted,
    LanePaused,
    LibraryOpenedByWorker,
    LimitReached,
    MemorySampled,
    Note,
    RunEnded,
    RunStarted,
    RunSteered,
    ShardEnded,
    ShardInfo,
    ShardStarted,
    WorkerGone,
    WorkerLost,
)
from prealloc.model.outcome import Status, Successes
from prealloc.model.part import Part
from prealloc.model.plan import Unit
from prealloc.store.asked import Asked, Planned, asked_of
from prealloc.store.claims import elsewhere_of
from prealloc.store.fold import RunState, fold
from prealloc.store.journal import last_session
from prealloc.store.journal_lines import (
    AnyRecord,
    AttemptLine,
    LibraryOpen,
    SessionEnded,
    SessionStarted,
    Steered,
    WorkerEnded,
    WorkerStarted,
)
from prealloc.store.lane_log import notes
from prealloc.store.run_folder import OpenRun
from prealloc.store.tail import JournalTail, LinesTail, decoded
from prealloc.store.telemetry import read_running, samples

MOST_WORKERS = 64
"""Shown as those that may run at once, until the run says how many."""


class Then(NamedTuple):
    """An event, and when it happened: seconds since 1970."""

    at: float
    event: Event


class Watch(Protocol):
    """What tells events of files."""

    exit_code: int | None
    """That of the run, once it has ended; None: of several runs."""

    @property
    def has_ended(self) -> bool: ...
    def news(self) -> list[Then]:
        """What has happened since the last call, in order of time; at the first call, all that is there."""
        ...


def watches(run: str | Path) -> Iterator[Watch]:
    """The watch of a run; of an experiment one after another, as long as any of its runs has a master."""
    if not is_experiment(run):
        yield RunWatch(run)
        return
    experiment = ExperimentPaths(Path(run))
    while True:
        folders = [experiment.run(number) for number in experiment.numbers()]
        living = [folder for folder in folders if live_owner(RunPaths(folder).lock) is not None]
        if not living:
            return
        yield RunWatch(living[0]) if len(living) == 1 else RunsWatch(str(run), living)


class RunWatch:
    """One session of a run, the latest, from its files. Only what was appended is read again.

    Raises RunFolderError, PlanError, JournalError.
    """

    def __init__(self, run: str | Path) -> None:
        self._run = OpenRun(Path(run))
        self._session = last_session(self._run.paths)
        self._tail = JournalTail(self._run.paths, self._session)
        self._samples = LinesTail(self._run.paths.telemetry)
        spec = self._run.plan.spec
        self._notes = [LinesTail(self._run.paths.lane(number)) for number in range(len(spec.lanes))]
        self._types: dict[str, dict[str, str]] = {}
        self._processes: dict[tuple[str, int], WorkerStarted] = {}
        """Workers that are not gone, by shard and incarnation."""
        self._units: Counter[str] = Counter()
        """Left to decide, by shard."""
        self._begun: set[str] = set()
        """Shards that have had a worker."""
        self._pending: list[AttemptLine | AnyRecord] = []
        """Read, and not told yet."""
        self._known: dict[tuple[str, str, int], int] = {}
        """The latest attempt of each unit that has been told to run, or to have ended."""
        self._reopened: set[Unit] = set()
        self._asked = Asked()
        self._course: dict[str, Any] = {}
        self._paused = False
        self._began_at: float | None = None
        self._ended_at: float | None = None
        self.exit_code: int | None = None

    @property
    def has_ended(self) -> bool:
        return self.exit_code is not None

    def news(self) -> list[Then]:
        """As of Watch."""
        alive = live_owner(self._run.paths.lock) is not None  # before the files are read: what they say then is all
        found: list[Then] = []
        if self._began_at is None:
            found.append(self._begin())
        found += sorted(self._appended(), key=lambda then: then.at)
        found += self._running() if alive else []
        found += [Then(0.0, ShardEnded(shard=shard)) for shard in self._done_now()]
        if not alive:
            found += self._end()
        return found

    # -- the start ------------------------------------------------------------------------------------------

    def _begin(self) -> Then:
        """How the session began: earlier ones are folded, as the session itself has done."""
        run = self._run
        self._pending = [told.content for told in self._tail.new()]
        first = next((content for content in self._pending if isinstance(content, SessionStarted)), None)
        before = fold(run.paths, run.units(), before=self._session) if self._session > 1 else None
        self._began_at = (first.started_at if first is not None else None) or time.time()
        part = first.part if first is not None and first.part is not None else Part()
        if before is not None and first is not None:
            self._reopened = {unit for unit, state in before.units.items() if state.first is not None}
        self._asked = asked_of(part, Planned(run.plan, run.manifests, run.names, before))
        self._look_at_course()
        is_one_of_several = ExperimentPaths.of_run(run.paths.root) is not None
        elsewhere = elsewhere_of(run, fold(run.paths, run.units())) if is_one_of_several else set()
        shards = shard_infos(run, self._opened(before, first), self._asked, elsewhere)
        for info in shards:
            self._units[info.id] = info.units - info.not_asked - sum(info.done.values())
        facts = facts_of(run.file.engine)
        return Then(
            self._began_at,
            RunStarted(
                run=str(run.paths.root),
                plan=run.plan.id,
                engine=run.file.engine,
                shards=shards,
                bound_s=None,
                lanes=run.plan.spec.lanes,
                guards_library=facts is not None and facts.guards_library,
                **self._course,
            ),
        )

    def _opened(self, before: RunState | None, first: SessionStarted | None) -> RunState | None:
        """The state before the session, with what it has opened again."""
        if before is None or first is None:
            return before
        for unit, state in before.units.items():
            part = first.part
            again = first.reopen_failed or (part is not None and (part.failed or part.error))
            if again and state.latest is not None and state.latest.attempt.status is not Status.OK:
                state.open = state.open or first.reopen_failed or self._asked(unit, state)
        return before

    def _look_at_course(self) -> None:
        told, policy = read_running(self._run.paths), self._run.policy
        if told is not None and told.session == self._session:
            self._course = {
                "workers": told.workers,
                "concurrency": told.concurrency,
                "concurrency_most": told.concurrency_most,
            }
        elif not self._course:
            workers = policy.workers or min(MOST_WORKERS, len(self._run.plan.shards))
            self._course = {"workers": workers, "concurrency": policy.concurrency}

    # -- what was appended ----------------------------------------------------------------------------------

    def _appended(self) -> Iterator[Then]:
        first, self._pending = self._pending, []
        for content in (*first, *(told.content for told in self._tail.new())):
            yield from self._of_the_journal(content)
        for sample in decoded(samples, self._samples.new()):
            if sample.session == self._session and sample.master:
                memory = MemorySampled(master=sample.master, workers={"": sample.workers}, other=sample.other)
                yield Then(sample.at, memory)
        for tail in self._notes:
            for note in decoded(notes, tail.new()):
                if note.session == self._session:
                    yield Then(note.at, note.told())

    def _of_the_journal(self, content: AttemptLine | AnyRecord) -> Iterator[Then]:
        if isinstance(content, AttemptLine):
            yield from self._ended_attempt(content)
        elif isinstance(content, WorkerStarted):
            self._processes[content.shard, content.incarnation] = content
            self._begun.add(content.shard)
            names = ("shard", "incarnation", "pid", "units", "lane", "host")
            started = ShardStarted(**{name: getattr(content, name) for name in names})
            yield Then(content.started_at or self._began_at or 0.0, started)
        elif isinstance(content, WorkerEnded):
            yield from self._ended_worker(content)
        elif isinstance(content, LibraryOpen):
            yield Then(0.0, LibraryOpenedByWorker(shard=content.shard, path=content.path))
        elif isinstance(content, Steered):
            yield Then(content.at, self._steered(content))
        elif isinstance(content, SessionEnded):
            self._ended_at = content.ended_at

    def _ended_attempt(self, line: AttemptLine) -> Iterator[Then]:
        if line.late or line.reused is not None:
            return
        unit = line.unit
        self._known[line.shard, line.task, line.repeat] = line.attempt
        event = AttemptEnded.of(line, self._type(line.shard, line.task))
        # Another lane may take what one could not serve: that is known when it does, or at the end.
        may_go_on = line.status is Status.INFRA and len(self._run.manifests[line.shard].served_by) > 1
        if may_go_on or unit in self._reopened:
            outcome = event.outcome and not may_go_on
            event = msgspec.structs.replace(event, outcome=outcome, first=unit not in self._reopened)
        if event.outcome:
            self._units[line.shard] -= 1
        yield Then(line.started_at + max(0.0, line.working_s), event)

    def _ended_worker(self, content: WorkerEnded) -> Iterator[Then]:
        started = self._processes.pop((content.shard, content.incarnation), None)
        pid, host = (started.pid, started.host) if started is not None else (0, None)
        if content.lost is not None:
            lost = WorkerLost(shard=content.shard, pid=pid, host=host, reason=content.lost, suspects=0)
            yield Then(content.ended_at, lost)
        yield Then(content.ended_at, WorkerGone(shard=content.shard, pid=pid, host=host))

    def _steered(self, content: Steered) -> Event:
        if content.stopped is not None:
            return LimitReached(reason=content.stopped)
        change = content.change
        if change is not None:
            self._course["workers"] = change.workers or self._course["workers"]
            self._course["concurrency"] = change.concurrency or self._course["concurrency"]
            self._paused = self._paused if change.pause is None else change.pause
        return RunSteered(paused=self._paused, **self._course)

    def _type(self, shard: str, task: str) -> str:
        if shard not in self._types:
            names = self._run.names(shard)
            self._types[shard] = dict(zip(names.ids, names.types, strict=True))
        return self._types[shard].get(task, "")

    # -- what runs, and the end -----------------------------------------------------------------------------

    def _running(self) -> Iterator[Then]:
        told = read_running(self._run.paths)
        if told is None or told.session != self._session:
            return
        for unit in told.units:
            key = unit.shard, unit.task, unit.repeat
            if self._known.get(key, 0) < unit.attempt:
                self._known[key] = unit.attempt
                names = ("shard", "task", "repeat", "attempt")
                yield Then(unit.since, AttemptStarted(**{name: getattr(unit, name) for name in names}))

    def _has_begun(self, shard: str) -> bool:
        """The inline engine begins all of them: it starts no worker for one."""
        facts = facts_of(self._run.file.engine)
        return shard in self._begun or (facts is not None and not facts.can_kill)

    def _done_now(self) -> list[str]:
        done = [shard for shard, left in self._units.items() if left <= 0]
        for shard in done:
            del self._units[shard]
        return done

    def _end(self) -> Iterator[Then]:
        run = self._run
        state = fold(run.paths, run.units())
        elsewhere = elsewhere_of(run, state)
        began, ended = self._began_at or 0.0, self._ended_at
        if ended is None:
            go_on = resume_command(run, state, elsewhere)
            text = "its master is gone without having ended the session"
            yield Then(0.0, Note(text=f"{text}; to go on: {go_on}" if go_on else text))
        else:
            yield from (Then(0.0, ShardEnded(shard=shard)) for shard in self._units if self._has_begun(shard))
        duration_s = max(0.0, (time.time() if ended is None else ended) - began)
        summary = summarise(run, state, self._asked, duration_s=duration_s, elsewhere=elsewhere)
        self.exit_code = summary.exit_code
        yield Then(0.0, summary)


class RunsWatch:
    """Several runs of an experiment that run at a time: each is a row, as if it were a shard."""

    def __init__(self, experiment: str, runs: Sequence[Path]) -> None:
        self._experiment = experiment
        self._runs = {folder.name: RunWatch(folder) for folder in runs}
        self._began = False
        self.exit_code: int | None = None

    @property
    def has_ended(self) -> bool:
        return all(watch.has_ended for watch in self._runs.values())

    def news(self) -> list[Then]:
        """As of Watch."""
        told = {name: watch.news() for name, watch in self._runs.items() if not watch.has_ended}
        found = [each for name, news in told.items() for then in news for each in self._of(name, then)]
        found.sort(key=lambda then: then.at)
        if not self._began:
            self._began = True
            found.insert(0, self._begin([then.event for news in told.values() for then in news]))
        return found

    def _begin(self, events: Iterable[Event]) -> Then:
        began = [event for event in events if isinstance(event, RunStarted)]
        lanes = {lane.name: lane for event in began for lane in event.lanes}
        least = min(event.concurrency for event in began)
        most = max(event.concurrency_most or event.concurrency for event in began)
        return Then(
            0.0,
            RunStarted(
                run=self._experiment,
                plan=began[-1].plan,
                engine=began[-1].engine,
                shards=tuple(map(_as_row, self._runs, began)),
                workers=sum(event.workers for event in began),
                concurrency=least,
                concurrency_most=most if most > least else None,
                bound_s=None,
                lanes=tuple(lanes.values()),
                guards_library=all(event.guards_library for event in began),
            ),
        )

    def _of(self, name: str, then: Then) -> Iterator[Then]:
        """The event with the run in its shard's place."""
        event: Any = then.event
        if isinstance(event, RunEnded):
            yield then._replace(event=ShardEnded(shard=name))
        elif isinstance(event, AttemptStarted | AttemptEnded):
            task = f"{event.shard}/{event.task}"
            yield then._replace(event=msgspec.structs.replace(event, shard=name, task=task))
        elif isinstance(event, ShardStarted | WorkerLost | WorkerGone | LibraryOpenedByWorker):
            yield then._replace(event=msgspec.structs.replace(event, shard=name))
        elif isinstance(event, LaneChanged | LanePaused | LaneHalted | Note):
            yield then


def _as_row(name: str, began: RunStarted) -> ShardInfo:
    """A run in one row."""
    done: Counter[str] = Counter()
    success = Successes()
    for shard in began.shards:
        done.update(shard.done)
        success.add(shard.success)
    units = sum(shard.units - shard.not_asked for shard in began.shards)
    return ShardInfo(id=name, units=units, settings={}, done=dict(done), success=success)
