"""The way "every worker loads the library": fresh interpreters, each of which loads it whole and samples its tasks."""

from __future__ import annotations

import json
import resource
import sys

from prealloc.memory.child import ENDED, chosen, in_folder, read_job, read_tasks, start_fresh, wait_for, walk
from prealloc.memory.loading import load_tasks


def main() -> None:
    """The master: what a shell or a runner does."""
    job = read_job()
    start_fresh(job.workers, __name__)
    wait_for(job.workers)
    most = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    with open(in_folder(ENDED), "w", encoding="utf-8") as file:
        json.dump({"worker_peak": most}, file)  # while it loads, a worker has the text beside the objects


def work(number: int) -> None:
    """A worker."""
    job = read_job()
    tasks = load_tasks(job.library, job.form)  # stays in memory while tasks run, as in the usual runner
    read_tasks(chosen(tasks, job, number), lambda task: walk(task.get("workflow")))
