"""The ways "fork": the parent loads the library once, workers are forked and find it in memory.

Nothing is frozen on the way, as in a plain multiprocessing.Pool with the start method fork. What the workers read
they get pages of their own for, since reading changes reference counts. A full garbage collection, which Python does
by itself when enough objects have come to be, writes to every object there is.
"""

from __future__ import annotations

import gc

from prealloc.memory.child import chosen, read_job, read_tasks, start_forked, wait_for, walk
from prealloc.memory.loading import load_tasks


def main() -> None:
    """The parent of workers that read their tasks."""
    _run(collecting=False)


def main_collecting() -> None:
    """The parent of workers that have done one full garbage collection before."""
    _run(collecting=True)


def _run(*, collecting: bool) -> None:
    job = read_job()
    tasks = load_tasks(job.library, job.form)

    def work(number: int) -> None:
        if collecting:
            gc.collect()
        read_tasks(chosen(tasks, job, number), lambda task: walk(task.get("workflow")))

    start_forked(job.workers, work)
    wait_for(job.workers)
