"""run(), resume(), status(), outcomes(), results(): from a plan to what became of every unit."""

from __future__ import annotations

import datetime
import inspect
import platform
import shlex
import signal
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar, Unpack

import msgspec

from prealloc._version import __version__
from prealloc.engines import session
from prealloc.engines.base import Engine, Patience, WorkerCheck, library_files
from prealloc.engines.registry import COMMAND, ENGINES, check_engine, make_engine
from prealloc.engines.session import resume_command, run_session, units_left
from prealloc.errors import Mistake, OptionsError, RunFolderError, WorkerFunctionError
from prealloc.files.lock import RunLock, live_owner
from prealloc.files.paths import PlanPaths, current_folder
from prealloc.model.events import Event, LaneHalted, LanePaused, Note, RunEnded
from prealloc.model.outcome import FINAL, Attempt, Successes
from prealloc.model.plan import Manifest, Plan, PlanFile, Unit
from prealloc.model.policy import RunOptions, RunPolicy, read_run_options
from prealloc.model.task import LightweightTask
from prealloc.store.fold import count_success, fold, tries_of
from prealloc.store.lane_log import read_halts, read_pauses
from prealloc.store.plan_folder import Outline, check_slices, read_outline, read_slice, task_digest
from prealloc.store.results import KEYS, ResultsRow, UnitHistory, UnitOutcome, aggregate, unit_outcome
from prealloc.store.run_folder import OpenRun, RunFile, create_run, plan_digests, refuse_taken
from prealloc.worker.function import check_name

SLOW_IMPORT_S = 5.0
STOPPED = 128
"""Exit codes over this one are of runs that the signal of this difference has stopped."""

T = TypeVar("T")
Observe = Callable[[Event], None]
WorkerName = str | Callable[..., Any]


def run(
    plan: Plan | str | Path,
    worker: WorkerName,
    out: str | Path,
    *,
    engine: str = "local",
    cleanup: WorkerName | None = None,
    reuse: str | Path | None = None,
    observe: Observe | None = None,
    tick: Callable[[], None] | None = None,
    **options: Unpack[RunOptions],
) -> RunEnded:
    """Runs every unit of a plan to its end, in a new run folder.

    `plan` is a plan folder or a Plan, `worker` is "module:function" or a function of an importable module.
    `cleanup`, named like `worker`, is called as cleanup(unit, notes) after an attempt whose process was killed.
    `options` are the fields of RunPolicy: concurrency=8, timeout_s=60, memory_bytes="2GB"; what they do not say, the
    plan's `run_options` say, if it has any. `reuse` names a run whose
    outcomes of the same task bytes, settings, repeat and worker are taken over. `observe` gets every event, `tick` is
    called about ten times per second.

    Returns the summary; its `exit_code` is 0 if every unit is ok. Raises InputError (nothing was changed)
    and CannotGoOn (what finished is kept: `resume` goes on). After a Ctrl-C running tasks get `drain_s`, then
    KeyboardInterrupt is raised; a SIGTERM or SIGHUP goes on to the caller's own handler, or is a SystemExit.
    """
    mistakes: list[Mistake] = []
    own = _gathered(mistakes, lambda: read_run_options(options))
    _gathered(mistakes, lambda: check_engine(engine))
    if cleanup is not None and engine == COMMAND:
        mistakes.append(Mistake("‹cleanup›", "a command cleans up by itself", "have it do so on SIGTERM"))
    if own is None or mistakes:
        _gathered(mistakes, lambda: _try_worker(worker, engine))
        raise OptionsError(mistakes)
    name, import_path = _worker_name(worker, engine)
    cleaner, import_path = _cleaner(cleanup, import_path)
    target = Path(out)
    refuse_taken(target)
    source = plan if isinstance(plan, Plan) else Path(plan)
    outline = _outline(source)
    policy = RunPolicy(**{**(outline.file.run_options or {}), **own})
    # All that may refuse comes before the folder is made.
    reused = list(_take_over(_shards(source, outline), name, OpenRun(Path(reuse)))) if reuse is not None else []
    started = make_engine(engine)
    try:
        if policy.memory_bytes is not None and not started.facts.can_kill:
            hint = "give none, or use ‹engine› local, whose workers are processes that can be ended"
            raise OptionsError([Mistake("‹memory_bytes›", f"the {engine} engine cannot hold tasks to it", hint)])
        lanes = _lanes_to_run(outline, reused)
        notes = _check(started, name, import_path, outline.file, lanes, policy.start_s, observe, tick)
        create_run(
            target,
            source,
            RunFile(
                plan=outline.file.id,
                plan_digests=plan_digests(outline.file),
                worker=name,
                import_path=import_path,
                engine=engine,
                cleanup=cleaner,
                policy=policy,
                created_at=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
                prealloc=__version__,
                python=platform.python_version(),
                platform=platform.platform(),
            ),
        )
        opened = OpenRun(target, outline)
        with RunLock(opened.paths.lock):
            ended = run_session(
                opened,
                started,
                reused=reused,
                notes=notes,
                observe=observe or (lambda event: None),
                tick=tick or (lambda: None),
            )
    finally:
        started.close()
    _pass_on_signal(ended)
    return ended


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
    if opened.file.cleanup is not None:
        check_name(opened.file.cleanup)
    opened.check_slices()
    with RunLock(opened.paths.lock):
        engine = make_engine(opened.file.engine)
        try:
            file = opened.file
            before = fold(opened.paths, opened.units(), reopen_failed=failed)
            lanes = {opened.manifests[shard].lane for shard in units_left(opened, before)}
            start_s = file.policy.start_s
            notes = _check(engine, file.worker, file.import_path, opened.plan, lanes, start_s, observe, tick)
            ended = run_session(
                opened,
                engine,
                before=before,
                reopen_failed=failed,
                notes=notes,
                observe=observe or (lambda event: None),
                tick=tick or (lambda: None),
            )
        finally:
            engine.close()
    _pass_on_signal(ended)
    return ended


def outcomes(run: str | Path, *, by: Sequence[str] = ()) -> Iterator[UnitOutcome]:
    """What became of every planned unit, in the plan's order, during the run and after.

    Of fields in `by` that the plan has kept, each outcome has the value in `kept`; that reads the slices.
    `.read()` of one gives its accepted attempt from the journal, with the worker function's result.
    Raises RunFolderError, PlanError, JournalError.
    """
    opened = OpenRun(Path(run))
    state = fold(opened.paths, opened.units())
    kept = opened.kept({*by} - {*KEYS})
    for (unit, unit_state), type, fields in zip(state.units.items(), opened.types(), kept, strict=True):
        yield unit_outcome(unit, type, opened.manifests[unit.shard].settings, unit_state, fields)


def longest_s(run: str | Path) -> float | None:
    """The seconds that a run takes from its start at the very latest: every timeout, wait and retry used up.

    None if nothing bounds it: without --timeout, or where tasks cannot be ended. Raises RunFolderError, PlanError.
    """
    opened = OpenRun(Path(run))
    engine = make_engine(opened.file.engine)
    try:
        return session.longest_s(opened) if engine.facts.can_kill else None
    finally:
        engine.close()


def unit_history(run: str | Path, unit: str) -> UnitHistory:
    """What became of one unit, `shard/task#repeat`: its settings, and every try at it with error and result.

    Raises OptionsError for what is no unit of the plan, else what outcomes() raises.
    """
    wanted = Unit.parse(unit)
    opened = OpenRun(Path(run))
    state = fold(opened.paths, opened.units())
    if wanted not in state.units:
        shards = list(opened.manifests)
        known = wanted.shard in opened.manifests
        hint = f"`prealloc show {shlex.quote(str(run))} {wanted.shard}` lists its tasks"
        hint = hint if known else f"its shards are {shards[0]} to {shards[-1]}"
        raise OptionsError([Mistake("UNIT", f"{unit} is not in the plan of {run}", hint)])
    found = state.units[wanted]
    manifest = opened.manifests[wanted.shard]
    outcome = found.outcome
    return UnitHistory(
        unit=unit,
        type=next(type for each, type in zip(state.units, opened.types(), strict=True) if each == wanted),
        status=found.status,
        first_status=found.first.status if found.first else found.status,
        settings=manifest.settings,
        lane=manifest.lane,
        tries=tries_of(opened.paths, wanted),
        accepted=outcome.attempt if outcome else None,
        deaths=found.deaths,
        log=str(opened.paths.log(wanted.shard)),
    )


def results(run: str | Path, *, by: Sequence[str] = ()) -> list[ResultsRow]:
    """Success rate, mean score and times of a run, one row per value of the keys in `by`.

    Keys are shard, type, task, repeat, status, the names of settings and those of kept fields. Every planned unit is in
    exactly one row, run or not. Raises OptionsError for an unknown key, else what outcomes() raises.
    """
    return aggregate(list(outcomes(run, by=by)), by)


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
    final: int
    """Units with an outcome that stands: no resume runs them, unless with --failed."""
    census: dict[str, int]
    shards: dict[str, dict[str, int]]
    """The census of each shard."""
    rate: float | None
    """The success rate of the first outcomes so far, see Successes.rate; None if no result says success."""
    success: Successes
    """What that rate is over, and what it leaves out."""
    shard_success: dict[str, Successes]
    """The same of each shard."""
    library_opens: int
    warnings: list[str]
    halted: tuple[LaneHalted, ...]
    """The lanes that start no further task, as of the latest session."""
    waiting: tuple[LanePaused, ...]
    """The lanes on which everybody waits for the server now."""
    resume: str | None
    """The command that runs the rest, if there is one and nobody does."""


def status(run: str | Path) -> RunStatus:
    """How far a run is, during it and after, from any process. Raises RunFolderError, PlanError, JournalError."""
    opened = OpenRun(Path(run))
    state = fold(opened.paths, opened.units())
    owner = live_owner(opened.paths.lock)
    shards: dict[str, dict[str, int]] = {shard: {} for shard in opened.manifests}
    success = Successes()
    shard_success = {shard: Successes() for shard in shards}
    for unit, unit_state in state.units.items():
        counts = shards[unit.shard]
        counts[unit_state.status.value] = counts.get(unit_state.status.value, 0) + 1
        count_success(shard_success[unit.shard], unit_state)
    for each in shard_success.values():
        success.add(each)
    census = state.census()
    lanes = opened.plan.spec.lanes
    due = len(state.due) if opened.file.cleanup is not None and owner is None else 0
    untidied = [f"{due} attempts were not cleaned up after: `prealloc resume` does that first"] if due else []
    return RunStatus(
        run=str(run),
        plan=opened.plan.id,
        worker=opened.file.worker,
        engine=opened.file.engine,
        running=owner is not None,
        master=owner.pid if owner else None,
        sessions=state.sessions,
        units=len(state.units),
        final=sum(census[status] for status in FINAL),
        census=census,
        shards=shards,
        rate=success.rate(success.reported),
        success=success,
        shard_success=shard_success,
        library_opens=state.library_opens,
        warnings=[*opened.warnings, *state.warnings, *untidied],
        halted=read_halts(opened.paths, lanes, state.sessions),
        waiting=read_pauses(opened.paths, lanes, state.sessions, time.time()) if owner is not None else (),
        resume=resume_command(opened, state) if owner is None else None,
    )


def _worker_name(worker: WorkerName, engine: str) -> tuple[str, tuple[str, ...]]:
    """`module:function` and the folders to import it from: the current one, and the function's own root."""
    here = current_folder()
    if isinstance(worker, str):
        if engine != COMMAND:  # there it is a command, which that engine looks at
            check_name(worker)
        return worker, here
    module, name = getattr(worker, "__module__", None), getattr(worker, "__qualname__", "")
    if module in (None, "__main__") or not name or "<" in name:
        raise WorkerFunctionError(
            "workers import the function by name, so it cannot be a lambda, an object, local, or of __main__",
            where=name or repr(worker),
            hint="define it at the top of a module of its own, and pass it or 'module:function'",
        )
    try:
        file = inspect.getsourcefile(inspect.unwrap(worker)) or ""
    except TypeError:  # what is built in has no file
        file = ""
    root = (str(Path(file).resolve().parents[module.count(".")]),) if file else ()
    return f"{module}:{name}", tuple(dict.fromkeys((*here, *root)))


def _check(
    engine: Engine,
    worker: str,
    import_path: tuple[str, ...],
    plan: PlanFile,
    lanes: Collection[str | None],
    start_s: float,
    observe: Observe | None,
    tick: Callable[[], None] | None,
) -> Sequence[str]:
    """What the user should know of the worker; says so if the import takes a while.

    Raises OptionsError if a key of these lanes is not there for it.
    """
    keys: dict[str, list[str]] = {}
    for lane in plan.spec.lanes:
        if lane.key_env is not None and lane.name in lanes:
            keys.setdefault(lane.key_env, []).append(lane.name)
    began = time.monotonic()
    told = False

    def wait() -> None:
        nonlocal told
        if not told and observe is not None and time.monotonic() - began > SLOW_IMPORT_S:
            told = True
            observe(Note(text=f"importing {worker.partition(':')[0]}: --start-timeout gives it {start_s:g} s"))
        if tick is not None:
            tick()

    wanted = WorkerCheck(worker, import_path, _libraries(plan), tuple(keys), Patience(start_s, wait))
    checked = engine.check(wanted)
    if checked.unset:
        raise OptionsError(
            [
                Mistake(
                    f"lane {', '.join(keys[name])} key_env",
                    f"the environment variable {name} is not set where workers run",
                    f"export {name}=... (any value if the worker needs no key)",
                )
                for name in checked.unset
            ]
        )
    return checked.notes


def _pass_on_signal(ended: RunEnded) -> None:
    """Gives the signal that has stopped a run to whoever would have had it without the run.

    So Ctrl-C ends a loop over runs, too, and not only the one that goes on.
    """
    number = ended.exit_code - STOPPED
    if number <= 0:
        return
    if signal.getsignal(number) is signal.SIG_DFL:  # would end the process on the spot, in the middle of its output
        raise SystemExit(ended.exit_code)
    signal.raise_signal(number)


def _lanes_to_run(outline: Outline, reused: Sequence[Attempt]) -> set[str | None]:
    """The lanes of the shards of which something is left to run."""
    done = Counter(attempt.shard for attempt in reused)
    return {outline.manifests[shard.id].lane for shard in outline.file.shards if shard.units > done[shard.id]}


def _cleaner(cleanup: WorkerName | None, import_path: tuple[str, ...]) -> tuple[str | None, tuple[str, ...]]:
    """The cleanup function's name, and the folders that it and the worker are imported from."""
    if cleanup is None:
        return None, import_path
    from prealloc.engines.spawn_launcher import check_elsewhere

    name, its_own = _worker_name(cleanup, "")
    import_path = tuple(dict.fromkeys((*import_path, *its_own)))
    check_elsewhere(
        WorkerCheck(name, import_path), "(unit, notes)"
    )  # a mistake in it is not to be found at the first kill
    return name, import_path


def _libraries(file: PlanFile) -> frozenset[tuple[int, int]]:
    return library_files([library.path for library in file.libraries])


def _gathered(mistakes: list[Mistake], check: Callable[[], T]) -> T | None:
    """What the check gives; None if it has found mistakes, which are added."""
    try:
        return check()
    except OptionsError as error:
        mistakes += error.mistakes
    except WorkerFunctionError as error:
        mistakes.append(Mistake(f"‹worker› {error.where}", error.problem, error.hint or ""))
    return None


def _try_worker(worker: WorkerName, engine: str) -> None:
    """Raises WorkerFunctionError if the worker cannot be run, as far as that can be told if there is no such engine."""
    name, import_path = _worker_name(worker, engine)
    if engine not in ENGINES:
        return
    started = make_engine(engine)
    try:
        started.check(WorkerCheck(name, import_path))
    finally:
        started.close()


_Shards = Iterable[tuple[Manifest, Sequence[LightweightTask]]]


def _outline(plan: Plan | Path) -> Outline:
    """The plan without its tasks; every byte of a folder is checked before anything is made of it."""
    if isinstance(plan, Plan):
        return Outline(plan.file, {shard.id: shard.manifest for shard in plan.shards})
    outline = read_outline(plan)
    check_slices(plan, outline)
    return outline


def _shards(plan: Plan | Path, outline: Outline) -> _Shards:
    """The shards with their tasks, one by one."""
    if isinstance(plan, Plan):
        return ((shard.manifest, shard.tasks) for shard in plan.shards)
    return ((manifest, read_slice(PlanPaths(plan), manifest)) for manifest in outline.manifests.values())


def _take_over(shards: _Shards, worker: str, source: OpenRun) -> Iterator[Attempt]:
    """The final outcomes of another run for units of these shards: same bytes, settings, repeat, worker."""
    if source.file.worker != worker:
        raise RunFolderError(
            f"it was run by {source.file.worker}, not by {worker}",
            where=str(source.paths.root),
            hint="outcomes are only taken over from the same worker function; omit ‹reuse›",
        )
    state = fold(source.paths, source.units())
    known: dict[tuple[bytes, bytes, int], list[Any]] = {}
    for unit, key in _unit_keys((manifest, source.tasks(shard)) for shard, manifest in source.manifests.items()):
        outcome = state.units[unit].latest
        if outcome is not None and outcome.status in FINAL:
            known.setdefault(key, []).append(outcome)
    for unit, key in _unit_keys(shards):
        if known.get(key):
            attempt: Attempt = known[key].pop(0).read()
            yield msgspec.structs.replace(attempt, shard=unit.shard, attempt=1, reused=str(source.paths.root.resolve()))


def _unit_keys(shards: _Shards) -> Iterator[tuple[Unit, tuple[bytes, bytes, int]]]:
    for manifest, tasks in shards:
        settings = msgspec.json.encode(manifest.settings, order="sorted")
        for task in tasks:
            digest = task_digest(task)
            for repeat in range(manifest.repeats):
                yield Unit(manifest.id, task.id, repeat), (digest, settings, repeat)
