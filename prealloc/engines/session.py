"""One session of a run, first or resumed: from the journal to the shards that are left, and back to the journal."""

from __future__ import annotations

import shlex
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
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
from prealloc.lanes.sharing import shared_lanes
from prealloc.model.events import AttemptEnded, Event, Note, Observer, RunEnded, RunStarted, ShardInfo, Watching
from prealloc.model.outcome import Status
from prealloc.model.plan import Unit
from prealloc.model.policy import LaneLoad, RunPolicy, bound_s
from prealloc.store.fold import Due, RunState, UnitState, by_shard, fold
from prealloc.store.journal import AttemptLine, JournalWriter, SessionEnded, SessionStarted, last_session
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
) -> RunEnded:
    """Runs what has no final outcome. Plan and engine have been checked; the caller holds the run's lock.

    `before` is the fold of what earlier sessions have left, if there were any. `reused` are outcomes taken over from
    another run; they are journalled first. Raises CannotGoOn.
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
    lanes = run.plan.spec.lanes
    limiter: RateLimiter[Any] = RateLimiter(lanes, policy, share=shared_lanes(lanes, run.plan.spec.settings))
    try:
        journal.append(SessionStarted(session=session, reopen_failed=reopen_failed, started_at=time.time()))
        for attempt in reused:
            journal.append(attempt)
        if reused:
            before = fold(run.paths, run.units())
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
        left = units_left(run, before)
        wanted = _wanted(run, left)
        at_once, too_few_files = within_open_files(wanted) if engine.facts.can_kill else (wanted, None)
        shares = _shares(run)
        observer.handle(_run_started(run, engine, before, left, at_once, _bound_s(run, shares, left, at_once)))
        short = [too_few_files] if too_few_files else []
        for text in (*notes, *short, *_tidying(run, before), *(before.warnings if before else ())):
            observer.handle(Note(text=text))
        if before is not None and not left:
            observer.handle(Note(text="nothing is left to run: every unit has its outcome"))
        lane_log = LaneLog(run.paths, lanes, session)
        decided = {unit for unit, state in before.units.items() if state.open and state.first} if before else set()

        def observe_all(event: Event) -> None:
            if lanes:
                lane_log.note(event)
            if decided and isinstance(event, AttemptEnded) and Unit(event.shard, event.task, event.repeat) in decided:
                event = msgspec.structs.replace(event, first=False)
            observer.handle(event)

        ended = conduct(
            engine,
            ShardQueue(
                [WaitingShard(shard, run.manifests[shard].lane) for shard in left],
                {lane.name: shares[lane.name].shards_at_once for lane in lanes},
            ),
            partial(_job, run, shares, before),
            limiter=limiter,
            at_once=at_once,
            policy=policy,
            admission=admission,
            observer=Watching(observe_all, observer.tick) if lanes or decided else observer,
        )
        engine.close()  # now, since the end of the session comes after that of its workers
        journal.append(SessionEnded(session=session, ended_at=time.time()))
    finally:
        engine.close()
        limiter.close()
        journal.close()
    fault_point(Point.SESSION_END)
    summary = summarise(run, fold(run.paths, run.units()), duration_s=time.monotonic() - started)
    if ended.signal is not None:
        summary = _interrupted(summary, ended.signal)
    fault_point(Point.SESSION_TELL)
    observer.handle(summary)
    return summary


def summarise(run: OpenRun, state: RunState, *, duration_s: float) -> RunEnded:
    """The end of a run as its journal shows it."""
    missing = (
        f"{unit} ({unit_state.status.value})"
        for unit, unit_state in state.units.items()
        if unit_state.status is not Status.OK
    )
    shown = tuple(islice(missing, MISSING_SHOWN))
    cells = {shard: manifest.cell for shard, manifest in run.manifests.items()}
    whole = totals(state, run.types(), factors=run.plan.spec.factors, cells=cells)
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
        resume=resume_command(run, state),
    )


def resume_command(run: OpenRun, state: RunState) -> str | None:
    """What runs the rest: plain resume while something is open, else --failed, which opens what is final.

    None if every unit is ok.
    """
    if all(unit.status is Status.OK for unit in state.units.values()):
        return None
    some_open = any(unit.open for unit in state.units.values())
    return f"prealloc resume {shlex.quote(str(run.paths.root))}" + ("" if some_open else " --failed")


def _interrupted(summary: RunEnded, number: int) -> RunEnded:
    return msgspec.structs.replace(summary, exit_code=128 + number)


def units_left(run: OpenRun, before: RunState | None) -> dict[str, int]:
    """Units to run, and attempts to clean up after, by shard; shards with none are left out."""
    if before is None:
        return {entry.id: entry.units for entry in run.plan.shards if entry.units}
    due = [due.unit for due in _due(run, before)]  # their shards come first
    return Counter(unit.shard for unit in (*due, *(unit for unit, state in before.units.items() if state.open)))


def _due(run: OpenRun, before: RunState | None) -> list[Due]:
    """What is to be cleaned up after before anything runs."""
    return before.due if before is not None and run.file.cleanup is not None else []


def _tidying(run: OpenRun, before: RunState | None) -> list[str]:
    count = len(_due(run, before))
    return [f"first, {count} attempts of earlier sessions are cleaned up"] if count else []


def _job(run: OpenRun, shares: Mapping[str | None, _Share], before: RunState | None, shard: str) -> ShardJob:
    """A shard's job, made when it is launched: only what runs is held."""
    manifest = run.manifests[shard]
    names = run.names(shard)
    states = _states(run, before, shard, names.ids)
    return ShardJob(
        manifest=manifest,
        policy=shares[manifest.lane].policy,
        ids=list(zip(names.ids, names.types, strict=True)),
        orders=tuple(
            UnitOrder(position, repeat, state.attempts + 1) for (position, repeat), state in states if state.open
        ),
        deaths={key: state.deaths for key, state in states if state.open and state.deaths},
        due=[due for due in _due(run, before) if due.unit.shard == shard],
    )


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
    """What the shards of a lane get: how many run at once, and the run's policy with each one's part of the tasks."""

    shards_at_once: int
    policy: RunPolicy


def _shares(run: OpenRun) -> dict[str | None, _Share]:
    """By lane; None: without one."""
    policy = run.file.policy
    shards = Counter(manifest.lane for manifest in run.manifests.values())
    shares: dict[str | None, _Share] = {None: _Share(shards[None], policy)}
    for lane in run.plan.spec.lanes:
        at_once, tasks = lane.share(shards[lane.name], policy.concurrency)
        shares[lane.name] = _Share(at_once, msgspec.structs.replace(policy, concurrency=tasks))
    return shares


def _bound_s(run: OpenRun, shares: Mapping[str | None, _Share], left: Mapping[str, int], at_once: int) -> float | None:
    """The run's bound: lane by lane, and those without one."""
    units: dict[str | None, list[int]] = {}
    for shard, count in left.items():
        units.setdefault(run.manifests[shard].lane, []).append(count)
    loads = (
        LaneLoad(mine, min(shares[lane].shards_at_once, at_once), shares[lane].policy.concurrency)
        for lane, mine in units.items()
    )
    return bound_s(run.file.policy, loads, cleanup=run.file.cleanup is not None)


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
    run: OpenRun, engine: Engine, before: RunState | None, left: dict[str, int], at_once: int, bound_s: float | None
) -> RunStarted:
    policy = run.file.policy
    done = by_shard(before.units if before else {}, run.manifests, closed=True)
    return RunStarted(
        run=str(run.paths.root),
        plan=run.plan.id,
        engine=run.file.engine,
        shards=tuple(
            ShardInfo(
                id=entry.id,
                units=entry.units,
                settings=run.manifests[entry.id].settings,
                lane=run.manifests[entry.id].lane,
                done=done[entry.id][0],
                success=done[entry.id][1],
            )
            for entry in run.plan.shards
        ),
        workers=min(at_once, max(1, len(left))),
        concurrency=policy.concurrency,
        bound_s=bound_s if engine.facts.can_kill else None,
        lanes=run.plan.spec.lanes,
        guards_library=engine.facts.guards_library,
    )
