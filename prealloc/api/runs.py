"""run() and resume(): from a plan to the end of every unit."""

from __future__ import annotations

import datetime
import platform
import signal
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, closing, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any, Unpack

import msgspec

from prealloc._version import __version__
from prealloc.api.chosen import Chosen, WorkerName, check_in_engine, checked, refuse_another_kind
from prealloc.api.estimates import past_task_times
from prealloc.api.experiments import go_on, is_experiment
from prealloc.api.given_plan import GivenPlan, Wanted
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
from prealloc.engines.base import Engine
from prealloc.engines.registry import engine_options_of, make_engine
from prealloc.engines.session import run_session, units_left
from prealloc.errors import Mistake, OptionsError, RunFolderError, gathered, refuse
from prealloc.files.lock import RunLock
from prealloc.model.events import Observe, RunEnded, observer_of
from prealloc.model.plan import Plan, PlanFile, Unit
from prealloc.model.policy import RunPolicy
from prealloc.model.prices import read_prices
from prealloc.model.where import refuse_where
from prealloc.store.asked import Asked, Planned, asked_of
from prealloc.store.fold import fold, used_by
from prealloc.store.identity import Rule
from prealloc.store.manifests import Outline
from prealloc.store.run_folder import COMMAND, OpenRun, RunFile, create_run, plan_digests, refuse_taken
from prealloc.store.spools import unheard
from prealloc.worker.function import check_name

if TYPE_CHECKING:
    pass

STOPPED = 128
"""Exit codes over this one are of runs that the signal of this difference has stopped."""

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
        chosen = checked(worker, engine, cleanup, worker_name, options, mistakes, plan)._replace(prices=priced)
        target = Path(out or experiment or "")
        if experiment is None:
            refuse_taken(target)
        source = GivenPlan(plan)
        outline = source.outline
        policy = RunPolicy(**{**(outline.file.run_options or {}), **chosen.options})
        if found := cost_mistakes(policy, priced, outline.manifests.values()):
            raise OptionsError(found)
        refuse_where(policy.where, outline.file.spec.factor_values)
        asked = asked_of(chosen.part, source.planned())
        # All that may refuse comes before the folder is made.
        wanted = Wanted(source, chosen.known_as, Rule.of(policy))
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
            notes = list(check_in_engine(started, chosen.worker, chosen.import_path, outline.file, *told))
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
    checked(worker, engine, cleanup, worker_name, options, mistakes, None)


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
        gathered(found, lambda: refuse_another_kind(file, chosen))
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
            notes = check_in_engine(started, file.worker, file.import_path, opened.plan, *told)
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


def _closed(engine: str | Engine | None) -> AbstractContextManager[Any]:
    """Closes an engine that was given, whatever happens. One that has a name alone is not there yet."""
    return nullcontext() if engine is None or isinstance(engine, str) else closing(engine)


def _run_file(chosen: Chosen, engine: str, plan: PlanFile, policy: RunPolicy) -> RunFile:
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


def _several(reuse: str | Path | Sequence[str | Path]) -> list[Path]:
    """The runs that are named, each once."""
    given = [reuse] if isinstance(reuse, str | Path) else reuse
    return list(dict.fromkeys(map(Path, given)))
