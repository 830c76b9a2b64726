"""check_seals(): whether a run's journal is as it was when its sessions ended."""

from __future__ import annotations

from pathlib import Path

import msgspec

from prealloc.api.located import opened_runs
from prealloc.files.lock import live_owner
from prealloc.store.seals import SealCheck
from prealloc.store.seals import check_seals as check_run


class RunSeals(SealCheck, frozen=True, kw_only=True):
    """The same of one run folder."""

    run: str
    running: bool
    """A session runs now; what it writes is sealed when it ends."""


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
