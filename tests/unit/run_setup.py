"""The setup of a run for what is tested without one: its folders, a journal, a limiter."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from prealloc.engines.base import RunSetup
from prealloc.files.paths import RunPaths
from prealloc.lanes.limiter import RateLimiter
from prealloc.model.lane import Lane
from prealloc.model.policy import RunPolicy
from prealloc.store.journal import JournalWriter


def setup_in(root: Path, policy: RunPolicy, lanes: Sequence[Lane] = (), *, cleanup: str | None = None) -> RunSetup:
    """For the run folder `root`, which is there. Its journal is to be closed."""
    paths = RunPaths(root)
    for folder in (paths.journal, paths.logs):
        folder.mkdir()
    return RunSetup(
        paths=paths,
        session=1,
        worker="m:f",
        import_path=(),
        limiter=RateLimiter(lanes, policy),
        policy=policy,
        journal=JournalWriter(paths.supervisor_journal(1)),
        cleanup=cleanup,
    )
