"""The supervisor without processes: what a worker says, in the orders that it may come in."""

from __future__ import annotations

from pathlib import Path

from prealloc.engines.admission import Admission
from prealloc.engines.base import RunSetup, ShardJob
from prealloc.engines.supervisor import Processes, ShardSupervisor
from prealloc.files.paths import RunPaths
from prealloc.lanes.desk import LaneDesk
from prealloc.model.outcome import Status
from prealloc.model.policy import RunPolicy
from prealloc.store.journal import JournalWriter
from prealloc.testing import make_plan
from prealloc.worker.job import UnitOrder, WorkerJob
from prealloc.worker.messages import Ended, Ready, Retiring, line


def test_a_unit_that_was_handed_back_is_not_handed_back_again(tmp_path: Path) -> None:
    """A worker may retire between putting a unit into backoff and telling so: the unit still runs in one place only."""
    paths = RunPaths(tmp_path)
    for folder in (paths.journal, paths.logs):
        folder.mkdir()
    shard = make_plan(2).shards[0]
    policy = RunPolicy.checked(concurrency=2)
    journal = JournalWriter(paths.supervisor_journal(1))
    setup = RunSetup(
        paths=paths,
        session=1,
        worker="m:f",
        import_path=(),
        desk=LaneDesk((), policy),
        fsync=False,
        memory_bytes=None,
        drain_s=1.0,
        admission=Admission(0),
        start_s=1.0,
        journal=journal,
    )
    job = ShardJob(
        manifest=shard.manifest,
        policy=policy,
        ids=[(task.id, task.type) for task in shard.tasks],
        orders=(UnitOrder(0, 0, 1), UnitOrder(1, 0, 1)),
        deaths={},
        tasks=lambda: shard.tasks,
    )
    started: list[WorkerJob] = []
    supervisor = ShardSupervisor(
        job, setup, frozenset(), Processes(lambda worker, job: started.append(job), lambda w, n: None)
    )
    supervisor.fill()
    first = supervisor.workers[0]
    again = UnitOrder(0, 0, 2, tries=1)
    ended = Ended(0, 0, 1, Status.INFRA, 0.1, 0.0, None, None, None, None, again, True)
    first.far_end.sendall(line(Ready()) + line(Retiring((again,))) + line(ended))
    supervisor.listen(first)
    shipped = [order[:3] for each in started[1:] for order in each.orders]
    assert shipped == [(0, 0, 2)]
    for worker in supervisor.workers:
        worker.close()
    journal.close()
