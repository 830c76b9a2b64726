"""diagnose() and repair(): what is wrong with this machine and with a run, and the repair of a run's journal."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Unpack

import msgspec

from prealloc.doctor.disk import check_append, check_file_system, check_left, check_links, check_rename, check_space
from prealloc.doctor.finding import Diagnosis, Finding, Repaired, bounded
from prealloc.doctor.hosts import check_hosts
from prealloc.doctor.lanes import check_lanes
from prealloc.doctor.locks import check_lock
from prealloc.doctor.machine import check_clocks, check_limits, check_memory, check_proc
from prealloc.doctor.run_checks import check_run
from prealloc.doctor.run_repair import repair_run
from prealloc.doctor.start import check_start
from prealloc.doctor.versions import check_versions
from prealloc.engines.registry import beyond_one_machine, check_engine, engine_options_of
from prealloc.errors import InputError, Mistake, OptionsError, refuse
from prealloc.files.paths import ExperimentPaths, current_folder
from prealloc.model.keywords import EngineKeywords
from prealloc.model.options import read_options
from prealloc.model.policy import EngineOptions
from prealloc.worker.function import check_name

PROBE_WORKER = "prealloc.agents.simulate:run"
RUN_S = 600.0
"""Reading a journal of gigabytes takes long."""


def diagnose(run: str | Path | None = None, *, folder: str | Path = ".") -> Diagnosis:
    """Looks at this machine, at the file system of `folder` (or of the run), and at a run folder if one is named.

    Each check performs the operation it reports on, in a temporary folder that is removed, and is bounded in
    time. Nothing of the run is changed. Raises InputError if there is no such folder, or it is not a run folder.
    """
    place = Path(folder if run is None else run)
    if not place.is_dir():
        raise InputError("there is no such folder", where=str(place), hint="name an existing folder")
    checked = [] if run is None else list(_check_runs(place))
    machine = [
        *check_versions(),
        *_with_folder(None, "start method", check_start),
        *bounded("limits", check_limits),
        *bounded("memory", check_memory),
        *bounded("clocks", check_clocks),
        *bounded("/proc", check_proc),
        *bounded("shared lanes", check_lanes),
        *bounded("leftovers", lambda: [check_left({Path(tempfile.gettempdir()), place})]),
    ]
    files = [
        *bounded("file system", lambda: [check_file_system(place)]),
        *bounded("space", lambda: [check_space(place)]),
        *_with_folder(place, "lock", lambda made: [check_lock(made)]),
        *_with_folder(place, "rename", check_rename),
        *_with_folder(place, "hard links", lambda made: [check_links(made)]),
        *_with_folder(place, "append", lambda made: [check_append(made)]),
    ]
    return Diagnosis(folder=str(place), machine=tuple(machine), files=tuple(files), run=tuple(checked))


def diagnose_engine(
    engine: str, worker: str | None = None, *, variables: Sequence[str] = (), **options: Unpack[EngineKeywords]
) -> Diagnosis:
    """Has an engine start one host, and says what was found there and on the way to it.

    `options` are those of EngineOptions, `variables` the environment variables that workers need. Raises OptionsError.
    """
    found: list[Mistake] = []
    read = read_options(EngineOptions, {**options, "hosts": 1}, found)
    check_engine(engine)
    refuse(found)
    chosen = engine_options_of(engine, read) if engine in beyond_one_machine() else None
    if chosen is None:
        raise OptionsError(
            [Mistake("‹engine›", f"{engine} has no hosts", "omit it: `prealloc doctor` checks this machine")]
        )
    if worker is not None:
        check_name(worker)
    looked = check_hosts(engine, chosen, worker or PROBE_WORKER, current_folder(), tuple(variables))
    return Diagnosis(folder=engine, machine=(), files=(), run=(), hosts=tuple(looked))


def repair(run: str | Path) -> Repaired:
    """Moves what is damaged in a run's journal to `journal-aside/`, byte for byte, and lists what runs again.

    Without damage nothing is done; `moved` is empty. No readable line is moved. Raises InputError (a master works
    on it, a process of it lives, its plan is not whole: nothing was changed) and CannotGoOn.
    """
    return repair_run(Path(run))


def _check_runs(place: Path) -> Iterator[Finding]:
    """What is found of a run, or of each run of an experiment."""
    experiment = ExperimentPaths(place)
    if not experiment.is_there:
        yield from bounded("run", lambda: check_run(place), RUN_S)
        return
    for folder in map(experiment.run, experiment.numbers()):
        for finding in bounded("run", lambda folder=folder: check_run(folder), RUN_S):  # type: ignore[misc]
            yield msgspec.structs.replace(finding, name=f"{folder.name} {finding.name}")


def _with_folder(place: Path | None, name: str, check: Callable[[Path], list[Finding]]) -> list[Finding]:
    """The check in a new folder below `place` (where the system has its temporary files, if None)."""

    def probe() -> list[Finding]:
        made = Path(tempfile.mkdtemp(prefix=".prealloc-doctor.", dir=place))
        try:
            return check(made)
        finally:
            shutil.rmtree(made, ignore_errors=True)

    return bounded(name, probe)
