"""The ways "shared pool": a file made once of the library, which every worker maps and reads its own tasks from."""

from __future__ import annotations

import json
import time

from prealloc.memory.child import (
    ENDED,
    POOL,
    Job,
    chosen,
    in_folder,
    read_job,
    read_tasks,
    start_forked,
    start_fresh,
    wait_for,
    walk,
)


def main() -> None:
    """The master that starts workers as the usual runner does: fresh interpreters, which import all by themselves."""
    job = _prepare()
    start_fresh(job.workers, __name__)
    wait_for(job.workers)


def main_forked() -> None:
    """The master that has imported what its workers need, and forks them."""
    job = _prepare()
    import prealloc.library.packed.pool  # noqa: F401  # for the workers

    start_forked(job.workers, work)
    wait_for(job.workers)


def work(number: int) -> None:
    """A worker: attaches to the pool, holds ids, and decodes a task anew each time it is read."""
    from prealloc.library.packed.pool import SharedTaskPool

    job = read_job()
    pool = SharedTaskPool(in_folder(POOL))
    read_tasks(chosen(pool.ids, job, number), lambda id: walk(pool[id].workflow))


def _prepare() -> Job:
    job = read_job()
    began = time.monotonic()
    start_forked(1, lambda number: _make_pool(job))  # what reading the library takes is given back
    wait_for(1)
    with open(in_folder(ENDED), "w", encoding="utf-8") as file:
        json.dump({"prepared_s": time.monotonic() - began}, file)
    return job


def _make_pool(job: Job) -> None:
    import msgspec

    from prealloc.library.convert import convert
    from prealloc.model.fields import Fields

    convert(job.library, in_folder(POOL), fields=msgspec.convert(job.named, Fields))
