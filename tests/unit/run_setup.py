"""The setup of a run for what is tested without one, its folders, a journal, a limiter; and a job of it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

from prealloc.engines.base import RunSetup, ShardJob
from prealloc.engines.handover import units_of
from prealloc.files.paths import RunPaths
from prealloc.lanes.limiter import RateLimiter
from prealloc.model.lane import Lane
from prealloc.model.plan import Shard
from prealloc.model.policy import RunPolicy
from prealloc.store.fold import Due
from prealloc.store.journal_writer import JournalWriter
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


def job_of(
    shard: Shard,
    policy: RunPolicy,
    orders: Iterable[UnitOrder] | None = None,
    *,
    number: int = 1,
    lane: Lane | None = None,
    deaths: Mapping[tuple[int, int], int] = MappingProxyType({}),
    due: Sequence[Due] = (),
) -> ShardJob:
    """All units of a shard's first repeat, unless there are other orders."""
    if orders is None:
        orders = [UnitOrder(position, 0, 1) for position in range(len(shard.tasks))]
    return ShardJob(
        number=number,
        manifest=shard.manifest.on(lane),
        policy=policy,
        ids=[(task.id, task.type) for task in shard.tasks],
        units=units_of(orders, deaths)._replace(due=tuple(due)),
    )
