"""One session of a run, first or resumed: from the journal to the shards that are left, and back to the journal."""

from __future__ import annotations

import math
import shlex
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence, Set
from contextlib import contextmanager
from itertools import islice
from typing import Any, NamedTuple

import msgspec

from prealloc.engines.admission import Admission, default_workers, within_open_files
from prealloc.engines.base import Engine, RunSetup, ShardJob
from prealloc.engines.log import refuse_odd_logs
from prealloc.engines.master import conduct
from prealloc.engines.queue import ShardQueue, WaitingShard
from prealloc.errors import CannotGoOn, PlanError
from prealloc.files.atomic import must_write
from prealloc.files.faultpoint import Point, fault_point
from prealloc.lanes.limiter import RateLimiter
from prealloc.model.events import (
    AttemptEnded,
    Event,
    Note,
    Observer,
    RunEnded,
    RunStarted,
    ShardEnded,
    ShardInfo,
    ShardShare,
    Watching,
)
from prealloc.model.lane import Lane
from prealloc.model.outcome import Status
from prealloc.model.plan import Unit
from prealloc.model.policy import LaneLoad, RunPolicy, ShardWork, bound_s
from prealloc.model.where import options_in
from prealloc.store.claims import Claims
from prealloc.store.fold import Due, RunState, UnitState, by_shard, fold
from prealloc.store.journal import (
    AttemptLine,
    JournalWriter,
    SessionEnded,
    SessionStarted,
    incarnations,
    last_session,
)
from prealloc.store.lane_log import LaneLog
from prealloc.store.run_folder import OpenRun
from prealloc.store.totals import totals
from prealloc.worker.job import UnitOrder

MISSING_SHOWN = 20


@contextmanager
def _under_way() -> Iterator[None]:
    """A plan that is damaged during its run is not bad input: it is too late to refuse it."""
    try:
        yield
    except PlanError as error:
        hint = "restore the file as it was, then `prealloc resume`; what finished is kept"
        raise CannotGoOn(error.problem, where=error.where, hint=hint) from error


@_under_way()
def run_session(
    run: OpenRun,
    engine: Engine,
    *,
    before: RunState | None = None,
    reopen_failed: bool = False,
    reused: Sequence[AttemptLine] = (),
    notes: Sequence[str] = (),
    observer: Observer,
    claims: Claims | None = None,
) -> RunEnded:
    """Runs what has no final outcome. Plan and engine have been checked; the caller holds the run's lock.

    `before` is the fold of what earlier sessions have left, if there were any. `reused` are outcomes taken over from
    another run; they are journalled first. With `claims` it is a run of an experiment, and leaves alone what others
    have decided or hold. Raises CannotGoOn.
    """
    started = time.monotonic()
    for folder in (run.paths.logs, run.paths.lanes):
        with must_write(folder):
            fault_point(Point.SESSION_FOLDERS)
            folder.mkdir(exist_ok=True)  # nothing in them is needed: somebody may have cleaned up
    refuse_odd_logs(run.paths.logs)
    policy = run.file.policy
    session = last_session(run.paths) + 1
    journal = JournalWriter(run.paths.supervisor_journal(session), fsync=policy.fsync)
    try:
        journal.append(SessionStarted(session=session, reopen_failed=reopen_failed, started_at=time.time()))
        for attempt in reused:
            journal.append(attempt)
        if reused or (claims is not None and before is None):
            before = fold(run.paths, run.units())
        limiter: RateLimiter[Any] = RateLimiter(run.plan.spec.lanes, policy)
        admission = Admission(_biggest(run))
        setup = RunSetup(
            paths=run.paths,
            session=session,
            worker=run.file.worker,
            import_path=run.file.import_path,
            limiter=limiter,
            policy=policy,
            admission=admission,
            journal=journal,
            cleanup=run.file.cleanup,
        )
        engine.open(setup)
        left = units_left(run, before, claims)
        wanted = _wanted(run, left)
        at_once, too_few_files = within_open_files(wanted) if engine.facts.can_kill else (wanted, None)
        shares = _shares(run)
        elsewhere = claims.elsewhere(before) if claims is not None and before is not None else set()
        observer.handle(_run_started(run, engine, before, left, at_once, shares, elsewhere))
        short = [too_few_files] if too_few_files else []
        for text in (*notes, *short, *_tidying(run, before), *(before.warnings if before else ())):
            observer.handle(Note(text=text))
        if before is not None and not left:
            observer.handle(Note(text="nothing is left to run: every unit has its outcome"))
        lanes = run.plan.spec.lanes
        lane_log = LaneLog(run.paths, lanes, session)
        decided = {unit for unit, state in before.units.items() if state.open and state.first} if before else set()

        def observe_all(event: Event) -> None:
            if lanes:
                lane_log.note(event)
            if claims is not None and isinstance(event, ShardEnded):
                claims.leave(event.shard)
            if decided and isinstance(event, AttemptEnded) and Unit(event.shard, event.task, event.repeat) in decided:
                event = msgspec.structs.replace(event, first=False)
            observer.handle(event)

        ended = conduct(
            engine,
            ShardQueue(
                [WaitingShard(shard, run.manifests[shard].lane) for shard in left],
                {lane.name: shares[lane.name].shards_at_once for lane in lanes},
                lambda: [WaitingShard(each, run.manifests[each].lane) for each in claims.again()] if claims else [],
            ),
            _Jobs(run, shares, before, claims, observer).make,
            limiter=limiter,
            at_once=at_once,
            policy=policy,
            admission=admission,
            observer=Watching(observe_all, observer.tick) if lanes or decided or claims else observer,
        )
        engine.close()  # now, since the end of the session comes after that of its workers
        journal.append(SessionEnded(session=session, ended_at=time.time()))
    finally:
        engine.close()
        journal.close()
    fault_point(Point.SESSION_END)
    state = fold(run.paths, run.units())
    elsewhere = claims.elsewhere(state) if claims is not None else set()
    summary = summarise(run, state, duration_s=time.monotonic() - started, elsewhere=elsewhere)
    if ended.signal is not None:
        summary = _interrupted(summary, ended.signal)
    fault_point(Point.SESSION_TELL)
    observer.handle(summary)
    return summary


def summarise(run: OpenRun, state: RunState, *, duration_s: float, elsewhere: Set[Unit] = frozenset()) -> RunEnded:
    """The end of a run as its journal shows it. `elsewhere` are the units that other runs of its experiment have."""
    state = state.leaving(elsewhere)
    missing = (
        f"{unit} ({unit_state.status.value})"
        for unit, unit_state in state.units.items()
        if unit_state.status is not Status.OK and unit not in elsewhere
    )
    shown = tuple(islice(missing, MISSING_SHOWN))
    cells = {shard: manifest.cell for shard, manifest in run.manifests.items()}
    whole = totals(state, run.types(), factors=run.plan.spec.factor_values, cells=cells, leave_out=elsewhere)
    return RunEnded(
        run=str(run.paths.root),
        census=state.census(),
        rate=whole.success.rate(whole.success.reported),
        success=whole.success,
        types=whole.types,
        factors=whole.factors,
        errors=whole.errors,
        further_errors=whole.further_errors,
        slowest=whole.slowest,
        library_opens=state.library_opens,
        duration_s=round(duration_s, 3),
        exit_code=1 if shown else 0,
        missing=shown,
        resume=resume_command(run, state, elsewhere),
        elsewhere=len(elsewhere),
    )


def resume_command(run: OpenRun, state: RunState, elsewhere: Set[Unit] = frozenset()) -> str | None:
    """What runs the rest: plain resume while something is open, else --failed, which opens what is final.

    None if every unit is ok that is not `elsewhere`.
    """
    mine = [each for unit, each in state.units.items() if unit not in elsewhere]
    if all(unit.status is Status.OK for unit in mine):
        return None
    some_open = any(unit.open for unit in mine)
    return f"prealloc resume {shlex.quote(str(run.paths.root))}" + ("" if some_open else " --failed")


def _interrupted(summary: RunEnded, number: int) -> RunEnded:
    return msgspec.structs.replace(summary, exit_code=128 + number)


def units_left(run: OpenRun, before: RunState | None, claims: Claims | None = None) -> dict[str, int]:
    """Units to run, and attempts to clean up after, by shard; shards with none are left out."""
    if before is None:
        return {entry.id: entry.units for entry in run.plan.shards if entry.units}
    due = [due.unit for due in _due(run, before)]  # their shards come first
    left = (unit for unit, state in before.units.items() if state.open and not _decided_elsewhere(claims, unit, state))
    return Counter(unit.shard for unit in (*due, *left))


def _decided_elsewhere(claims: Claims | None, unit: Unit, state: UnitState) -> bool:
    """Whether another run of the experiment has decided a unit. One that this run reopens is its own."""
    return claims is not None and state.first is None and claims.is_decided(unit)


def _due(run: OpenRun, before: RunState | None) -> list[Due]:
    """What is to be cleaned up after before anything runs."""
    return before.due if before is not None and run.file.cleanup is not None else []


def _tidying(run: OpenRun, before: RunState | None) -> list[str]:
    count = len(_due(run, before))
    return [f"first, {count} attempts of earlier sessions are cleaned up"] if count else []


class _Jobs:
    """Makes a shard's job when it is launched: only what runs is held."""

    def __init__(
        self,
        run: OpenRun,
        shares: Mapping[str | None, _Share],
        before: RunState | None,
        claims: Claims | None,
        observer: Observer,
    ) -> None:
        self._run = run
        self._shares = shares
        self._before = before
        self._claims = claims
        self._observer = observer
        self._elsewhere: dict[str, set[Unit]] = {}
        """By shard, for those that have been asked for: what is left to other runs of the experiment."""

    def make(self, shard: str) -> ShardJob | None:
        """None: other runs have all of it."""
        run, manifest = self._run, self._run.manifests[shard]
        names = run.names(shard)
        states = _states(run, self._before, shard, names.ids)
        due = [due for due in _due(run, self._before) if due.unit.shard == shard]
        again = shard in self._elsewhere  # for what others held when it came first
        if self._claims is not None:
            mine = self._claim(self._claims, shard, [(_unit(shard, names.ids, key), each) for key, each in states])
            states = [(key, each) for key, each in states if _unit(shard, names.ids, key) in mine]
            due = [] if again else due
            if not states and not due:
                return None
        return ShardJob(
            manifest=manifest,
            policy=self._shares[manifest.lane].in_cell(manifest.cell),
            ids=list(zip(names.ids, names.types, strict=True)),
            orders=tuple(
                UnitOrder(position, repeat, state.attempts + 1) for (position, repeat), state in states if state.open
            ),
            deaths={key: state.deaths for key, state in states if state.open and state.deaths},
            due=due,
            copies=run.copies(shard),
            earlier=incarnations(run.paths, shard) if again else 0,
            timeouts=run.timeouts(shard),
        )

    def _claim(self, claims: Claims, shard: str, states: Sequence[tuple[Unit, UnitState]]) -> set[Unit]:
        """The open units of a shard that this run is to run now: at first all that are free, then what became free."""
        open_ = {unit: state for unit, state in states if state.open}
        own = set[Unit]() if shard in self._elsewhere else {unit for unit, each in open_.items() if each.first}
        wanted = self._elsewhere.get(shard, open_.keys() - own)  # what it has decided once is this run's own
        mine = claims.claim(shard, [unit for unit in open_ if unit in wanted])
        self._elsewhere[shard] = wanted - mine
        self._observer.handle(ShardShare(shard=shard, units=len(states) - len(self._elsewhere[shard])))
        return own | mine


def _unit(shard: str, ids: Sequence[str], key: tuple[int, int]) -> Unit:
    position, repeat = key
    return Unit(shard, ids[position], repeat)


def longest_s(run: OpenRun) -> float | None:
    """The longest that the run can take from its start, if it gets the workers that it may have; None: unbounded."""
    left = units_left(run, None)
    return _bound_s(run, _shares(run), left, _wanted(run, left))


def _wanted(run: OpenRun, left: Mapping[str, int]) -> int:
    """How many shards may run at once, as far as memory goes."""
    shards = max(1, len(left))
    return min(run.file.policy.workers or default_workers(shards, _biggest(run)), shards)


def _biggest(run: OpenRun) -> int:
    """The bytes of the largest slice."""
    return max((manifest.slice.bytes for manifest in run.manifests.values()), default=0)


class _Share(NamedTuple):
    """What the shards of a lane, or those without one, get of it and of the run's policy."""

    lane: Lane | None
    shards: int
    policy: RunPolicy

    @property
    def shards_at_once(self) -> int:
        return self.shards if self.lane is None else self.lane.share(self.shards, 1)[0]

    def in_cell(self, cell: Mapping[str, Any]) -> RunPolicy:
        """The policy of a shard of this cell: as many tasks at once as the lane leaves it."""
        said = options_in(self.policy.where, cell)
        if self.lane is not None:
            _, said["concurrency"] = self.lane.share(self.shards, self.policy.concurrency, said.get("concurrency"))
        return msgspec.structs.replace(self.policy, **said)


def _shares(run: OpenRun) -> dict[str | None, _Share]:
    """By lane; None: without one."""
    policy = run.file.policy
    shards = Counter(manifest.lane for manifest in run.manifests.values())
    lanes: list[Lane | None] = [None, *run.plan.spec.lanes]
    names = {lane.name if lane is not None else None: lane for lane in lanes}
    return {name: _Share(lane, shards[name], policy) for name, lane in names.items()}


def _bound_s(run: OpenRun, shares: Mapping[str | None, _Share], left: Mapping[str, int], at_once: int) -> float | None:
    """The run's bound: lane by lane, and those without one."""
    work: dict[str | None, list[ShardWork]] = {}
    for shard, count in left.items():
        manifest = run.manifests[shard]
        policy = shares[manifest.lane].in_cell(manifest.cell)
        work.setdefault(manifest.lane, []).append(
            ShardWork(_longest_timeouts(run, policy, shard, count), policy.concurrency)
        )
    loads = (LaneLoad(shards, max(1, min(shares[lane].shards_at_once, at_once))) for lane, shards in work.items())
    return bound_s(run.file.policy, loads, cleanup=run.file.cleanup is not None)


def _longest_timeouts(run: OpenRun, policy: RunPolicy, shard: str, units: int) -> Counter[float | None]:
    """The longest timeouts of so many units of a shard, and how many have each."""
    manifest, own = run.manifests[shard], run.timeouts(shard)
    left = manifest.slice.tasks - len(own)
    there: list[tuple[float | None, int]] = [(policy.timeout_s, left), *Counter(own.values()).items()]
    found: Counter[float | None] = Counter()
    for timeout_s, count in sorted(there, key=lambda each: math.inf if each[0] is None else each[0], reverse=True):
        taken = min(count * manifest.repeats, units)
        found[timeout_s] += taken
        units -= taken
    return +found


def _states(
    run: OpenRun, before: RunState | None, shard: str, ids: Sequence[str]
) -> list[tuple[tuple[int, int], UnitState]]:
    """The units of a shard in the order they start: every task once, then every task again."""
    untouched = UnitState()
    return [
        ((position, repeat), before.units[Unit(shard, task, repeat)] if before else untouched)
        for repeat in range(run.manifests[shard].repeats)
        for position, task in enumerate(ids)
    ]


def _run_started(
    run: OpenRun,
    engine: Engine,
    before: RunState | None,
    left: dict[str, int],
    at_once: int,
    shares: Mapping[str | None, _Share],
    elsewhere: Set[Unit],
) -> RunStarted:
    tasks = [shares[each.lane].in_cell(each.cell).concurrency for each in run.manifests.values()]
    least, most = min(tasks, default=run.file.policy.concurrency), max(tasks, default=0)
    not_here = Counter(unit.shard for unit in elsewhere)
    done = by_shard(before.units if before else {}, run.manifests, closed=True)
    return RunStarted(
        run=str(run.paths.root),
        plan=run.plan.id,
        engine=run.file.engine,
        shards=tuple(
            ShardInfo(
                id=entry.id,
                units=entry.units - not_here[entry.id],
                settings=run.manifests[entry.id].settings,
                lane=run.manifests[entry.id].lane,
                done=done[entry.id][0],
                success=done[entry.id][1],
            )
            for entry in run.plan.shards
        ),
        workers=min(at_once, max(1, len(left))),
        concurrency=least,
        concurrency_most=most if most > least else None,
        bound_s=_bound_s(run, shares, left, at_once) if engine.facts.can_kill else None,
        lanes=run.plan.spec.lanes,
        guards_library=engine.facts.guards_library,
    )
