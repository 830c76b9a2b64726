"""The setup of a run for what is tested without one, its folders, a journal, a limiter; and a job of it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from prealloc.engines.base import RunSetup, ShardJob
from prealloc.files.paths import RunPaths
from prealloc.lanes.limiter import RateLimiter
from prealloc.model.lane import Lane
from prealloc.model.plan import Shard
from prealloc.model.policy import RunPolicy
from prealloc.store.journal import JournalWriter
from prealloc.worker.job import UnitOrder


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


def job_of(shard: Shard, policy: RunPolicy, *, number: int = 1, lane: Lane | None = None, **more: Any) -> ShardJob:
    """All units of a shard's first repeat, unless `more` has other orders."""
    orders = tuple(UnitOrder(position, 0, 1) for position in range(len(shard.tasks)))
    ids = [(task.id, task.type) for task in shard.tasks]
    fields = {"number": number, "ids": ids, "orders": orders, "deaths": {}}
    return ShardJob(manifest=shard.manifest.on(lane), policy=policy, **fields | more)
