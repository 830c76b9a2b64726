"""prealloc from Python: plan(), run(), resume(), status(), results(), load_shard(). No pixels here.

    library --read--> plan --ship--> run --fold--> results
"""

from __future__ import annotations

import datetime
import inspect
import os
import platform
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from prealloc._version import __version__
from prealloc.engines.base import library_files
from prealloc.engines.registry import check_engine, make_engine
from prealloc.engines.session import run_session, summarise
from prealloc.errors import LibraryError, Mistake, OptionsError, PlanError, RunFolderError, WorkerFunctionError
from prealloc.files.lock import RunLock, live_owner
from prealloc.files.paths import PlanPaths
from prealloc.model.events import Event, RunEnded
from prealloc.model.outcome import FINAL, Attempt
from prealloc.model.plan import Plan, PlanFile, PlanSpec, Unit
from prealloc.model.policy import RunPolicy
from prealloc.store.fold import fold
from prealloc.store.plan_folder import load_shard, read_plan, read_plan_file, task_digest, write_plan
from prealloc.store.results import ResultsRow, UnitOutcome, aggregate, unit_outcome
from prealloc.store.run_folder import OpenRun, RunFile, create_run, refuse_taken

__all__ = [
    "PlanDiff",
    "RunStatus",
    "diff",
    "load_shard",
    "outcomes",
    "plan",
    "resume",
    "results",
    "run",
    "status",
    "verify",
]

Observe = Callable[[Event], None]
WorkerName = str | Callable[..., Any]


def plan(
    library: str | Path,
    *,
    out: str | Path | None = None,
    force: bool = False,
    difficulty: str | None = None,
    require_workflow: bool = False,
    notes: Callable[[str], None] | None = None,
    progress: Callable[[int, int], None] | None = None,
    **options: Any,
) -> Plan:
    """Reads a task library once and gives every shard its tasks.

    `options` are those of PlanSpec.checked: shards, num_instances, per_type, quotas, stratify, whole, types,
    strategy, repeats, seed, keep, settings. With `out` the plan folder is written too, whole or not at all;
    `force` replaces one that is there. `difficulty` picks the file when `library` is a folder. `notes` gets
    sentences that a user should see, `progress` the bytes read and to read.

    The result holds everything in memory: `plan.shards[i].tasks` are picklable LightweightTasks.
    Raises OptionsError, LibraryError, PlanError; then nothing was written.
    """
    from prealloc.library import read_library
    from prealloc.planning.planner import choose_tasks, shard_ids
    from prealloc.store.build import build_plan

    spec = PlanSpec.checked(**options)
    if out is not None and not force:
        _refuse_taken_plan(Path(out))
    tell = notes or (lambda text: None)
    scanned = read_library(library, difficulty=difficulty, keep=spec.keep, progress=progress)
    if scanned.took:
        tell(scanned.took)
    if scanned.without_workflow:
        count = f"{scanned.without_workflow} of {len(scanned.ids)} tasks have no workflow"
        if require_workflow:
            raise LibraryError(
                count, where=str(library), mend="add the workflows, or plan without --require-workflow"
            )
        tell(count)
    chosen = choose_tasks(spec, scanned.ids, scanned.types)
    tasks = {position: scanned.task(position) for position in sorted({p for shard in chosen for p in shard})}
    shards = [
        (name, [tasks[position] for position in positions])
        for name, positions in zip(shard_ids(spec.shards), chosen, strict=True)
    ]
    made = build_plan(spec, [scanned.info], shards)
    if out is not None:
        write_plan(made, Path(out), force=force)
    return made


def run(
    plan: Plan | str | Path,
    worker: WorkerName,
    out: str | Path,
    *,
    engine: str = "local",
    reuse: str | Path | None = None,
    observe: Observe | None = None,
    tick: Callable[[], None] | None = None,
    **options: Any,
) -> RunEnded:
    """Runs every unit of a plan to its end, in a new run folder.

    `plan` is a plan folder or a Plan, `worker` is "module:function" or a function of an importable module.
    `options` are those of RunPolicy.checked: concurrency, workers, timeout_s, max_wait_s, retries, drain_s,
    memory_limit, fsync. `reuse` names a run whose outcomes of the same task bytes, settings, repeat and
    worker are taken over. `observe` gets every event, `tick` is called about ten times per second.

    Returns the summary; its `exit_code` is 0 if every unit is ok. Raises InputError (nothing was changed)
    and CannotGoOn (what finished is kept: `resume` goes on).
    """
    policy = _together(lambda: RunPolicy.checked(**options), lambda: check_engine(engine))
    name, import_path = _worker_name(worker)
    target = Path(out)
    refuse_taken(target)
    source = plan if isinstance(plan, Plan) else Path(plan)
    file = source.file if isinstance(source, Plan) else read_plan_file(source)
    reused_from = OpenRun(Path(reuse)) if reuse is not None else None
    started = make_engine(engine)
    try:
        notes = started.check(name, import_path, _libraries(file))
        create_run(
            target,
            source,
            RunFile(
                plan=file.id,
                worker=name,
                import_path=import_path,
                engine=engine,
                policy=policy,
                created_at=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
                prealloc=__version__,
                python=platform.python_version(),
                platform=platform.platform(),
            ),
        )
        opened = OpenRun(target)
        with RunLock(opened.paths.lock):
            reused = list(_take_over(opened, reused_from)) if reused_from else []
            return run_session(
                opened,
                started,
                reused=reused,
                notes=notes,
                observe=observe or (lambda event: None),
                tick=tick or (lambda: None),
            )
    finally:
        started.close()


def resume(
    run: str | Path,
    *,
    failed: bool = False,
    observe: Observe | None = None,
    tick: Callable[[], None] | None = None,
) -> RunEnded:
    """Runs the units of a run that have no final outcome; with `failed` also those that are final but not ok.

    The library is not needed. Raises InputError and CannotGoOn, as run() does.
    """
    opened = OpenRun(Path(run))
    with RunLock(opened.paths.lock):
        engine = make_engine(opened.file.engine)
        try:
            notes = engine.check(opened.file.worker, opened.file.import_path, _libraries(opened.plan))
            return run_session(
                opened,
                engine,
                reopen_failed=failed,
                notes=notes,
                observe=observe or (lambda event: None),
                tick=tick or (lambda: None),
            )
        finally:
            engine.close()


def outcomes(run: str | Path) -> Iterator[UnitOutcome]:
    """What became of every planned unit, in the plan's order, during the run and after.

    `.read()` of one gives its accepted attempt from the journal, with the worker function's result.
    Raises RunFolderError, PlanError, JournalError.
    """
    opened = OpenRun(Path(run))
    state = fold(opened.paths, opened.units())
    for shard, manifest in opened.manifests.items():
        types = {task.id: task.type for task in opened.tasks(shard)}
        for repeat in range(manifest.repeats):
            for task, kind in types.items():
                unit = Unit(shard, task, repeat)
                yield unit_outcome(unit, kind, manifest.settings, state.units[unit])


def results(run: str | Path, *, by: Sequence[str] = ()) -> list[ResultsRow]:
    """Success rate, mean score and times of a run, one row per value of the keys in `by`.

    Keys are shard, type, task, repeat, status and the names of settings. Every planned unit is in exactly
    one row, run or not. Raises OptionsError for an unknown key, else what outcomes() raises.
    """
    return aggregate(list(outcomes(run)), by)


class RunStatus(msgspec.Struct, frozen=True, kw_only=True):
    """How far a run is, folded from its journal."""

    run: str
    plan: str
    worker: str
    engine: str
    running: bool
    """A master is at work on it now."""
    master: int | None
    """That master's process id."""
    sessions: int
    units: int
    census: dict[str, int]
    shards: dict[str, dict[str, int]]
    """The census of each shard."""
    library_opens: int
    warnings: list[str]
    resume: str | None
    """The command that runs the rest, if there is one and nobody does."""


def status(run: str | Path) -> RunStatus:
    """How far a run is, during it and after, from any process. Raises RunFolderError, PlanError, JournalError."""
    opened = OpenRun(Path(run))
    state = fold(opened.paths, opened.units())
    owner = live_owner(opened.paths.lock)
    shards: dict[str, dict[str, int]] = {shard: {} for shard in opened.manifests}
    for unit, unit_state in state.units.items():
        counts = shards[unit.shard]
        counts[unit_state.status.value] = counts.get(unit_state.status.value, 0) + 1
    summary = summarise(opened, state, duration_s=0.0)
    return RunStatus(
        run=str(run),
        plan=opened.plan.id,
        worker=opened.file.worker,
        engine=opened.file.engine,
        running=owner is not None,
        master=owner.pid if owner else None,
        sessions=state.sessions,
        units=len(state.units),
        census=summary.census,
        shards=shards,
        library_opens=state.library_opens,
        warnings=state.warnings,
        resume=summary.resume if owner is None else None,
    )


def verify(plan: str | Path, *, library: str | Path | None = None, difficulty: str | None = None) -> PlanFile:
    """Checks a plan folder byte by byte; with `library` also that every task is still in it, as planned.

    Returns its plan.json. Raises PlanError with what differs, LibraryError if the library cannot be read.
    """
    read = read_plan(Path(plan))
    if library is None:
        return read.file
    from prealloc.library import read_library

    scanned = read_library(library, difficulty=difficulty, keep=read.spec.keep)
    position = {id: place for place, id in enumerate(scanned.ids)}
    planned = {task.id: task for shard in read.shards for task in shard.tasks}
    gone = sorted(id for id in planned if id not in position)
    changed = sorted(
        id
        for id, task in planned.items()
        if id in position and task_digest(scanned.task(position[id])) != task_digest(task)
    )
    if gone or changed:
        parts = [_listed(gone, "not in it any more"), _listed(changed, "not as planned")]
        raise PlanError(
            "; ".join(part for part in parts if part),
            where=str(library),
            mend="the plan still runs as it was made; to take over the library's changes, plan again",
        )
    return read.file


class PlanDiff(msgspec.Struct, frozen=True, kw_only=True):
    """What differs between two plans."""

    same: bool
    inputs: dict[str, tuple[Any, Any]]
    """Spec fields and library fingerprints that differ: {name: (in the first, in the second)}."""
    added: list[str]
    removed: list[str]
    moved: dict[str, tuple[list[str], list[str]]]
    """Task ids in both, but in other shards: {id: (shards in the first, shards in the second)}."""
    changed: list[str]
    """Task ids in both, whose type, workflow or kept fields differ."""


def diff(first: str | Path, second: str | Path) -> PlanDiff:
    """What differs between two plan folders: ids in, out and moved, and which input changed. Raises PlanError."""
    one, two = read_plan(Path(first)), read_plan(Path(second))
    places, digests = zip(*(_places(each) for each in (one, two)), strict=True)
    both = sorted(places[0].keys() & places[1].keys())
    return PlanDiff(
        same=one.id == two.id,
        inputs=_different(_inputs(one), _inputs(two)),
        added=sorted(places[1].keys() - places[0].keys()),
        removed=sorted(places[0].keys() - places[1].keys()),
        moved={id: (places[0][id], places[1][id]) for id in both if places[0][id] != places[1][id]},
        changed=[id for id in both if digests[0][id] != digests[1][id]],
    )


def _places(plan: Plan) -> tuple[dict[str, list[str]], dict[str, bytes]]:
    places: dict[str, list[str]] = {}
    digests: dict[str, bytes] = {}
    for shard in plan.shards:
        for task in shard.tasks:
            places.setdefault(task.id, []).append(shard.id)
            digests[task.id] = task_digest(task)
    return places, digests


def _inputs(plan: Plan) -> dict[str, Any]:
    spec: dict[str, Any] = msgspec.to_builtins(plan.spec)
    return {**spec, "library sha256": [library.sha256 for library in plan.libraries]}


def _different(one: Mapping[str, Any], two: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    return {name: (one[name], two[name]) for name in one if one[name] != two[name]}


def _listed(ids: Sequence[str], what: str) -> str:
    shown = ", ".join(ids[:10]) + (f" and {len(ids) - 10} more" if len(ids) > 10 else "")
    return f"{len(ids)} planned tasks are {what}: {shown}" if ids else ""


def _worker_name(worker: WorkerName) -> tuple[str, tuple[str, ...]]:
    """`module:function` and the folders to import it from: the current one, and the function's own root."""
    here = os.getcwd()
    if isinstance(worker, str):
        from prealloc.worker.function import check_name

        check_name(worker)
        return worker, (here,)
    module, name = getattr(worker, "__module__", None), getattr(worker, "__qualname__", "")
    if module in (None, "__main__") or "<" in name:
        raise WorkerFunctionError(
            "workers import the function by name, so it cannot be a lambda, local, or of __main__",
            where=name or repr(worker),
            mend="define it at the top of a module of its own, and pass it or 'module:function'",
        )
    file = inspect.getsourcefile(inspect.unwrap(worker)) or ""
    root = Path(file).resolve().parents[module.count(".")] if file else Path(here)
    return f"{module}:{name}", tuple(dict.fromkeys((here, str(root))))


def _refuse_taken_plan(out: Path) -> None:
    if PlanPaths(out).plan_file.exists() or (out.exists() and not (out.is_dir() and not any(out.iterdir()))):
        raise PlanError("it exists", where=str(out), mend="choose another --out, or replace it with --force")


def _libraries(file: PlanFile) -> frozenset[tuple[int, int]]:
    return library_files([library.path for library in file.libraries])


def _together(policy: Callable[[], RunPolicy], *checks: Callable[[], None]) -> RunPolicy:
    """Runs all checks of options, and raises their mistakes together."""
    mistakes: list[Mistake] = []
    made: RunPolicy | None = None
    for check in (policy, *checks):
        try:
            made = check() or made
        except OptionsError as error:
            mistakes += error.mistakes
    if mistakes or made is None:
        raise OptionsError(mistakes)
    return made


def _take_over(run: OpenRun, source: OpenRun) -> Iterator[Attempt]:
    """The final outcomes of another run for units of this one: same bytes, settings, repeat, worker."""
    if source.file.worker != run.file.worker:
        raise RunFolderError(
            f"it was run by {source.file.worker}, not by {run.file.worker}",
            where=str(source.paths.root),
            mend="outcomes are only taken over from the same worker function; leave --reuse away",
        )
    state = fold(source.paths, source.units())
    known: dict[tuple[bytes, bytes, int], list[Any]] = {}
    for unit, key in _unit_keys(source):
        outcome = state.units[unit].latest
        if outcome is not None and outcome.status in FINAL:
            known.setdefault(key, []).append(outcome)
    for unit, key in _unit_keys(run):
        if known.get(key):
            attempt: Attempt = known[key].pop(0).read()
            yield msgspec.structs.replace(
                attempt, shard=unit.shard, attempt=1, reused=str(source.paths.root.resolve())
            )


def _unit_keys(run: OpenRun) -> Iterator[tuple[Unit, tuple[bytes, bytes, int]]]:
    for shard, manifest in run.manifests.items():
        settings = msgspec.json.encode(manifest.settings, order="sorted")
        for task in run.tasks(shard):
            digest = task_digest(task)
            for repeat in range(manifest.repeats):
                yield Unit(shard, task.id, repeat), (digest, settings, repeat)
