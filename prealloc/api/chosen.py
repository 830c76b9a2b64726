"""The worker, the engine and the options that are chosen for a run: read, named and tried before any file is made."""

from __future__ import annotations

import inspect
import os
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import closing, suppress
from pathlib import Path
from typing import Any, NamedTuple

from prealloc.api.given_plan import GivenPlan
from prealloc.api.keywords import RunKeywords, read_run_keywords
from prealloc.engines.base import Engine, Patience, WorkerCheck
from prealloc.engines.registry import ENGINES, check_engine, engine_options_of, make_engine
from prealloc.errors import InputError, Mistake, OptionsError, WorkerFunctionError, gathered, refuse
from prealloc.files.paths import current_folder
from prealloc.model.events import Note, Observer
from prealloc.model.options import read_options
from prealloc.model.part import Part
from prealloc.model.plan import Plan, PlanFile
from prealloc.model.policy import EngineOptions, WorkerOptions
from prealloc.model.prices import Price
from prealloc.store.asked import asked_of
from prealloc.store.run_folder import COMMAND, RunFile, known_name
from prealloc.worker.function import check_name
from prealloc.worker.guard import library_files

SLOW_IMPORT_S = 5.0

WorkerName = str | Callable[..., Any]


class Chosen(NamedTuple):
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


def checked(
    worker: WorkerName,
    engine: str | Engine,
    cleanup: WorkerName | None,
    worker_name: str | None,
    options: RunKeywords,
    mistakes: Sequence[Mistake],
    plan: Plan | str | Path | None,
) -> Chosen:
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
                planned = GivenPlan(plan).planned()
                gathered(found, lambda: asked_of(part, planned))
        if worker != "":
            gathered(found, lambda: _try_worker(worker, engine, engine_name))
        raise OptionsError(found)
    name, import_path = worker_name_of(worker, engine_name)
    cleaner, import_path = _cleaner(cleanup, import_path)
    return Chosen(name, cleaner, import_path, own, part, engine_name, engine_options, worker_name)


def refuse_another_kind(file: RunFile, engine: str | Engine) -> None:
    """Raises OptionsError if what the run's worker is, is nothing that this engine can run."""
    check_engine(engine)
    name = engine if isinstance(engine, str) else engine.name
    if (name == COMMAND) != (file.engine == COMMAND):
        hint = f"this run goes on with {file.engine}"
        raise OptionsError([Mistake("‹engine›", "a command is both worker and engine", hint)])


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


def check_in_engine(
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
