"""status(): how far a run is."""

from __future__ import annotations

import time
from collections import Counter
from pathlib import Path

from prealloc.api.experiments import experiment_as_run, is_experiment
from prealloc.engines.session import resume_command
from prealloc.files.lock import live_owner
from prealloc.model.answers import RunStatus, sums_of
from prealloc.store.claims import elsewhere_of
from prealloc.store.fold import at_work, by_shard, fold
from prealloc.store.lane_log import read_halts, read_pauses
from prealloc.store.run_folder import OpenRun


def status(run: str | Path) -> RunStatus:
    """How far a run or an experiment is, during it and after, from any process.

    Raises RunFolderError, PlanError, JournalError.
    """
    if is_experiment(run):
        return experiment_as_run(run)
    opened = OpenRun(Path(run))
    state = fold(opened.paths, opened.units())
    elsewhere = elsewhere_of(opened, state)
    state = state.leaving(elsewhere)
    owner = live_owner(opened.paths.lock)
    lanes = opened.plan.spec.lanes
    due = len(state.due) if opened.file.cleanup is not None and owner is None else 0
    untidied = [f"{due} attempts are not cleaned up yet: `prealloc resume` does that first"] if due else []
    return RunStatus(
        run=str(run),
        plan=opened.plan.id,
        worker=opened.file.worker,
        engine=opened.file.engine,
        running=owner is not None,
        master=owner.pid if owner else None,
        sessions=state.sessions,
        **sums_of(by_shard(state.units, opened.manifests)),
        library_opens=state.library_opens,
        warnings=[*opened.warnings, *state.warnings, *untidied],
        halted=read_halts(opened.paths, lanes, state.sessions),
        waiting=read_pauses(opened.paths, lanes, state.sessions, time.time()) if owner is not None else (),
        resume=resume_command(opened, state, elsewhere) if owner is None else None,
        elsewhere=dict(Counter(unit.shard for unit in elsewhere)),
        part=state.part.words() if state.part is not None else None,
        stopped=state.stopped,
        hosts=at_work(opened.paths) if owner is not None else {},
        paused=state.paused and owner is not None,
    )
