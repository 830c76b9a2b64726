"""run() and resume(): from a plan to the end of every unit."""

from __future__ import annotations

import datetime
import inspect
import os
import platform
import signal
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, closing, nullcontext, suppress
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Unpack

import msgspec

from prealloc._version import __version__
from prealloc.api.estimates import past_task_times
from prealloc.api.experiments import go_on, is_experiment
from prealloc.api.joining import Joining, claims_of
from prealloc.api.keywords import (
    RunKeywords,
    changes,
    cost_mistakes,
    fixed_mistakes,
    read_run_keywords,
    refuse_memory,
    spent_mistakes,
)
from prealloc.api.on_end import on_end_mistakes, told_at_the_end
from prealloc.api.provenance import other_code, provenance_of
from prealloc.engines import session
from prealloc.engines.base import Engine, Patience, WorkerCheck
from prealloc.engines.registry import ENGINES, check_engine, engine_options_of, make_engine
from prealloc.engines.session import run_session, units_left
from prealloc.errors import InputError, Mistake, OptionsError, RunFolderError, WorkerFunctionError, gathered, refuse
from prealloc.files.lock import RunLock
from prealloc.files.paths import PlanPaths, current_folder
from prealloc.model.events import Note, Observe, Observer, RunEnded, observer_of
from prealloc.model.options import read_options
from prealloc.model.part import Part
from prealloc.model.plan import Plan, PlanFile, SliceRef, Unit
from prealloc.model.policy import EngineOptions, RunPolicy, WorkerOptions
from prealloc.model.prices import Price, read_prices
from prealloc.model.where import refuse_where
from prealloc.store.asked import Asked, Planned, asked_of
from prealloc.store.fold import fold, used_by
from prealloc.store.identity import Facts, Identity, Rule, identities
from prealloc.store.manifests import Outline, read_outline
from prealloc.store.plan_folder import check_slices
from prealloc.store.reuse import TakenOver, finished, take_over
from prealloc.store.run_folder import COMMAND, OpenRun, RunFile, create_run, known_name, plan_digests, refuse_taken
from prealloc.store.slices import Names, Slice
from prealloc.store.spools import unheard
from prealloc.worker.function import check_name
from prealloc.worker.guard import library_files

if TYPE_CHECKING:
    from prealloc.model.task import LightweightTask

SLOW_IMPORT_S = 5.0
STOPPED = 128
"""Exit codes over this one are of runs that the signal of this difference has stopped."""

WorkerName = str | Callable[..., Any]
Reuse = str | Path | Sequence[str | Path] | None
"""The runs that `run` takes outcomes over from."""


def run(
    plan: Plan | str | Path,
    worker: WorkerName,
    out: str | Path | None = None,
    *,
    experiment: str | Path | None = None,
    config: str | Path | None = None,
    engine: str | Engine = "local",
    cleanup: WorkerName | None = None,
    on_end: str | None = None,
    worker_name: str | None = None,
    reuse: Reuse = None,
    history: Sequence[str | Path] = (),
    prices: Mapping[str, Any] | None = None,
    observe: Observe | None = None,
    mistakes: Sequence[Mistake] = (),
    **options: Unpack[RunKeywords],
) -> RunEnded:
    """Runs every unit of a plan to its end, in the new run folder `out`, or in a new run of an `experiment`.

    `plan` is a plan folder or a Plan, `worker` is "module:function" or a function of an importable module, or a class,
    of which each worker process makes one object.
    `cleanup`, named like `worker`, is called as cleanup(unit, notes) after an attempt whose process was killed.
    `on_end` is a command that gets the summary, as JSON on stdin, when the run has ended.
    `engine` is a name, or an engine, which is closed at the end. `options` are the fields of RunPolicy:
    concurrency=8, timeout_s=60, memory_bytes="2GB"; what they do not say, the plan's `run_options` say, if it has any.
    Those of Part name a part of the run: only="model=o3", type="math", limit=2; the rest stays open for resume().
    `experiment` is a folder, made if there is none: of the plan's units those run that no run in it has decided, and
    that none is running now. If none is left, no run is made. `config` is the file that the plan was made from: the
    experiment keeps a copy.
    `reuse` names a run, or several, whose outcomes are taken over for units with the same task, settings, factors,
    repeat and worker; `worker_name` is what the worker is known by there, without it `module:function`.
    `history` are runs of the past: the shards that take longest by the times of their tasks there start first.
    `prices` are dollars per million tokens, by model: {"o3": {"input": 2, "output": 8, "cache_read": 0.5}}. The run
    keeps them, and `max_cost` goes by them.
    `observe` is an Observer, such as a reporter, or a function that gets every event. `mistakes` are the caller's own,
    to be raised with those found here.

    Returns the summary; its `exit_code` is 0 if every unit that is asked for is ok. Raises InputError (nothing was
    changed) and CannotGoOn (what finished is kept: `resume` goes on). After a Ctrl-C running tasks get `drain_s`, then
    KeyboardInterrupt is raised; a SIGTERM or SIGHUP goes on to the caller's own handler, or is a SystemExit.
    """
    with _closed(engine):
        mistakes = [*mistakes, *_of_the_place(out, experiment), *on_end_mistakes(on_end)]
        priced = read_prices(prices or {}, mistakes)
        chosen = _checked(worker, engine, cleanup, worker_name, options, mistakes, plan)._replace(prices=priced)
        target = Path(out or experiment or "")
        if experiment is None:
            refuse_taken(target)
        source = _Source(plan)
        outline = source.outline
        policy = RunPolicy(**{**(outline.file.run_options or {}), **chosen.options})
        if found := cost_mistakes(policy, priced, outline.manifests.values()):
            raise OptionsError(found)
        refuse_where(policy.where, outline.file.spec.factor_values)
        asked = asked_of(chosen.part, source.planned())
        # All that may refuse comes before the folder is made.
        wanted = _Wanted(source, chosen.known_as, Rule.of(policy))
        taken = wanted.take_over(_several(reuse)) if reuse is not None else None
        joined = Joining(target, outline.file, wanted.identities, wanted.rule) if experiment is not None else None
        reused = list(taken.lines()) if taken is not None else []
        if joined is not None:
            reused = [line for line in reused if joined.wants(Unit(line.shard, line.task, line.repeat))]
        times = past_task_times(history) if history else None
        observer = observer_of(observe)
        if joined is not None and not joined.is_left(asked):
            return joined.nothing_left(observer)
        with closing(make_engine(engine, chosen.engine_options)) as started:
            refuse_memory(policy, started)
            done = [Unit(line.shard, line.task, line.repeat) for line in reused]
            lanes = _lanes_to_run(outline, [*done, *(joined.done if joined is not None else ())], asked)
            told = (lanes, policy.start_s, observer)
            notes = list(_check(started, chosen.worker, chosen.import_path, outline.file, *told))
            notes[:0] = [each.told for each in (joined, taken) if each is not None and each.told]
            file = msgspec.structs.replace(_run_file(chosen, started.name, outline.file, policy), on_end=on_end or None)
            if joined is not None:
                target = joined.make_run(lambda folder: create_run(folder, source.plan, file), config)
            else:
                create_run(target, source.plan, file)
            opened = OpenRun(target, outline, source.names)
            opened.times = times
            with (
                told_at_the_end(on_end, opened.paths, observer) as told_too,
                RunLock(opened.paths.lock),
                joined.claims(opened) if joined is not None else nullcontext() as claims,
            ):
                ended = run_session(
                    opened, started, asked=asked, reused=reused, notes=notes, observer=told_too, claims=claims
                )
    _pass_on_signal(ended)
    return ended


def check_run(
    worker: WorkerName,
    *,
    out: str | Path | None = None,
    experiment: str | Path | None = None,
    engine: str | Engine = "local",
    cleanup: WorkerName | None = None,
    on_end: str | None = None,
    worker_name: str | None = None,
    mistakes: Sequence[Mistake] = (),
    **options: Unpack[RunKeywords],
) -> None:
    """What run() says of these before it looks at a plan. Raises OptionsError with every mistake."""
    mistakes = [*mistakes, *_of_the_place(out, experiment), *on_end_mistakes(on_end)]
    _checked(worker, engine, cleanup, worker_name, options, mistakes, None)


def _of_the_place(out: str | Path | None, experiment: str | Path | None) -> Iterator[Mistake]:
    if out is None and experiment is None:
        yield Mistake("‹out›", "it is missing", "name the run folder to create, or an ‹experiment›")
    if out is not None and experiment is not None:
        yield Mistake("‹out› and ‹experiment›", "an experiment names its runs by itself", "keep one of them")


def resume(
    run: str | Path,
    *,
    on_end: str | None = None,
    history: Sequence[str | Path] = (),
    prices: Mapping[str, Any] | None = None,
    engine: str | Engine | None = None,
    observe: Observe | None = None,
    **options: Unpack[RunKeywords],
) -> RunEnded:
    """Runs the units of a run that have no final outcome; with `failed` also those that are final but not ok.

    The library is not needed. `options` are as for run(): fields of Part name a part of what is left, fields of
    RunPolicy have new values from here on, for later resumes too, and so has `on_end` (empty: none). `engine`, a name
    or an engine, takes the place of the one that run.json names; it is closed at the end. `observe` and `history` are
    as for run(); `prices` take the place of those that the run has.
    Raises InputError and CannotGoOn, as run() does.
    """
    with _closed(engine):
        if is_experiment(run):
            raise RunFolderError("it is an experiment, not a run", where=str(run), hint=f"run the rest: {go_on(run)}")
        found: list[Mistake] = []
        part, new, hosts = read_run_keywords(options, found)
        found += [*on_end_mistakes(on_end), *fixed_mistakes(options)]
        priced = read_prices(prices or {}, found)
        opened = OpenRun(Path(run))
        file = opened.file
        chosen = file.engine if engine is None else engine
        gathered(found, lambda: _refuse_another_kind(file, chosen))
        engine_options = gathered(found, lambda: engine_options_of(chosen, hosts, file.engine_options))
        if file.cleanup is not None:
            check_name(file.cleanup)
        opened.check_slices()
        if on_end is not None:
            opened.on_end = on_end or None
        if priced:
            opened.prices = priced
        opened.times = past_task_times(history) if history else None
        observer = observer_of(observe)
        with (
            told_at_the_end(opened.on_end, opened.paths, observer) as told_too,
            RunLock(opened.paths.lock),
            closing(make_engine(chosen if not found else file.engine, engine_options)) as started,
            claims_of(opened) as claims,
        ):
            before = fold(opened.paths, opened.units())
            planned = Planned(opened.plan, opened.manifests, opened.names, before)
            asked = gathered(found, lambda: asked_of(part, planned))
            gathered(found, lambda: refuse_where(new.get("where", ()), opened.plan.spec.factor_values))
            if asked is None or found:
                raise OptionsError(found)
            then, opened.policy = opened.policy, msgspec.structs.replace(opened.policy, **new)
            refuse_memory(opened.policy, started)
            left = units_left(opened, before, asked, claims)
            found += cost_mistakes(opened.policy, opened.prices, map(opened.manifests.__getitem__, left))
            found += spent_mistakes(opened.policy, opened.prices, used_by(before), left)
            refuse(found)
            lanes = {lane for shard in left for lane in opened.manifests[shard].served_by}
            told = (lanes, opened.policy.start_s, observer)
            notes = _check(started, file.worker, file.import_path, opened.plan, *told)
            heard = unheard(opened.paths, before)
            opened.made_with = provenance_of(file.worker, file.import_path, is_command=file.engine == COMMAND)
            code = other_code(file.made_with, opened.made_with)
            notes = [*changes(then, opened.policy), *code, *heard.notes, *notes]
            ended = run_session(
                opened,
                started,
                before=before,
                asked=asked,
                reused=heard.lines,
                notes=notes,
                observer=told_too,
                claims=claims,
            )
    _pass_on_signal(ended)
    return ended


def _refuse_another_kind(file: RunFile, engine: str | Engine) -> None:
    """Raises OptionsError if what the run's worker is, is nothing that this engine can run."""
    check_engine(engine)
    name = engine if isinstance(engine, str) else engine.name
    if (name == COMMAND) != (file.engine == COMMAND):
        hint = f"this run goes on with {file.engine}"
        raise OptionsError([Mistake("‹engine›", "a command is both worker and engine", hint)])


def _closed(engine: str | Engine | None) -> AbstractContextManager[Any]:
    """Closes an engine that was given, whatever happens. One that has a name alone is not there yet."""
    return nullcontext() if engine is None or isinstance(engine, str) else closing(engine)


class _Chosen(NamedTuple):
    """What runs the tasks, by name, and the options that were given."""

    worker: str
    cleanup: str | None
    import_path: tuple[str, ...]
    options: dict[str, Any]
    part: Part
    engine: str
    engine_options: EngineOptions | None
    worker_name: str | None = None
    prices: Mapping[str, Price] | None = None

    @property
    def known_as(self) -> str:
        """What the worker is known by across runs."""
        return known_name(self.engine, self.worker, self.worker_name)


def _checked(
    worker: WorkerName,
    engine: str | Engine,
    cleanup: WorkerName | None,
    worker_name: str | None,
    options: RunKeywords,
    mistakes: Sequence[Mistake],
    plan: Plan | str | Path | None,
) -> _Chosen:
    """What there is to say of these before any file is looked at. Raises OptionsError with every mistake."""
    found = list(mistakes)
    if worker == "":
        found.append(Mistake("‹worker›", "no worker is named", "name module:function, or set worker in [run]"))
    if worker_name is not None:
        read_options(WorkerOptions, {"worker_name": worker_name}, found)
    part, own, hosts = read_run_keywords(options, found)
    gathered(found, lambda: check_engine(engine))
    engine_options = gathered(found, lambda: engine_options_of(engine, hosts))
    engine_name = engine if isinstance(engine, str) else engine.name
    if cleanup is not None and engine_name == COMMAND:
        found.append(Mistake("‹cleanup›", "a command cleans up by itself", "let the command clean up on SIGTERM"))
    if found:
        if isinstance(plan, str | Path) and not os.path.exists(plan):
            found.append(Mistake("PLAN", f"{plan} does not exist", "name a folder that `prealloc plan --out` wrote"))
        elif part != Part() and plan:
            with suppress(InputError):  # what is wrong with the plan is told when the options are right
                planned = _Source(plan).planned()
                gathered(found, lambda: asked_of(part, planned))
        if worker != "":
            gathered(found, lambda: _try_worker(worker, engine, engine_name))
        raise OptionsError(found)
    name, import_path = worker_name_of(worker, engine_name)
    cleaner, import_path = _cleaner(cleanup, import_path)
    return _Chosen(name, cleaner, import_path, own, part, engine_name, engine_options, worker_name)


def _run_file(chosen: _Chosen, engine: str, plan: PlanFile, policy: RunPolicy) -> RunFile:
    return RunFile(
        plan=plan.id,
        plan_digests=plan_digests(plan),
        worker=chosen.worker,
        worker_name=chosen.worker_name,
        import_path=chosen.import_path,
        engine=engine,
        engine_options=chosen.engine_options,
        cleanup=chosen.cleanup,
        prices=dict(chosen.prices or {}),
        policy=policy,
        created_at=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        prealloc=__version__,
        python=platform.python_version(),
        platform=platform.platform(),
        made_with=provenance_of(chosen.worker, chosen.import_path, is_command=engine == COMMAND),
    )


def longest_s(run: str | Path) -> float | None:
    """The seconds that a run takes from its start at the very latest: every timeout, wait and retry used up.

    None if nothing bounds it: without --timeout, or where tasks cannot be ended. Raises RunFolderError, PlanError.
    """
    opened = OpenRun(Path(run))
    with closing(make_engine(opened.file.engine)) as engine:
        return session.longest_s(opened, engine) if engine.facts.can_kill else None


def worker_name_of(worker: WorkerName, engine: str) -> tuple[str, tuple[str, ...]]:
    """`module:function` and the folders to import it from: the current one, and the function's own root."""
    here = current_folder()
    if isinstance(worker, str):
        if engine != COMMAND:  # there it is a command, which that engine looks at
            check_name(worker)
        return worker, here
    module, name = getattr(worker, "__module__", None), getattr(worker, "__qualname__", "")
    if module in (None, "__main__") or not name or "<" in name:
        raise WorkerFunctionError(
            "workers import it by name, so it cannot be a lambda, an object, local, or of __main__",
            where=name or repr(worker),
            hint="define a function or a class at the top of a module of its own, and pass it or 'module:name'",
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
    lanes: Collection[str],
    start_s: float,
    observer: Observer,
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
        now_s = time.monotonic()
        if not told and now_s - began > SLOW_IMPORT_S:
            told = True
            observer.handle(Note(text=f"importing {worker.partition(':')[0]}; it may take up to {start_s:g} s"))
        observer.tick(now_s)

    libraries = tuple(library.path for library in plan.libraries)
    wanted = WorkerCheck(
        worker,
        import_path,
        library_files(libraries),
        tuple(keys),
        Patience(start_s, wait, lambda: observer.tick(time.monotonic())),
        libraries,
        lambda text: observer.handle(Note(text=text)),
    )
    checked = engine.check(wanted)
    refuse(
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
    """Gives the signal that has stopped a run to the handler that it had before the run.

    So Ctrl-C ends a loop over runs, too, and not only the one that goes on.
    """
    number = ended.exit_code - STOPPED
    if number <= 0:
        return
    if signal.getsignal(number) is signal.SIG_DFL:  # would end the process on the spot, in the middle of its output
        raise SystemExit(ended.exit_code)
    signal.raise_signal(number)


def _lanes_to_run(outline: Outline, done: Iterable[Unit], asked: Asked) -> set[str]:
    """The lanes that may serve the shards of which something is left to run, when these units are done."""
    mine = Counter(unit.shard for unit in {*done} if asked.units is None or unit in asked.units)
    wanted = Counter(unit.shard for unit in asked.units) if asked.units is not None else None
    return {
        lane
        for shard in outline.file.shards
        if (asked.shards is None or shard.id in asked.shards)
        and (shard.units if wanted is None else wanted[shard.id]) > mine[shard.id]
        for lane in outline.manifests[shard.id].served_by
    }


def _cleaner(cleanup: WorkerName | None, import_path: tuple[str, ...]) -> tuple[str | None, tuple[str, ...]]:
    """The cleanup function's name, and the folders that it and the worker are imported from."""
    if cleanup is None:
        return None, import_path
    from prealloc.engines.spawn_launcher import check_elsewhere

    name, its_own = worker_name_of(cleanup, "")
    import_path = tuple(dict.fromkeys((*import_path, *its_own)))
    # A mistake in it must show now, not at the first kill.
    check_elsewhere(WorkerCheck(name, import_path), "(unit, notes)")
    return name, import_path


def _try_worker(worker: WorkerName, engine: str | Engine, name: str) -> None:
    """Raises OptionsError if the worker cannot be run, as far as that can be told if there is no such engine."""
    try:
        function, import_path = worker_name_of(worker, name)
        if not isinstance(engine, str) or engine in ENGINES:
            with closing(make_engine(engine)) as started:
                started.check(WorkerCheck(function, import_path))
    except WorkerFunctionError as error:
        raise OptionsError([Mistake(f"‹worker› {error.where}", error.problem, error.hint or "")]) from None


def _several(reuse: str | Path | Sequence[str | Path]) -> list[Path]:
    """The runs that are named, each once."""
    given = [reuse] if isinstance(reuse, str | Path) else reuse
    return list(dict.fromkeys(map(Path, given)))


class _Source:
    """The plan that was given, in memory or as a folder, of which every byte is checked. Raises PlanError."""

    def __init__(self, plan: Plan | str | Path) -> None:
        self.plan = plan if isinstance(plan, Plan) else Path(plan)
        self.names: dict[SliceRef, Names] = {}
        """Of the tasks in a folder's slices."""
        self._held: dict[str, Sequence[LightweightTask]] = {}
        if isinstance(self.plan, Plan):
            self.outline = Outline(self.plan.file, {shard.id: shard.manifest for shard in self.plan.shards})
            self._held = {shard.id: shard.tasks for shard in self.plan.shards}
        else:
            self.outline = read_outline(self.plan)
            self.names = check_slices(self.plan, self.outline)

    def planned(self) -> Planned:
        """What a part of its run is checked against."""
        return Planned(self.outline.file, self.outline.manifests, self._names_of)

    def _names_of(self, shard: str) -> Names:
        if isinstance(self.plan, Path):
            return self.names[self.outline.manifests[shard].slice]
        return Names([task.id for task in self._held[shard]], [task.type for task in self._held[shard]])

    def tasks(self, shard: str) -> Sequence[LightweightTask]:
        """The tasks of a shard."""
        if isinstance(self.plan, Path):
            return Slice(PlanPaths(self.plan), self.outline.manifests[shard].slice).tasks()
        return self._held[shard]


class _Wanted:
    """What the units of a plan are known by, worked out when it is asked for."""

    def __init__(self, source: _Source, worker: str, rule: Rule) -> None:
        self.rule = rule
        self._source = source
        self._worker = worker
        self._facts = Facts()

    @cached_property
    def identities(self) -> dict[Unit, Identity]:
        """In the plan's order."""
        outline, tasks = self._source.outline, self._source.tasks
        return identities(self._worker, outline.file.spec, outline.manifests, tasks, self.rule, self._facts)

    def take_over(self, runs: Sequence[Path]) -> TakenOver:
        """What of other runs this plan takes over. Raises InputError, JournalError."""
        sources = [OpenRun(run) for run in runs]
        ended = [finished(source, self._worker, self.rule, self._facts) for source in sources]
        plans = (self._source.outline.file, *(source.plan for source in sources))
        return take_over(self.identities, ended, {name for each in plans for name in each.spec.factor_values})
