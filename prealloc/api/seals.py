"""check_seals(): whether a run's journal is as it was when its sessions ended."""

from __future__ import annotations

from pathlib import Path

import msgspec

from prealloc.api.located import opened_runs
from prealloc.files.lock import live_owner
from prealloc.store.seals import RunSeals
from prealloc.store.seals import check_seals as check_run


def check_seals(run: str | Path) -> list[RunSeals]:
    """Compares the journal of a run, or of every run of an experiment, with its seals: see SealCheck.

    They detect edits, not forgery: who can write the journal can write a seal. Raises RunFolderError, PlanError,
    JournalError.
    """
    found = []
    for opened in opened_runs(run).values():
        check = msgspec.structs.asdict(check_run(opened.paths))
        running = live_owner(opened.paths.lock) is not None
        found.append(RunSeals(run=str(opened.paths.root), running=running, **check))
    return found
