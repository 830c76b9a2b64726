"""debug(): one unit of a run or a plan, in this process."""

from __future__ import annotations

import shlex
import time
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from prealloc.api.chosen import WorkerName, worker_name_of
from prealloc.engines.base import RunSetup
from prealloc.engines.debug import UnitJob, debug_unit, only_order
from prealloc.engines.handover import Units
from prealloc.errors import Mistake, OptionsError, RunFolderError, gathered
from prealloc.files.lock import RunLock
from prealloc.files.paths import PlanPaths, RunPaths
from prealloc.files.temporary import temporary_folder
from prealloc.lanes.limiter import RateLimiter
from prealloc.lanes.sharing import shared_lanes
from prealloc.model.outcome import Attempt, Status
from prealloc.model.part import Part
from prealloc.model.plan import Manifest, Unit
from prealloc.model.policy import RunPolicy
from prealloc.store.asked import Planned, unit_of
from prealloc.store.fold import fold
from prealloc.store.identity import copy_numbers
from prealloc.store.journal import last_session
from prealloc.store.journal_lines import Reopened, SessionEnded, SessionStarted, with_result
from prealloc.store.journal_writer import JournalWriter
from prealloc.store.manifests import Outline, chosen, read_outline
from prealloc.store.run_folder import COMMAND, MANIFEST, OpenRun, refuse_experiment
from prealloc.store.slices import Names, Slice
from prealloc.worker.function import WorkerFunction, load_function, unset


class Debugged(msgspec.Struct, frozen=True, kw_only=True):
    """One attempt in this process."""

    unit: str
    type: str
    worker: str
    settings: dict[str, Any]
    attempt: Attempt
    """As the journal has it, with the result."""
    recorded: bool
    """It is in the journal of the run."""


class _Place(NamedTuple):
    """The run or plan that a unit is of."""

    folder: Path
    run: OpenRun | None
    plan: PlanPaths
    outline: Outline

    @classmethod
    def at(cls, folder: Path) -> _Place:
        """Raises InputError."""
        if RunPaths(folder).run_file.exists():
            run = OpenRun(folder)
            return cls(folder, run, run.paths.plan, Outline(run.plan, run.manifests))
        if PlanPaths(folder).plan_file.exists():
            return cls(folder, None, PlanPaths(folder), read_outline(folder))
        refuse_experiment(folder)
        hint = "name a folder of `prealloc run`, or one of `prealloc plan` with ‹worker›"
        raise RunFolderError("it is neither a run folder nor a plan folder", where=str(folder), hint=hint)

    @property
    def policy(self) -> RunPolicy:
        if self.run is not None:
            return self.run.policy
        return RunPolicy(**(self.outline.file.run_options or {}))

    def copies(self, shard: str) -> dict[str, int] | None:
        """See ShardJob."""
        if self.run is not None:
            return self.run.copies(shard)
        if self.outline.file.spec.unit_seed is msgspec.UNSET:
            return None
        return copy_numbers(self.outline.manifests, lambda each: self.names(each).ids)[shard]

    def manifest(self, shard: str) -> Manifest:
        """On the lane that the plan deals it to."""
        manifest = self.outline.manifests[shard]
        return chosen(manifest, self.outline.file.spec, manifest.planned_lane)

    def names(self, shard: str) -> Names:
        return Slice(self.plan, self.outline.manifests[shard].slice).names()


class _Try(NamedTuple):
    """What is tried: the unit, and by which function."""

    unit: Unit
    function: WorkerFunction
    import_path: tuple[str, ...]


def debug(folder: str | Path, unit: str, *, worker: WorkerName | None = None, record: bool = False) -> Debugged:
    """Runs one unit, `shard/task#repeat`, of a run or a plan in this process: `breakpoint()` works, prints are seen.

    The function gets the unit's task, settings, lane and seed as in the run. `worker` takes the place of the run's own;
    a plan has none. Nothing is recorded, and there is no timeout. With `record` the run's timeout is told to the
    function, and the attempt is journalled as the next one of the unit, which must not be ok yet.

    Raises InputError, and CannotGoOn with `record`. What the task raises is part of what is returned.
    """
    place = _Place.at(Path(folder))
    tried = _checked(place, unit, worker, record)
    if record and place.run is not None:
        with RunLock(place.run.paths.lock):
            attempt = _recorded(place, place.run, tried)
    else:
        attempt = _unrecorded(place, tried)
    names = place.names(tried.unit.shard)
    return Debugged(
        unit=str(tried.unit),
        type=names.types[names.ids.index(tried.unit.task)],
        worker=tried.function.name,
        settings=place.manifest(tried.unit.shard).settings,
        attempt=attempt,
        recorded=record,
    )


def _checked(place: _Place, text: str, worker: WorkerName | None, record: bool) -> _Try:
    """What is to be tried. Raises OptionsError with every mistake, and WorkerFunctionError."""
    found: list[Mistake] = []
    run, planned = place.run, Planned(place.outline.file, place.outline.manifests, place.names)
    unit = gathered(found, lambda: unit_of(text, planned, "UNIT"))
    if run is None and worker is None:
        found.append(Mistake("‹worker›", "a plan names no worker function", "name module:function"))
    if run is None and record:
        found.append(Mistake("‹record›", "a plan has no journal", "name a run folder, or omit it"))
    if run is not None and worker is not None and record:
        problem = "the attempt would be of another function than the run's"
        found.append(Mistake("‹record› and ‹worker›", problem, "omit one of them"))
    if run is not None and worker is None and run.file.engine == COMMAND:
        manifest = place.plan.manifest(unit.shard if unit is not None else next(iter(place.outline.manifests)))
        command = run.file.worker.replace(MANIFEST, shlex.quote(str(manifest)))
        problem = "the run's worker is a program, which has no place in this process"
        found.append(Mistake("UNIT", problem, f"run it by hand: {command}; or name a function as ‹worker›"))
    if found or unit is None:
        raise OptionsError(found)
    if worker is not None:
        name, import_path = worker_name_of(worker, "")
    else:
        name, import_path = (run.file.worker, run.file.import_path) if run is not None else ("", ())
    function = load_function(name, import_path)
    _check_key(place, unit)
    return _Try(unit, function, import_path)


def _check_key(place: _Place, unit: Unit) -> None:
    lane = place.outline.manifests[unit.shard].planned_lane
    keys = {each.key_env for each in place.outline.file.spec.lanes if each.name == lane and each.key_env}
    if missing := unset(tuple(keys)):
        problem = f"the environment variable {missing[0]} is not set"
        hint = f"export {missing[0]}=... (any value if the worker needs no key)"
        raise OptionsError([Mistake(f"lane {lane} key_env", problem, hint)])


def _unrecorded(place: _Place, tried: _Try) -> Attempt:
    """Runs it with a journal that nobody keeps."""
    policy = msgspec.structs.replace(place.policy, timeout_s=None)  # nobody counts the time at a breakpoint
    attempts = 0
    if place.run is not None:
        attempts = fold(place.run.paths, place.run.units()).units[tried.unit].attempts
    with temporary_folder("debug") as scratch:
        paths = RunPaths(scratch)
        paths.journal.mkdir()
        with closing(JournalWriter(paths.supervisor_journal(1))) as journal:
            setup = _setup(place, tried, paths, 1, policy, journal)
            return with_result(debug_unit(_job(place, tried.unit, policy, attempts), setup, tried.function))


def _recorded(place: _Place, run: OpenRun, tried: _Try) -> Attempt:
    """Runs it in a session of the run."""
    before = fold(run.paths, run.units())
    state = before.units[tried.unit]
    if state.status is Status.OK:
        problem = f"{tried.unit} is ok already, and its first outcome stands"
        raise OptionsError([Mistake("‹record›", problem, "omit it: the attempt is then made, and not recorded")])
    session = last_session(run.paths) + 1
    began = SessionStarted(
        session=session,
        reopen_failed=False,
        started_at=time.time(),
        part=Part(unit=(str(tried.unit),)),
        options=run.policy.differing(run.file.policy),
        on_end=None if run.on_end == run.file.on_end else run.on_end or "",
    )
    with closing(JournalWriter(run.paths.supervisor_journal(session), fsync=run.policy.fsync)) as journal:
        journal.append(began)
        if not state.open:
            journal.append(Reopened(units=(tried.unit,)))
        setup = _setup(place, tried, run.paths, session, run.policy, journal)
        setup = msgspec.structs.replace(setup, cleanup=run.file.cleanup)
        job = _job(place, tried.unit, run.policy, state.attempts)
        due = [due for due in before.due if due.unit == tried.unit]
        units = job.units._replace(due=tuple(due))
        job = msgspec.structs.replace(job, units=units, timeouts=run.timeouts(tried.unit.shard))
        line = debug_unit(job, setup, tried.function)
        journal.append(SessionEnded(session=session, ended_at=time.time()))
    return with_result(line)


def _setup(
    place: _Place, tried: _Try, paths: RunPaths, session: int, policy: RunPolicy, journal: JournalWriter
) -> RunSetup:
    spec = place.outline.file.spec
    return RunSetup(
        paths=paths,
        session=session,
        worker=tried.function.name,
        import_path=tried.import_path,
        limiter=RateLimiter(spec.lanes, policy, share=shared_lanes(spec.lanes, spec.settings)),
        policy=policy,
        journal=journal,
    )


def _job(place: _Place, unit: Unit, policy: RunPolicy, attempts: int) -> UnitJob:
    manifest = place.manifest(unit.shard)
    tasks = Slice(place.plan, manifest.slice).packed()
    position = next(position for position, task in enumerate(tasks) if task.id == unit.task)
    return UnitJob(
        number=1,
        manifest=manifest,
        policy=policy,
        ids=[(task.id, task.type) for task in tasks],
        units=Units((only_order(position, unit.repeat, attempts + 1, policy.retries),)),
        copies=place.copies(unit.shard),
        planned=tasks,
    )
