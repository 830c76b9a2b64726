"""One session of a run, first or resumed: from the journal to the shards that are left, and back to the journal."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial

import msgspec

from prealloc.engines.base import Engine, RunSetup, ShardJob
from prealloc.engines.master import Observe, conduct
from prealloc.engines.memory import default_workers
from prealloc.files.atomic import must_write
from prealloc.files.faultpoint import Point, fault_point
from prealloc.model.events import Note, RunEnded, RunStarted, ShardInfo
from prealloc.model.outcome import Attempt, Status
from prealloc.model.plan import Unit
from prealloc.model.policy import bound_s
from prealloc.store.fold import RunState, UnitState, fold
from prealloc.store.journal import JournalWriter, SessionStarted, last_session
from prealloc.store.run_folder import OpenRun
from prealloc.worker.job import UnitOrder

MISSING_SHOWN = 20


def run_session(
    run: OpenRun,
    engine: Engine,
    *,
    reopen_failed: bool = False,
    reused: Sequence[Attempt] = (),
    notes: Sequence[str] = (),
    observe: Observe,
    tick: Callable[[], None] = lambda: None,
) -> RunEnded:
    """Runs what has no final outcome. The engine has been checked; the caller holds the run's lock.

    `reused` are outcomes taken over from another run; they are journalled first. Raises CannotGoOn.
    """
    started = time.monotonic()
    for folder in (run.paths.logs, run.paths.lanes):
        with must_write(folder):
            fault_point(Point.SESSION_FOLDERS)
            folder.mkdir(exist_ok=True)  # nothing in them is needed: somebody may have cleaned up
    policy = run.file.policy
    session = last_session(run.paths) + 1
    journal = JournalWriter(run.paths.supervisor_journal(session), fsync=policy.fsync)
    try:
        journal.append(SessionStarted(session=session, reopen_failed=reopen_failed))
        for attempt in reused:
            journal.append(attempt)
        fresh = session == 1 and not reused
        before = None if fresh else fold(run.paths, run.units())
        setup = RunSetup(
            paths=run.paths,
            session=session,
            worker=run.file.worker,
            import_path=run.file.import_path,
            policy=policy,
            journal=journal,
        )
        engine.open(setup)
        left = _units_left(run, before)
        biggest = max((manifest.slice.bytes for manifest in run.manifests.values()), default=0)
        at_once = policy.workers or default_workers(max(1, len(left)), biggest)
        observe(_run_started(run, engine, before, left, at_once))
        for text in (*notes, *(before.warnings if before else ())):
            observe(Note(text=text))
        ended = conduct(
            engine,
            _jobs(run, before, list(left)),
            at_once=at_once,
            policy=policy,
            observe=observe,
            tick=tick,
        )
    finally:
        engine.close()
        journal.close()
    fault_point(Point.SESSION_END)
    summary = summarise(run, fold(run.paths, run.units()), duration_s=time.monotonic() - started)
    if ended.signal is not None:
        summary = _interrupted(summary, ended.signal)
    fault_point(Point.SESSION_TELL)
    observe(summary)
    return summary


def summarise(run: OpenRun, state: RunState, *, duration_s: float) -> RunEnded:
    """The end of a run as its journal tells it."""
    census = state.census()
    missing = [
        f"{unit.shard}/{unit.task}#{unit.repeat} ({unit_state.status.value})"
        for unit, unit_state in state.units.items()
        if unit_state.status is not Status.OK
    ]
    return RunEnded(
        run=str(run.paths.root),
        census=census,
        library_opens=state.library_opens,
        duration_s=round(duration_s, 3),
        exit_code=1 if missing else 0,
        missing=tuple(missing[:MISSING_SHOWN]),
        resume=_resume_command(run, state) if missing else None,
    )


def _resume_command(run: OpenRun, state: RunState) -> str:
    """What runs the rest: plain resume while something is open, else --failed, which opens what is final."""
    some_open = any(unit.open for unit in state.units.values())
    return f"prealloc resume {run.paths.root}" + ("" if some_open else " --failed")


def _interrupted(summary: RunEnded, number: int) -> RunEnded:
    return msgspec.structs.replace(summary, exit_code=128 + number)


def _units_left(run: OpenRun, before: RunState | None) -> dict[str, int]:
    """Units to run, by shard; shards with none are left out."""
    if before is None:
        return {entry.id: entry.units for entry in run.plan.shards if entry.units}
    left: dict[str, int] = {}
    for unit, state in before.units.items():
        if state.open:
            left[unit.shard] = left.get(unit.shard, 0) + 1
    return left


def _jobs(run: OpenRun, before: RunState | None, shards: Sequence[str]) -> Iterator[ShardJob]:
    """The shards' jobs, made one by one as they are launched: only what runs is held."""
    for shard in shards:
        tasks = run.tasks(shard)
        ids = [(task.id, task.type) for task in tasks]
        states = _states(run, before, shard, [task for task, _ in ids])
        yield ShardJob(
            manifest=run.manifests[shard],
            ids=ids,
            orders=tuple(
                UnitOrder(position, repeat, state.attempts + 1) for (position, repeat), state in states if state.open
            ),
            deaths={key: state.deaths for key, state in states if state.open and state.deaths},
            tasks=partial(run.tasks, shard),
        )


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
    run: OpenRun, engine: Engine, before: RunState | None, left: dict[str, int], at_once: int
) -> RunStarted:
    policy = run.file.policy
    done: dict[str, dict[str, int]] = {}
    succeeded: dict[str, int] = {}
    for unit, state in before.units.items() if before else ():
        if not state.open and state.latest is not None:
            counts = done.setdefault(unit.shard, {})
            counts[state.status.value] = counts.get(state.status.value, 0) + 1
            if state.latest.success is not None:
                succeeded[unit.shard] = succeeded.get(unit.shard, 0) + state.latest.success
    return RunStarted(
        run=str(run.paths.root),
        plan=run.plan.id,
        engine=run.file.engine,
        shards=tuple(
            ShardInfo(
                id=entry.id,
                units=entry.units,
                settings=run.manifests[entry.id].settings,
                done=done.get(entry.id, {}),
                succeeded=succeeded.get(entry.id),
            )
            for entry in run.plan.shards
        ),
        workers=min(at_once, max(1, len(left))),
        concurrency=policy.concurrency,
        bound_s=bound_s(policy, list(left.values()), at_once) if engine.facts.can_kill else None,
        guards_library=engine.facts.guards_library,
    )
